"""Uploads in the registry: the attempts that own bytes while these are written."""

from typing import Any

from glance_common.model.context import RequestContext
from glance_common.model.image import Deletion, Image, ImageLocation, Upload
from glance_common.model.limits import Limits
from glance_common.model.operation import Held
from glance_common.model.status import ImageStatus
from glance_common.registry_client.http import RegistryHttp, segment
from glance_common.registry_client.usage import with_limits

ABORT_LEASE = 120
"""Seconds that the aborting uploader has to remove its bytes before a scrubber does it."""

MAX_ERROR = 1000
"""Characters of an error text that the registry keeps."""


class UploadsClient:
    """Starts and ends attempts. Every call may be repeated with the same attempt id."""

    def __init__(self, http: RegistryHttp) -> None:
        self._http = http

    def start(
        self,
        context: RequestContext,
        image_id: str,
        attempt: str,
        *,
        store: str,
        size: int | None,
        lease: int,
        on_fail: ImageStatus = ImageStatus.QUEUED,
        staging: bool = False,
        operation: Held | None = None,
        limits: Limits | None = None,
    ) -> Upload:
        """Take the image from ``queued`` to ``saving`` and return what to write where.

        With ``staging``, to ``uploading``: ``store`` is a staging store. For an ``operation`` the image keeps its
        status, and after a failure too: the end of the operation decides.
        ``size`` is the announced number of bytes, ``lease`` seconds, ``on_fail`` the image's status after a failure.
        ``limits`` are those of the image's owner. Raises NotFound, StatusConflict, BadRequest for an image without
        formats, Gone for an attempt that is over, TooLarge over a limit.
        """
        body = {
            "attempt": attempt, "store": store, "size": size, "lease": lease, "on_fail": on_fail, "staging": staging,
            "operation": _held(operation),
            **with_limits(limits),
        }
        answer = self._http.call(context, "POST", f"/v1/images/{segment(image_id)}/uploads", body)
        location = answer["location"]
        return Upload(
            attempt=attempt,
            location=ImageLocation(location["id"], location["store"], location["key"], location["metadata"]),
            image=Image.from_document(answer["image"]),
        )

    def renew(self, context: RequestContext, attempt: str, *, lease: int) -> int:
        """Extend the attempt's life to ``lease`` seconds from now; raise Gone when the attempt is over."""
        return int(self._http.call(context, "POST", f"{_path(attempt)}/renew", {"lease": lease})["lease"])

    def commit(
        self,
        context: RequestContext,
        attempt: str,
        *,
        size: int,
        checksum: str | None,
        os_hash_algo: str | None,
        os_hash_value: str | None,
        virtual_size: int | None,
        metadata: dict[str, Any],
        operation: Held | None = None,
        activate: bool = True,
        stage_host: str | None = None,
        limits: Limits | None = None,
    ) -> Image:
        """Make the stored bytes the data of the image, which becomes active; sizes are bytes.

        Staged bytes become ``staged``, and the image stays; ``stage_host`` is shown as os_glance_stage_host. A copy of
        an ``operation`` without ``activate`` is taken back unless the operation succeeds, and the image does not become
        active by it. Raises Gone when the image was deleted, the attempt aborted or reaped, or the operation lost,
        Conflict with the reason ``differs`` when the image has other data, TooLarge when more than was reserved exceeds
        one of the owner's ``limits``, OutcomeUnknown without a clear answer.
        """
        body = {
            "size": size,
            "checksum": checksum,
            "os_hash_algo": os_hash_algo,
            "os_hash_value": os_hash_value,
            "virtual_size": virtual_size,
            "metadata": metadata,
            "operation": _held(operation),
            "activate": activate,
            "stage_host": stage_host,
            **with_limits(limits),
        }
        return Image.from_document(self._http.call(context, "POST", f"{_path(attempt)}/commit", body)["image"])

    def abort(
        self, context: RequestContext, attempt: str, *, error: str | None = None, lease: int = ABORT_LEASE
    ) -> Deletion | None:
        """End the attempt for good and return the claim with which its bytes may be removed.

        The claim is held for ``lease`` seconds; end it with ``DeletionsClient.done`` or ``retry``. None means that
        there is nothing for the caller to remove. Raises Conflict when the attempt was committed. ``error`` is shown to
        operators and must not hold credentials.
        """
        body = {"error": None if error is None else error[:MAX_ERROR], "lease": lease}
        answer = self._http.call(context, "POST", f"{_path(attempt)}/abort", body)
        return Deletion.from_document(answer["deletion"]) if answer["aborted"] else None


def _held(operation: Held | None) -> dict[str, str] | None:
    return None if operation is None else {"id": operation.operation, "token": operation.token}


def _path(attempt: str) -> str:
    return f"/v1/uploads/{segment(attempt)}"
