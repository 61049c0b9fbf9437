"""Which locations of an image a caller is shown."""

from dataclasses import dataclass
from typing import Any

from glance_api.collaborators import Glance
from glance_api.settings import Settings
from glance_common.context import RequestContext
from glance_common.image import Image
from glance_common.status import ImageStatus
from glance_common.stores.contract import UnknownStore


@dataclass(frozen=True, slots=True)
class Place:
    """One location as users see it. Its URL never holds credentials (S-02)."""

    url: str
    store: str
    metadata: dict[str, Any]


def are_shown(settings: Settings) -> bool:
    """Say whether options let anybody see something of the locations, so that they are read at all."""
    return settings.multi_store or settings.show_image_direct_url or settings.show_multiple_locations


def visible(glance: Glance, context: RequestContext, image: Image) -> list[Place]:
    """Return the locations in the order in which they are read; none of a deactivated image to others than admins.

    A location in a store that is no longer configured has no URL and is left out.
    """
    if image.status is ImageStatus.DEACTIVATED and not context.is_admin:
        return []
    places = []
    for location in image.locations:
        try:
            store = glance.stores.get(location.store)
        except UnknownStore:
            continue
        metadata = {**location.metadata, "store": store.id} if glance.settings.multi_store else location.metadata
        places.append((-store.weight, Place(store.url(location.key), store.id, metadata)))
    return [place for _, place in sorted(places, key=lambda weighed: weighed[0])]


def may_list(glance: Glance, context: RequestContext, images: list[Image]) -> frozenset[str]:
    """Return the ids of those images whose ``locations`` the caller may see (policy ``get_image_location``)."""
    return frozenset(image.id for image in glance.policy.allowed_images(context, "get_image_location", images))
