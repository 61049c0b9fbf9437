"""What clients may know of the stores, and the removal of one copy of many (API section 14.1)."""

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import uuid4

from glance_api.services.collaborators import Services
from glance_api.services.locations import edit
from glance_api.services.retries import retry_conflicts
from glance_common.model.context import RequestContext
from glance_common.model.errors import BadRequest, Conflict, Forbidden, NotFound
from glance_common.model.image import Image
from glance_common.model.status import ImageStatus
from glance_common.registry_client.locations import LocationEdit
from glance_common.stores.contract import RESERVED, Store, UnknownStore


@dataclass(frozen=True, slots=True)
class StoreInfo:
    """A store, and whether uploads go to it by themselves."""

    store: Store
    is_default: bool


def info(services: Services) -> list[StoreInfo]:
    """Return the stores as configured. Raises NotFound with a single store: there is nothing to choose."""
    if not services.settings.multi_store:
        raise NotFound("There is only one store; several are set up with enabled_backends.")
    return list(_listed(services))


def _listed(services: Services) -> Iterator[StoreInfo]:
    for identifier in services.stores.ids:
        if not identifier.startswith(RESERVED):
            store = services.stores.get(identifier)
            yield StoreInfo(store, is_default=store.id == services.stores.default.id)


def named(services: Services, name: str | None) -> str | None:
    """Return the id of the store that v1 names by its id or by a scheme of its URLs; None = default.

    Raises BadRequest without such a store.
    """
    if name is None:
        return None
    ids = [info.store.id for info in _listed(services)]
    fitting = [
        info.store for info in sorted(_listed(services), key=lambda info: not info.is_default)
        if name == info.store.kind or name in info.store.capabilities.schemes
    ]
    if name in ids:
        return name
    if not fitting:
        raise BadRequest(f"x-image-meta-store: there is no store {name[:80]!r}")
    return fitting[0].id


def detail(services: Services, context: RequestContext) -> list[StoreInfo]:
    """As ``info``, for those who may see how the stores are set up (S-51). Raises PolicyDenied."""
    services.policy.check(context, "stores_info_detail", {})
    return info(services)


def preferred(services: Services, context: RequestContext, image: Image, prefer: str | None) -> tuple[str, ...]:
    """Return the stores that ``?prefer=`` names for a download, none without it (API section 10.3).

    Raises BadRequest with a single store and for an unknown one, PolicyDenied.
    """
    if prefer is None:
        return ()
    if not services.settings.multi_store:
        raise BadRequest("prefer: there is only one store")
    stores = tuple(name.strip() for name in prefer.split(","))
    for name in stores:
        if name not in services.stores.ids:
            raise BadRequest(f"prefer: there is no store {name[:80]!r}")
    services.policy.check_image(context, "download_from_store", image)
    return stores


def delete_copy(services: Services, context: RequestContext, store: str, image_id: str) -> None:
    """Remove the copy in one store from an active image that has others; its data are removed soon.

    Raises NotFound with a single store, without the image and without a copy there, Conflict for an unknown store and
    for an image that is not active, PolicyDenied, Forbidden for the last copy.
    """
    if not services.settings.multi_store:
        raise NotFound("There is only one store; several are set up with enabled_backends.")
    try:
        services.stores.get(store)
    except UnknownStore:
        raise Conflict(f"there is no store {store[:80]!r}") from None
    retry_conflicts(image_id, lambda: _delete_copy(services, context, store, image_id))


def _delete_copy(services: Services, context: RequestContext, store: str, image_id: str) -> None:
    image = services.registry.images.get(context, image_id, locations=True)
    for rule in ("get_image_location", "delete_image_location"):
        services.policy.check_image(context, rule, image)
    if image.status is not ImageStatus.ACTIVE:
        raise Conflict(f"the image is {image.status}, only of an active one a copy can be deleted")
    if len(image.locations) == 1:
        raise Forbidden("the last copy of an image cannot be deleted; delete the image")
    copies = [location.id for location in image.locations if location.store == store]
    if not copies:
        raise NotFound(f"Image {image_id} has no copy in the store {store}")
    rest = [location.id for location in image.locations if location.store != store]
    if not rest:
        raise Forbidden("all copies of the image are in this store; delete the image")
    edit.write(services, context, image, str(uuid4()), LocationEdit(order=rest, remove=copies))
