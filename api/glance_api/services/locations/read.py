"""The locations of an image: in which order they are read, and which of them a caller is shown."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from glance_api.policy.enforcer import Enforcer
from glance_api.services.collaborators import LocationServices
from glance_api.settings import Settings
from glance_common.model.context import RequestContext
from glance_common.model.image import Image, ImageLocation
from glance_common.model.status import ImageStatus
from glance_common.stores.contract import Store, StoreError, UnknownStore

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """One location as users see it. Its URL never holds credentials (S-02)."""

    location: ImageLocation
    url: str
    store: str
    metadata: dict[str, Any]


def are_shown(settings: Settings) -> bool:
    """Say whether the options show anything of the locations, so that they must be read."""
    return settings.multi_store or settings.show_image_direct_url or settings.show_multiple_locations


def in_order(
    services: LocationServices, locations: Iterable[ImageLocation], prefer: Sequence[str] = ()
) -> list[ImageLocation]:
    """Return the locations in the order in which they are to be read.

    The stores in ``prefer`` come first, then the kinds that ``location_strategy`` prefers, then the store with most
    weight; equal locations stay in the order in which they were added.
    """
    in_turn = list(locations)
    if len(in_turn) < 2:
        return in_turn
    known = {store.id: store for store in services.stores}
    kinds = services.settings.store_type_preference

    def rank(location: ImageLocation) -> tuple[int, int, int]:
        store = known.get(location.store)
        chosen = prefer.index(location.store) if location.store in prefer else len(prefer)
        return chosen, _rank_of_kind(store, kinds), 0 if store is None else -store.weight

    return sorted(in_turn, key=rank)


def _rank_of_kind(store: Store | None, kinds: Sequence[str]) -> int:
    if store is not None:
        for number, kind in enumerate(kinds):
            if kind == store.kind or kind in store.capabilities.schemes:
                return number
    return len(kinds)


def visible(services: LocationServices, context: RequestContext, image: Image) -> list[Place]:
    """Return the locations in the order in which they are read; none of a deactivated image to others than admins.

    A location in a store that is no longer configured, or that was encrypted with another key, has no URL and is left
    out.
    """
    if image.status is ImageStatus.DEACTIVATED and not context.is_admin:
        return []
    places = []
    for location in in_order(services, image.locations):
        try:
            store = services.stores.get(location.store)
            url = store.url(location.key)
        except UnknownStore:
            continue
        except StoreError as error:
            LOG.error("location %s of image %s in store %s: %s", location.id, image.id, location.store, error)
            continue
        metadata = {**location.metadata, "store": store.id} if services.settings.multi_store else location.metadata
        places.append(Place(location, url, store.id, metadata))
    return places


def may_list(policy: Enforcer, context: RequestContext, images: list[Image]) -> frozenset[str]:
    """Return the ids of those images whose ``locations`` the caller may see (policy ``get_image_location``)."""
    return frozenset(image.id for image in policy.allowed_images(context, "get_image_location", images))
