"""Tells stores who may read the data of an image there: for stores that keep such lists, beside ours."""

import logging
from collections.abc import Mapping

from glance_common.fetch import deadlines
from glance_common.model.context import RequestContext
from glance_common.model.image import Image
from glance_common.registry_client import RegistryClient
from glance_common.stores.contract import BlobNotFound, DataAccess, Store, StoreError

LOG = logging.getLogger(__name__)

SECONDS = 10.0
"""Time for the lists of one image. A store that takes longer is told later."""

_PUBLIC = frozenset({"public", "community"})


def set_access(registry: RegistryClient, system: RequestContext, image: Image, places: Mapping[str, Store]) -> bool:
    """Tell the stores of ``places`` (by key) who may read the data of an image; return whether all know.

    Raises GlanceError when the registry does not tell the members.
    """
    if not places:
        return True
    shared = image.visibility == "shared"
    members = [member.member for member in registry.members.list(system, image.id)] if shared else []
    access = DataAccess(image.visibility in _PUBLIC, tuple(sorted({*members, *([image.owner] if image.owner else [])})))
    is_done = True
    with deadlines.within(SECONDS):
        for key, store in places.items():
            try:
                store.set_access(key, access)
            except BlobNotFound:
                LOG.info("image %s: its data are no longer in the store %s", image.id, store.id)
            except StoreError as error:
                is_done = False
                LOG.warning(
                    "image %s: the store %s has an old list of who may read the data: %s", image.id, store.id, error
                )
    return is_done
