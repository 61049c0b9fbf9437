"""Asks the registry whether an operation is still wanted, more often than its lease is renewed (I7)."""

import logging
import threading
from time import monotonic

from glance_common.leases import Lease
from glance_common.model.context import system_context
from glance_common.model.errors import GlanceError, Gone, NotFound
from glance_common.model.status import OperationStatus
from glance_common.registry_client.operations import OperationsClient

LOG = logging.getLogger(__name__)

PAUSE = 0.45
"""Seconds between two questions: a little less than what waits sleep between two checks. With the answer of the
registry, work ends within a second after the delete of its image."""

_LIVE = (OperationStatus.PENDING, OperationStatus.PROCESSING)


class Inquiry:
    """Tells the lease of an operation that this one has ended, mostly because its image was deleted.

    A renewal tells the same, but only three times within the length of a lease. Any number of threads may call it; one
    of them asks, the others go on.
    """

    def __init__(self, operations: OperationsClient, operation_id: str, lease: Lease) -> None:
        self._operations = operations
        self._operation_id = operation_id
        self._lease = lease
        self._context = system_context(lease.context.request_id)
        self._due_at = monotonic() + PAUSE
        self._asking = threading.Lock()

    def __call__(self) -> None:
        """Ask the registry when its last answer is old. The operation continues when the registry does not answer."""
        if monotonic() < self._due_at or not self._asking.acquire(blocking=False):
            return
        try:
            if self._is_over():
                self._lease.lost = Gone("the image was deleted, or the task was ended by others")
        except GlanceError as error:
            LOG.info("whether operation %s goes on is not known: %s", self._operation_id, error.message)
        finally:
            self._due_at = monotonic() + PAUSE
            self._asking.release()

    def _is_over(self) -> bool:
        try:
            return self._operations.get(self._context, self._operation_id).status not in _LIVE
        except NotFound:
            return True
