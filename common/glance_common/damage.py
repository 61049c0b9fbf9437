"""What happens to a copy that was found damaged or missing, whichever process found it: one way into quarantine.

The registry takes the copy out of use; the log, a metric and an event tell it. The bytes stay (I8). That a good copy
is in its place is told here too.
"""

import logging

from glance_common.model.context import RequestContext, system_context
from glance_common.model.errors import GlanceError
from glance_common.model.stored_copy import Damage, Quarantined
from glance_common.notifications import Notifications
from glance_common.notifications.wire import Priority
from glance_common.observability.metrics.catalog import QUARANTINED, REPAIRS
from glance_common.registry_client.quarantine import QuarantineClient

LOG = logging.getLogger(__name__)

EVENT = "image.quarantine"
REPAIRED = "image.repair"


class DamageReporter:
    """Puts copies into quarantine and tells of it, and of their replacement."""

    def __init__(self, quarantine: QuarantineClient, notifications: Notifications) -> None:
        self._quarantine = quarantine
        self._notifications = notifications

    def report(self, context: RequestContext, location: str, damage: Damage, detail: str) -> Quarantined | None:
        """Take the copy out of use; return it, or None when it is not in use any more or the registry is away.

        Never raises GlanceError: a damaged copy that stays in use is found by the next reader or pass. ``detail`` must
        not hold credentials.
        """
        system = system_context(context.request_id)
        try:
            put = self._quarantine.put(system, location, f"{damage}: {detail}")
        except GlanceError as error:
            LOG.error("location %s is damaged and could not be put into quarantine: %s", location, error)
            return None
        if put is None:
            return None
        copy, is_new = put
        if is_new:
            QUARANTINED.labels(copy.store, damage.value).inc()
            LOG.error(
                "image %s: its copy in store %s is in quarantine, %d good copies are left: %s",
                copy.image_id, copy.store, copy.copies, copy.reason, extra={"location": copy.id},
            )
            self._notifications.send(system, EVENT, payload(copy), Priority.ERROR)
        return copy

    def replaced(self, context: RequestContext, copy: Quarantined, location: str, source: str) -> None:
        """Tell that the new ``location`` is a good copy, read in the store ``source``, in the place of ``copy``."""
        REPAIRS.labels(copy.store).inc()
        LOG.info(
            "image %s: its damaged copy in store %s is replaced by the one of store %s",
            copy.image_id, copy.store, source, extra={"location": copy.id},
        )
        facts = {
            "image_id": copy.image_id, "location_id": copy.id, "store": copy.store, "size": copy.size,
            "reason": copy.reason, "new_location_id": location, "source_store": source,
        }
        self._notifications.send(context, REPAIRED, facts)


def payload(copy: Quarantined) -> dict[str, object]:
    """Return the facts of an event about a copy; its key is left out: it may be part of an address."""
    return {
        "image_id": copy.image_id, "location_id": copy.id, "store": copy.store, "size": copy.size,
        "reason": copy.reason, "good_copies": copy.copies,
    }
