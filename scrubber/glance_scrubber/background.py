"""Verify as background mode of the daemon: each store once within an interval, by one of all scrubbers."""

import logging
import threading
from collections.abc import Callable

from glance_common.model.errors import Conflict, GlanceError
from glance_common.stores.contract import StoreError
from glance_scrubber.verify import StoreDown, Verify

LOG = logging.getLogger(__name__)

LOOK_EVERY = 3600.0
"""Seconds between two looks whether a store is due: another scrubber may have verified it, or stopped in the middle."""


class BackgroundVerify:
    """Verifies the stores in turn; ``make`` returns a new verification for each run."""

    def __init__(self, make: Callable[[], Verify], stores: tuple[str, ...], stop: threading.Event) -> None:
        self._make = make
        self._stores = stores
        self._stop = stop

    def run(self, interval: float) -> None:
        """Verify what is due, until ``stop`` is set; ``interval`` seconds lie between the runs over one store."""
        while not self._stop.is_set():
            for store in self._stores:
                if not self._stop.is_set():
                    self.one(store, interval)
            self._stop.wait(min(LOOK_EVERY, interval))

    def one(self, store: str, interval: float) -> None:
        """Verify a store when it is due; whatever fails is logged and tried again with the next look."""
        work = self._make()
        try:
            is_finished = work.store(store, rest=interval)
        except Conflict as error:
            LOG.debug("%s", error.message)
        except (GlanceError, StoreError, StoreDown) as error:
            LOG.warning("the verify run of store %s broke off: %s; %s", store, error, work.tally.line())
        except Exception:
            LOG.exception("the verify run of store %s broke off", store)
        else:
            level = logging.INFO if work.tally.is_good else logging.ERROR
            end = "verified" if is_finished else "stopped; the next run goes on from there"
            LOG.log(level, "store %s: %s: %s", store, end, work.tally.line())
