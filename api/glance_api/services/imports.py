"""Stage and import: what a request checks and writes down before workers do the rest (API section 11)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from glance_api.clients.key_manager import Credentials
from glance_api.content.signatures import Verification
from glance_api.imports.sources.glance_download import Remote, find_endpoint
from glance_api.services import keys, staging
from glance_api.services.collaborators import Services
from glance_api.services.events import images
from glance_api.services.events import tasks as task_events
from glance_api.services.images import check_image
from glance_api.services.locations.check import check_source
from glance_api.services.staging import DIRECT
from glance_common.model.context import RequestContext
from glance_common.model.errors import BadRequest, Conflict, GlanceError, OutcomeUnknown
from glance_common.model.image import Image
from glance_common.model.operation import PATIENCE, STAGE_HOST_PROPERTY, OnFail, Operation, OperationKind
from glance_common.model.status import ImageStatus
from glance_common.stores.contract import UnknownStore

WEB, COPY, DOWNLOAD = "web-download", "copy-image", "glance-download"

SHORTEST_PATIENCE = 30
"""Seconds without a word from the process that alone can do it, after which others fail an import."""

_NEEDS = {
    DIRECT: ImageStatus.UPLOADING,
    WEB: ImageStatus.QUEUED,
    DOWNLOAD: ImageStatus.QUEUED,
    COPY: ImageStatus.ACTIVE,
}
"""Status that an image must have for each method."""

_ENTERED = {OnFail.QUEUED: ImageStatus.IMPORTING, OnFail.KILLED: ImageStatus.SAVING}
"""Status that it gets: v1 knows no importing."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What came with the request beside its body.

    ``credentials`` say to the key manager and to another region who is calling; ``forwarded`` that another node handed
    it on.
    """

    credentials: Credentials
    forwarded: bool


@dataclass(frozen=True, slots=True)
class Wanted:
    """An import as asked for.

    ``stores`` are those of the body, ``header`` the one of X-Image-Meta-Store; ``document`` is what is known of the
    body, which becomes the input of the task.
    """

    method: str
    arguments: Mapping[str, Any]
    document: Mapping[str, Any]
    stores: tuple[str, ...] = ()
    header: str | None = None
    all_stores: bool = False
    all_stores_must_succeed: bool = True


def begin(services: Services, context: RequestContext, image_id: str, wanted: Wanted, proof: Proof) -> str | None:
    """Make the operation that imports the data of an image, or return the URL of the node that has to be asked.

    Nothing is made for a copy to stores that all have the image. The checks come in the order of API section 11.2;
    whether another operation works on the image is decided with the operation's own row. The certificate of a signed
    image is fetched now, while the caller's token is there (S-29). Raises BadRequest, NotFound, PolicyDenied, Conflict,
    Unavailable without the key manager.
    """
    image = services.registry.images.get(context, image_id, locations=True)
    check_image(services, context, "get_image", image)
    _check_state(image, wanted.method)
    if wanted.method == DOWNLOAD:
        _check_remote(wanted.arguments)
    check_image(services, context, "copy_image" if wanted.method == COPY else "modify_image", image)
    stores = _targets(services, image, wanted)
    if not stores:
        return None
    host = None
    if wanted.method == DIRECT:
        host, url = staging.parse_place(image.properties.get(STAGE_HOST_PROPERTY))
        is_elsewhere = host != services.staging.id and url not in (None, services.settings.imports.self_url)
        if is_elsewhere and not proof.forwarded:
            return url
    if wanted.method == WEB:
        _check_uri(services, context, wanted.arguments)
    remote = _remote(wanted.arguments, proof.credentials) if wanted.method == DOWNLOAD else None
    # Copies are compared with data that were verified.
    signed = None if wanted.method == COPY else keys.verification(services, proof.credentials, image.properties)
    _create(services, context, image, wanted, stores, host, remote, signed)
    return None


def _check_state(image: Image, method: str) -> None:
    needed = _NEEDS[method]
    if image.status is not needed:
        raise Conflict(f"{method} needs an image in status {needed}, this one is {image.status}")
    if method == DOWNLOAD:
        # Its formats come from the other region.
        return
    for name, value in (("container_format", image.container_format), ("disk_format", image.disk_format)):
        if value is None:
            raise Conflict(f"{name} needs to be set before import")


def _check_remote(arguments: Mapping[str, Any]) -> None:
    for name in ("glance_region", "glance_image_id"):
        if not arguments.get(name):
            raise BadRequest(f"method.{name} is required by {DOWNLOAD}")
    try:
        UUID(arguments["glance_image_id"])
    except ValueError:
        raise BadRequest("method.glance_image_id must be a UUID") from None


def _targets(services: Services, image: Image, wanted: Wanted) -> tuple[str, ...]:
    """Return the stores to fill; empty when a copy to all stores has nothing to do."""
    if wanted.all_stores and (wanted.stores or wanted.header):
        raise BadRequest("all_stores: cannot be given together with stores or X-Image-Meta-Store")
    if wanted.stores and wanted.header:
        raise BadRequest("stores: cannot be given together with X-Image-Meta-Store")
    if wanted.all_stores:
        named = tuple(store for store in services.stores.ids if services.stores.get(store).capabilities.add)
    else:
        named = wanted.stores or ((wanted.header,) if wanted.header else (services.stores.default.id,))
    for store in named:
        _check_store(services, store)
    if wanted.method != COPY:
        return named
    present = {location.store for location in image.locations}
    double = [store for store in named if store in present]
    if double and not wanted.all_stores:
        raise BadRequest(f"Image is already present at store {double[0]}")
    return tuple(store for store in named if store not in present)


def _check_store(services: Services, name: str) -> None:
    try:
        store = services.stores.get(name)
    except UnknownStore:
        raise Conflict(f"stores: there is no store {name[:80]!r}") from None
    if not store.capabilities.add:
        raise Conflict(f"stores: the store {name} takes no data")


def _check_uri(services: Services, context: RequestContext, arguments: Mapping[str, Any]) -> None:
    if not arguments.get("uri"):
        raise BadRequest(f"method.uri is required by {WEB}")
    check_source(services, context, "method.uri", arguments["uri"])


def _remote(arguments: Mapping[str, Any], credentials: Credentials) -> Remote:
    interface = arguments.get("glance_service_interface", "public")
    endpoint = find_endpoint(credentials.catalog, arguments["glance_region"], interface)
    return Remote(endpoint, credentials.token or "", credentials.catalog)


def copy_from(
    services: Services, context: RequestContext, image: Image, url: str, store: str | None, credentials: Credentials
) -> None:
    """Make the operation that fetches the data of a queued image from ``url`` (v1); a failure leaves it killed.

    Raises PolicyDenied, BadRequest, Conflict, TooLarge, Unavailable without the key manager.
    """
    for rule in ("copy_from", "upload_image"):
        check_image(services, context, rule, image)
    _check_state(image, WEB)
    check_source(services, context, "x-glance-api-copy-from", url)
    wanted = Wanted(WEB, {"uri": url}, {"method": {"name": WEB, "uri": url}}, header=store)
    stores = _targets(services, image, wanted)
    signed = keys.verification(services, credentials, image.properties)
    _create(services, context, image, wanted, stores, None, None, signed, OnFail.KILLED)


def _create(
    services: Services,
    context: RequestContext,
    image: Image,
    wanted: Wanted,
    stores: tuple[str, ...],
    host: str | None,
    remote: Remote | None,
    signed: Verification | None,
    on_fail: OnFail = OnFail.QUEUED,
) -> None:
    operation = str(uuid4())
    if remote is not None:
        # Whoever works on it needs the caller's token, which never leaves this process.
        services.work.keep(operation, remote)
        host = services.work.process
    is_copy = wanted.method == COPY
    try:
        task = services.registry.operations.create(
            context,
            operation,
            kind=OperationKind.API_IMAGE_IMPORT,
            image_id=image.id,
            input={
                "image_id": image.id, "import_req": dict(wanted.document), "backend": list(stores),
                "disk_format": image.disk_format, "container_format": image.container_format,
            },
            ttl=services.settings.imports.task_time_to_live,
            host=host,
            patience=PATIENCE if remote is None else max(services.leases.seconds, SHORTEST_PATIENCE),
            stores=stores,
            on_fail=on_fail,
            allowed=[_NEEDS[wanted.method]],
            image_status=None if is_copy else _ENTERED[on_fail],
            limits=services.limits.of(image.owner),
            signature=None if signed is None else signed.to_document(),
        )
    except OutcomeUnknown:
        # It may have been made, and then waits for this process alone.
        services.work.wake()
        raise
    except GlanceError:
        services.work.forget(operation)
        raise
    services.work.wake()
    task_events.created(services, context, task)
    images.image_changed(services, context, image.id)


def tasks(services: Services, context: RequestContext, image_id: str) -> list[Operation]:
    """Return the caller's operations on an image, oldest first (API section 9). Raises NotFound."""
    image = services.registry.images.get(context, image_id)
    check_image(services, context, "get_image", image)
    return list(services.registry.operations.of_image(context, image_id))
