"""Imports: what a request checks and writes down before workers do the rest (API section 11)."""

from dataclasses import dataclass
from uuid import UUID, uuid4

from glance_api.clients.key_manager import Credentials
from glance_api.content.signatures import Verification
from glance_api.imports.request import COPY, DIRECT, DOWNLOAD, WEB, ImportInput, ImportRequest
from glance_api.services import keys, staging
from glance_api.services.collaborators import Services
from glance_api.services.events import images
from glance_api.services.events import tasks as task_events
from glance_api.services.locations.check import check_source
from glance_common.model.context import RequestContext
from glance_common.model.errors import BadRequest, Conflict, GlanceError, OutcomeUnknown
from glance_common.model.image import Image
from glance_common.model.operation import PATIENCE, STAGE_HOST_PROPERTY, OnFail, Operation, OperationKind
from glance_common.model.status import ImageStatus
from glance_common.registry_client.operations import NewOperation
from glance_common.stores.contract import UnknownStore
from glance_common.stores.loader import Stores

SHORTEST_PATIENCE = 30
"""Seconds without a sign of life of the only process that can do an import, after which others fail it."""

_NEEDS = {
    DIRECT: ImageStatus.UPLOADING,
    WEB: ImageStatus.QUEUED,
    DOWNLOAD: ImageStatus.QUEUED,
    COPY: ImageStatus.ACTIVE,
}
"""Status that an image must have for each method."""

_ENTERED = {OnFail.QUEUED: ImageStatus.IMPORTING, OnFail.KILLED: ImageStatus.SAVING}
"""Status that the image gets; v1 does not know ``importing``."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What came with the request beside its body.

    ``credentials`` prove the caller to the key manager and to another region; ``forwarded`` says that another node
    handed the request on.
    """

    credentials: Credentials
    forwarded: bool


@dataclass(frozen=True, slots=True)
class CheckedImport:
    """An import whose checks have passed: the stores to fill, and what verifies the data of a signed image.

    ``host`` is the only one that can do it, None for any. ``credentials`` prove the caller of a glance-download to the
    other region.
    """

    request: ImportRequest
    stores: tuple[str, ...]
    signed: Verification | None
    host: str | None = None
    credentials: Credentials | None = None
    on_fail: OnFail = OnFail.QUEUED


def begin(
    services: Services, context: RequestContext, image_id: str, request: ImportRequest, proof: Proof
) -> str | None:
    """Make the operation that imports the data of an image, or return the URL of the node that has to be asked.

    Nothing is made for a copy to stores that all have the image. The checks come in the order of API section 11.2;
    whether another operation works on the image is decided with the operation's own row. The certificate of a signed
    image is fetched now, while the caller's token is there (S-29). Raises BadRequest, NotFound, PolicyDenied, Conflict,
    Unavailable without the key manager.
    """
    image = services.registry.images.get(context, image_id, locations=True)
    services.policy.check_image(context, "get_image", image)
    check_state(image, request.method)
    if request.method == DOWNLOAD:
        _check_remote(request)
    services.policy.check_image(context, "copy_image" if request.method == COPY else "modify_image", image)
    stores = targets(services, image, request)
    if not stores:
        return None
    host = None
    if request.method == DIRECT:
        host, url = staging.parse_place(image.properties.get(STAGE_HOST_PROPERTY))
        is_elsewhere = host != services.staging.id and url not in (None, services.settings.imports.self_url)
        if is_elsewhere and not proof.forwarded:
            return url
    if request.method == WEB:
        _check_uri(services, context, request)
    # Whether the other region can be reached is found out by the worker: the task says so.
    credentials = proof.credentials if request.method == DOWNLOAD else None
    # Copies are compared with data that were verified.
    signed = None if request.method == COPY else keys.verification(services.keys, proof.credentials, image.properties)
    create(services, context, image, CheckedImport(request, stores, signed, host, credentials))
    return None


def check_state(image: Image, method: str) -> None:
    """Raise Conflict unless ``method`` can import the data of the image as it is."""
    needed = _NEEDS[method]
    if image.status is not needed:
        raise Conflict(f"{method} needs an image in status {needed}, this one is {image.status}")
    if method == DOWNLOAD:
        # Its formats come from the other region.
        return
    for name, value in (("container_format", image.container_format), ("disk_format", image.disk_format)):
        if value is None:
            raise Conflict(f"{name} needs to be set before import")


def _check_remote(request: ImportRequest) -> None:
    required = {"glance_region": request.glance_region, "glance_image_id": request.glance_image_id}
    for name, value in required.items():
        if not value:
            raise BadRequest(f"method.{name} is required by {DOWNLOAD}")
    try:
        UUID(request.glance_image_id)
    except ValueError:
        raise BadRequest("method.glance_image_id: the remote image id does not look like a UUID") from None


def targets(services: Services, image: Image, request: ImportRequest) -> tuple[str, ...]:
    """Return the stores to fill; empty when a copy to all stores has nothing to do.

    Raises BadRequest for a contradictory choice, Conflict for a store that is unknown or takes no data.
    """
    if request.all_stores and (request.stores or request.header_store):
        raise BadRequest("all_stores: cannot be given together with stores or X-Image-Meta-Store")
    if request.stores and request.header_store:
        raise BadRequest("stores: cannot be given together with X-Image-Meta-Store")
    if request.all_stores:
        named = tuple(store for store in services.stores.ids if services.stores.get(store).capabilities.add)
    else:
        named = request.stores or ((request.header_store,) if request.header_store else (services.stores.default.id,))
    for store in named:
        _check_store(services.stores, store)
    if request.method != COPY:
        return named
    present = {location.store for location in image.locations}
    double = [store for store in named if store in present]
    if double and not request.all_stores:
        raise BadRequest(f"Image is already present at store {double[0]}")
    return tuple(store for store in named if store not in present)


def _check_store(stores: Stores, name: str) -> None:
    try:
        store = stores.get(name)
    except UnknownStore:
        raise Conflict(f"stores: there is no store {name[:80]!r}") from None
    if not store.capabilities.add:
        raise Conflict(f"stores: the store {name} takes no data")


def _check_uri(services: Services, context: RequestContext, request: ImportRequest) -> None:
    if not request.uri:
        raise BadRequest(f"method.uri is required by {WEB}")
    check_source(services, context, "method.uri", request.uri)


def create(services: Services, context: RequestContext, image: Image, checked: CheckedImport) -> None:
    """Make the operation that imports the data of the image, and tell the workers of this process.

    Raises Conflict while another operation works on the image, TooLarge over a limit of its owner.
    """
    operation = str(uuid4())
    if checked.credentials is not None:
        # The work needs the caller's token, which never leaves this process.
        services.work.keep(operation, checked.credentials)
    try:
        new = _operation(services, image, checked)
        task = services.registry.operations.create(context, operation, new, limits=services.limits.of(image.owner))
    except OutcomeUnknown:
        # The operation may have been made; then it waits for this process alone.
        services.work.wake()
        raise
    except GlanceError:
        services.work.forget(operation)
        raise
    services.work.wake()
    task_events.created(services, context, task)
    images.image_changed(services, context, image.id)


def _operation(services: Services, image: Image, checked: CheckedImport) -> NewOperation:
    request, signed = checked.request, checked.signed
    is_ours_alone = checked.credentials is not None
    kept = ImportInput(image.id, request, checked.stores, image.disk_format, image.container_format)
    return NewOperation(
        kind=OperationKind.API_IMAGE_IMPORT,
        image_id=image.id,
        input=kept.to_document(),
        ttl=services.settings.imports.task_time_to_live,
        host=services.work.process if is_ours_alone else checked.host,
        patience=max(services.leases.seconds, SHORTEST_PATIENCE) if is_ours_alone else PATIENCE,
        stores=checked.stores,
        on_fail=checked.on_fail,
        allowed=[_NEEDS[request.method]],
        image_status=None if request.method == COPY else _ENTERED[checked.on_fail],
        signature=None if signed is None else signed.to_document(),
    )


def tasks(services: Services, context: RequestContext, image_id: str) -> list[Operation]:
    """Return the caller's operations on an image, oldest first (API section 9). Raises NotFound."""
    image = services.registry.images.get(context, image_id)
    services.policy.check_image(context, "get_image", image)
    return list(services.registry.operations.of_image(context, image_id))
