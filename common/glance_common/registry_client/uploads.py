"""Uploads in the registry: the attempts that own bytes while these are written."""

from dataclasses import asdict, dataclass
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


@dataclass(frozen=True, slots=True)
class UploadStart:
    """The attempt to make: bytes for ``store``, announced with ``size`` bytes (None: unknown), for ``lease`` seconds.

    With ``staging`` the store is a staging store. ``on_fail`` is the image's status after a failure. An attempt of an
    ``operation`` leaves the status of the image to the operation.
    """

    store: str
    size: int | None
    lease: int
    on_fail: ImageStatus = ImageStatus.QUEUED
    staging: bool = False
    operation: Held | None = None


@dataclass(frozen=True, slots=True)
class UploadResult:
    """The stored bytes: ``size`` and ``virtual_size`` in bytes, their digests, and the store's ``metadata``.

    ``stage_host`` is shown as os_glance_stage_host of an image whose bytes were staged. ``key`` is where the bytes are
    when the store did not take the key of the attempt. ``fingerprint`` is what downloads are verified by.
    """

    size: int
    metadata: dict[str, Any]
    checksum: str | None = None
    os_hash_algo: str | None = None
    os_hash_value: str | None = None
    virtual_size: int | None = None
    stage_host: str | None = None
    key: str | None = None
    fingerprint: str | None = None


class UploadsClient:
    """Starts and ends attempts. Every call may be repeated with the same attempt id."""

    def __init__(self, http: RegistryHttp) -> None:
        self._http = http

    def start(
        self,
        context: RequestContext,
        image_id: str,
        attempt: str,
        start: UploadStart,
        *,
        limits: Limits | None = None,
    ) -> Upload:
        """Take the image from ``queued`` to ``saving`` and return what to write where.

        With ``staging``, to ``uploading``. For an operation the image keeps its status, and after a failure too: the
        end of the operation decides. ``limits`` are those of the image's owner. Raises NotFound, StatusConflict,
        BadRequest for an image without formats, Gone for an attempt that is over, TooLarge over a limit.
        """
        body = {
            "attempt": attempt, "store": start.store, "size": start.size, "lease": start.lease,
            "on_fail": start.on_fail, "staging": start.staging, "operation": _held(start.operation),
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
        result: UploadResult,
        *,
        operation: Held | None = None,
        activate: bool = True,
        limits: Limits | None = None,
    ) -> Image:
        """Make the stored bytes the data of the image, which becomes active.

        Staged bytes become ``staged``, and the image stays. A copy of an ``operation`` without ``activate`` is taken
        back unless the operation succeeds, and the image does not become active by it. Raises Gone when the image was
        deleted, the attempt aborted or reaped, or the operation lost, Conflict with the reason ``differs`` when the
        image has other data, TooLarge when more than was reserved exceeds one of the owner's ``limits``,
        OutcomeUnknown without a clear answer.
        """
        body = {
            **asdict(result),
            "operation": _held(operation),
            "activate": activate,
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
