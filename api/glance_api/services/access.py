"""Who may read the data of images at their stores: for stores that keep such lists, beside ours (stores section 6).

Our own records decide about every call to this service. A store that does not answer keeps its older list: a change of
members or of the visibility never waits for a store, and the janitor mends the list later
(docs/contributor/decisions/access-lists.md).
"""

import logging
from collections.abc import Callable

from glance_api.services.collaborators import AttemptServices, SharingServices
from glance_common.access_lists import set_access
from glance_common.model.context import RequestContext, system_context
from glance_common.model.errors import GlanceError
from glance_common.stores.contract import Store

LOG = logging.getLogger(__name__)


def set_changed(services: SharingServices, context: RequestContext, image_id: str) -> bool:
    """Tell the stores of an image who may read its data now, after that has changed; return whether all know."""
    stores = {store.id: store for store in services.stores if store.capabilities.access_lists}
    if not stores:
        return True
    system = system_context(context.request_id)
    try:
        image = services.registry.images.get(system, image_id, locations=True)
        places = {location.key: stores[location.store] for location in image.locations if location.store in stores}
        is_done = set_access(services.registry, system, image, places)
    except GlanceError as error:
        LOG.warning("image %s: its stores were not told who may read it: %s", image_id, error)
        is_done = error.code < 500
    services.old_lists.note(image_id, is_old=not is_done)
    return is_done


def set_new(services: AttemptServices, context: RequestContext, image_id: str, store: Store, key: str) -> None:
    """Tell a store who may read the data that it has just got. What fails is mended later."""
    if not store.capabilities.access_lists:
        return
    system = system_context(context.request_id)
    try:
        is_done = set_access(services.registry, system, services.registry.images.get(system, image_id), {key: store})
    except GlanceError as error:
        LOG.warning("image %s: the store %s was not told who may read it: %s", image_id, store.id, error)
        is_done = error.code < 500
    services.old_lists.note(image_id, is_old=not is_done)


def mend(services: SharingServices, context: RequestContext, stopping: Callable[[], bool]) -> None:
    """Tell stores what they did not hear before; ends with the first one that does not answer."""
    for image_id in services.old_lists.due():
        if stopping() or not set_changed(services, context, image_id):
            return
        LOG.info("image %s: its stores know now who may read the data", image_id)
