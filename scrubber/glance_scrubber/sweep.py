"""Finds in the registry what is due, whether or not a message came: the queue may lose messages, the table loses
nothing.

The same pass takes up dead uploads, claims of dead scrubbers and late passes: the registry calls all of them due.
"""

import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

from glance_common.model.context import system_context
from glance_common.model.errors import GlanceError
from glance_common.model.image import Due
from glance_common.observability.log_context import working_for
from glance_common.observability.metrics.catalog import LAST_SWEEP, SWEEPS
from glance_common.purge import Outcome
from glance_common.registry_client.deletions import DeletionsClient
from glance_common.retry import Backoff
from glance_scrubber.batch import MOST
from glance_scrubber.scrub import Batch, Result, Scrubber, next_size

LOG = logging.getLogger(__name__)
PAGE = 2 * MOST
"""Due locations that are asked for at a time, beside those that are due still after they were tried."""

MOST_DUE = 1000
"""Due locations that the registry lists at most."""

_UNTOUCHED = (Outcome.STOPPED, Outcome.RELEASED, Outcome.BROKEN)
"""What a pass does not count as work."""


_Results = list[tuple[str, Result]]
"""Locations with how they ended."""


class Sweep:
    """Works what is due in the table, ``pool_size`` locations at the same time."""

    def __init__(self, rows: DeletionsClient, scrubber: Scrubber, stop: threading.Event) -> None:
        self._rows = rows
        self._scrubber = scrubber
        self._stop = stop

    def run(self, wakeup_time: float) -> None:
        """Make a pass now and every ``wakeup_time`` seconds until ``stop`` is set, whatever happens to the registry."""
        backoff = Backoff(first=1.0, most=min(30.0, wakeup_time))
        while not self._stop.is_set():
            try:
                self.run_once()
            except GlanceError as error:
                pause = backoff.next()
                LOG.warning("no sweep, the registry: %s; next try in %.1f s", error, pause)
            except Exception:
                pause = wakeup_time
                LOG.exception("the sweep ended early")
            else:
                pause = wakeup_time
                backoff.reset()
            self._stop.wait(pause)

    def run_once(self) -> Counter[Outcome]:
        """Work everything that is due now, and return how it ended.

        A store that is down is left out of the rest of the pass, so that it holds up no other. Raises GlanceError when
        the registry cannot be asked.
        """
        outcome = "failed"
        try:
            with working_for(f"req-{uuid4()}"):
                ended = _Pass(self._rows, self._scrubber, self._stop).work()
            outcome = "ok"
        finally:
            SWEEPS.labels(outcome).inc()
            LAST_SWEEP.labels(outcome).set_to_current_time()
        return ended


class _Pass:
    def __init__(self, rows: DeletionsClient, scrubber: Scrubber, stop: threading.Event) -> None:
        self._rows = rows
        self._scrubber = scrubber
        self._stop = stop
        self._lock = threading.Lock()
        self._down: set[str] = set()
        self._has_no_registry = threading.Event()
        self._size = MOST

    def work(self) -> Counter[Outcome]:
        ended: Counter[Outcome] = Counter()
        seen: set[str] = set()
        oldest, limit = 0.0, PAGE
        size = self._scrubber.settings.pool_size
        with ThreadPoolExecutor(size, thread_name_prefix="sweep") as pool:
            while (stores := self._stores()) and not self._stop.is_set():
                due = self._due(stores, limit)
                oldest = max(oldest, due.oldest)
                # What is still due after it was tried in this pass waits for the next one.
                fresh = [location for location in due.locations if location not in seen]
                tried = len(due.locations) - len(fresh)
                if not fresh and (tried < limit or limit == MOST_DUE):
                    break
                # The registry lists the oldest first: those that were tried must not hide the newer ones.
                limit = min(PAGE + tried, MOST_DUE)
                # Another sweep may have been given the same page: in another order the two meet late, and once they do,
                # a new page costs less than claims that are refused.
                random.shuffle(fresh)
                for results in self._rounds(pool, fresh, size):
                    seen.update(location for location, result in results if not result.is_left)
                    ended.update(result.outcome for _, result in results if result.outcome not in _UNTOUCHED)
                    refused = sum(result.outcome is Outcome.NOT_OURS for _, result in results)
                    if refused > len(results) // 2:
                        break
        _report(ended, self._down, oldest)
        return ended

    def _due(self, stores: list[str], limit: int) -> Due:
        context = system_context(f"req-{uuid4()}")
        return self._rows.due(context, limit=limit, stores=stores, scrub_time=self._scrubber.settings.scrub_time)

    def _rounds(self, pool: ThreadPoolExecutor, locations: list[str], threads: int) -> Iterator[_Results]:
        """Work the locations and yield how they ended, after each round of so many threads at the same time."""
        while locations:
            size = min(self._size, -(-len(locations) // threads))
            now, locations = locations[: size * threads], locations[size * threads :]
            began = time.monotonic()
            parts = [now[start : start + size] for start in range(0, len(now), size)]
            results = [result for part in pool.map(self._some, parts) for result in part.items()]
            self._size = next_size(self._size, [result for _, result in results], time.monotonic() - began)
            yield results

    def _some(self, locations: list[str]) -> dict[str, Result]:
        """Scrub some locations. The registry's errors go up and end the pass."""
        stores = self._stores()
        if self._stop.is_set() or self._has_no_registry.is_set() or not stores:
            return dict.fromkeys(locations, Result(Outcome.STOPPED))
        batch = Batch(locations)
        try:
            self._scrubber.scrub_many(batch, stores=stores)
        except GlanceError:
            # The others need not wait for it one by one.
            self._has_no_registry.set()
            raise
        # What the registry cannot handle now is tried again by a later sweep.
        results = batch.ended(Outcome.BROKEN)
        with self._lock:
            self._down.update(result.down for result in results.values() if result.down is not None)
        return results

    def _stores(self) -> list[str]:
        with self._lock:
            return [store for store in self._scrubber.stores.ids if store not in self._down]


def _report(ended: Counter[Outcome], down: set[str], oldest: float) -> None:
    if not ended:
        LOG.debug("nothing was due")
        return
    facts: dict[str, object] = {outcome.name.lower(): count for outcome, count in sorted(ended.items())}
    if down:
        facts["stores_down"] = ",".join(sorted(down))
    LOG.info("sweep: the oldest had been due for %.0f s", oldest, extra=facts)
