"""Operations in the registry: work on images that goes on after the request that asked for it, and its import lock."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import orjson

from glance_common.model.context import RequestContext
from glance_common.model.image import Image
from glance_common.model.limits import Limits
from glance_common.model.operation import PATIENCE, Held, OnFail, Operation, OperationKind
from glance_common.model.status import ImageStatus, OperationStatus
from glance_common.registry_client.http import RegistryHttp, segment
from glance_common.registry_client.usage import with_limits

MAX_MESSAGE = 1000
"""Characters of a message that the registry keeps."""


@dataclass(frozen=True, slots=True)
class NewOperation:
    """An operation to be made.

    ``allowed`` are the statuses that the image may have, ``image_status`` the one that it gets (None leaves it),
    ``stores`` the ids that it is to be put in, ``host`` the only one that can do it and ``patience`` the seconds for
    which others wait for a sign of its life, ``ttl`` the hours to show it after its end, ``signature`` what the data
    are verified with. ``input`` and ``signature`` must not hold credentials.
    """

    kind: OperationKind
    image_id: str | None
    input: dict[str, Any]
    ttl: int
    host: str | None = None
    patience: float = PATIENCE
    stores: Sequence[str] = ()
    on_fail: OnFail = OnFail.QUEUED
    allowed: Sequence[ImageStatus] = ()
    image_status: ImageStatus | None = None
    message: str = ""
    signature: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class OperationQuery:
    """A page of a list of operations: at most ``limit`` after the one with the id ``marker``."""

    limit: int
    marker: str | None = None
    sort_key: str = "created_at"
    sort_dir: Literal["asc", "desc"] = "desc"
    kind: OperationKind | None = None
    status: OperationStatus | None = None


class OperationsClient:
    """Makes, claims and ends operations. Every call may be repeated with the same ids."""

    def __init__(self, http: RegistryHttp) -> None:
        self._http = http

    def create(
        self, context: RequestContext, operation_id: str, new: NewOperation, *, limits: Limits | None = None
    ) -> Operation:
        """Make a pending operation in the name of ``context`` and take the import lock of its image.

        Raises NotFound, StatusConflict, Conflict with the ``reason``: ``locked`` by the task ``operation``, or
        ``staging`` while the data of the image are not complete, and TooLarge when one more transfer exceeds the
        ``limits`` of the image's owner.
        """
        body = {
            "id": operation_id, "kind": new.kind, "image_id": new.image_id, "input": new.input, "ttl": new.ttl,
            "host": new.host, "patience": new.patience, "stores": list(new.stores), "on_fail": new.on_fail,
            "allowed": list(new.allowed), "image_status": new.image_status, "message": new.message[:MAX_MESSAGE],
            "signature": new.signature,
            **with_limits(limits),
        }
        return self._operation(context, "POST", "/v1/operations", body)

    def alive(self, context: RequestContext, host: str) -> frozenset[str]:
        """Say that ``host`` lives, even if it can claim nothing now; return the live operations bound to it."""
        return frozenset(self._http.call(context, "POST", "/v1/operations/alive", {"host": host})["operations"])

    def claim(
        self, context: RequestContext, token: str, *, host: str, lease: int, without: Sequence[str] = ()
    ) -> Operation | None:
        """Give the oldest operation that ``host`` can do now to ``token`` for ``lease`` seconds; None without one.

        Operations of the projects ``without`` are left to others. Take a new token for each claim. The same call fails
        operations that no worker will finish.
        """
        body: dict[str, Any] = {"token": token, "host": host, "lease": lease}
        if without:
            body["without"] = list(without)
        found = self._http.call(context, "POST", "/v1/operations/claim", body)["operation"]
        return None if found is None else Operation.from_document(found)

    def renew(self, context: RequestContext, held: Held, *, lease: int, message: str | None = None) -> bool:
        """Hold the operation for ``lease`` seconds from now and tell users how far it is.

        False means: stop, the operation was ended from outside, mostly because its image was deleted. Raises Gone
        when another worker holds it.
        """
        body = {"lease": lease, "message": None if message is None else message[:MAX_MESSAGE]}
        return bool(self._step(context, held, "renew", body)["wanted"])

    def release(self, context: RequestContext, held: Held) -> None:
        """Give the operation back unfinished, for others to claim: this process stops. Raises Gone when it is lost."""
        self._step(context, held, "release", {})

    def finish(
        self,
        context: RequestContext,
        held: Held,
        *,
        success: bool,
        message: str,
        result: dict[str, Any] | None = None,
    ) -> Operation:
        """End the operation and its lock, and return it as it ended, which a delete of the image may have decided.

        Success makes the image active. Failure gives it the status ``on_fail`` unless it was active before, and takes
        back what was stored without ``activate``. ``message`` is shown to users. Raises Gone when the operation is
        another worker's, Conflict for the success of an importing image without data.
        """
        body = {"success": success, "message": message[:MAX_MESSAGE], "result": result}
        return Operation.from_document(self._step(context, held, "finish", body)["operation"])

    def attach(self, context: RequestContext, held: Held, image_id: str, *, stores: Sequence[str] = ()) -> Image:
        """Give an operation without image the queued image that it made; the image becomes importing.

        Raises NotFound, StatusConflict, Conflict when another operation holds the image's lock, Gone when lost.
        """
        body = {"image_id": image_id, "stores": list(stores)}
        return self._image(context, held, "attach", body)

    def store_failed(self, context: RequestContext, held: Held, store: str) -> Image:
        """Say that the data did not get into ``store``: it moves to os_glance_failed_import. Raises Gone when lost."""
        return self._image(context, held, "store_failed", {"store": store})

    def unstage(self, context: RequestContext, held: Held) -> Image:
        """Give what is staged of the image to removal, which is done by the host of the staging store."""
        return self._image(context, held, "unstage", {})

    def update(self, context: RequestContext, held: Held, changes: dict[str, Any]) -> Image:
        """Change the image of the operation and return it.

        ``changes`` may hold disk_format, container_format, virtual_size, properties (``{name: text or None}``, merged;
        None removes), and size, checksum, os_hash_algo and os_hash_value, which are written once only (Conflict).
        Raises Gone when the operation is lost or over.
        """
        return self._image(context, held, "image", {"changes": changes})

    def get(self, context: RequestContext, operation_id: str) -> Operation:
        """Return an operation of the caller's project, or any to an administrator; NotFound also when expired."""
        return self._operation(context, "GET", _path(operation_id))

    def list(self, context: RequestContext, query: OperationQuery) -> Sequence[Operation]:
        """Return a page of the operations that ``get`` would return, their input, signature, roles, result and message
        left empty. Raises NotFound for an unknown marker.
        """
        return self._operations(context, "/v1/operations", {"q": orjson.dumps(asdict(query)).decode()})

    def of_image(self, context: RequestContext, image_id: str) -> Sequence[Operation]:
        """Return the caller's operations on a visible image, oldest first; raise NotFound for any other image.

        Of very many, or very large ones, only the newest.
        """
        return self._operations(context, f"/v1/images/{segment(image_id)}/operations")

    def _operation(
        self, context: RequestContext, method: str, path: str, body: dict[str, Any] | None = None
    ) -> Operation:
        return Operation.from_document(self._http.call(context, method, path, body)["operation"])

    def _operations(
        self, context: RequestContext, path: str, query: dict[str, str] | None = None
    ) -> Sequence[Operation]:
        answer = self._http.call(context, "GET", path, query=query)
        return [Operation.from_document(row) for row in answer["operations"]]

    def _image(self, context: RequestContext, held: Held, step: str, body: dict[str, Any]) -> Image:
        return Image.from_document(self._step(context, held, step, body)["image"])

    def _step(self, context: RequestContext, held: Held, step: str, body: dict[str, Any]) -> dict[str, Any]:
        path = f"{_path(held.operation)}/{step}"
        return self._http.call(context, "POST", path, {"token": held.token, **body})


def _path(operation_id: str) -> str:
    return f"/v1/operations/{segment(operation_id)}"
