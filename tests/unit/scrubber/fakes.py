"""A registry and stores in memory that keep the same rules as the real ones and record what was asked.

That the real registry keeps them is shown by the integration tests of scrubber and registry.
"""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from glance_common.model.errors import GlanceError, Gone, OutcomeUnknown
from glance_common.model.image import Deletion, Due
from glance_common.model.status import LocationStatus
from glance_common.stores.contract import BlobNotFound, UnknownStore
from glance_scrubber.scrub import Scrubber, ScrubSettings


@dataclass
class Row:
    store: str
    key: str
    status: str = "pending_delete"
    token: str | None = None
    is_due: bool = True
    attempts: int = 0
    error: str = ""
    delay: float = 0
    request_id: str | None = None


@dataclass
class FakeDeletions:
    """Rows by location. ``broken[call]`` is raised by that call, after it happened when ``late``.

    Every claim and done of what is in ``poison`` is the error ``poisoned`` of the registry. One that ``is_older`` has
    no calls for many locations.
    """

    rows: dict[str, Row] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    broken: dict[str, GlanceError] = field(default_factory=dict)
    late: bool = False
    asked: list[Any] = field(default_factory=list)
    released: list[str] = field(default_factory=list)
    poison: set[str] = field(default_factory=set)
    poisoned: GlanceError = field(default_factory=lambda: OutcomeUnknown("an error of the registry"))
    is_older: bool = False
    lock: Any = field(default_factory=threading.RLock)

    def add(self, store: str = "one", **values: Any) -> str:
        location = str(uuid4())
        self.rows[location] = Row(store, f"key-{location}", **values)
        return location

    def due(self, context, *, limit, stores=None, scrub_time=0):
        with self.lock:
            self._called("due", context)
            found = [name for name, row in self.rows.items() if row.is_due and row.store in stores]
            return Due(tuple(found[:limit]), 5.0 if found else 0.0)

    def claim(self, context, location, token, *, lease, stores=None, scrub_time=0):
        with self.lock:
            if not self.late:
                self._called("claim", context)
            self._check([location])
            row = self.rows.get(location)
            is_held = row is not None and row.status == "deleting" and row.token == token
            if row is None or row.store not in stores or not (row.is_due or is_held):
                return None
            row.status, row.token, row.is_due = "deleting", token, False
            if self.late:
                self._called("claim", context)
            return Deletion(location, "image", row.store, row.key, token, row.attempts, row.request_id)

    def claim_many(self, context, locations, token, **terms):
        """One transaction: what the registry cannot handle in one row undoes all."""
        if self.is_older:
            return [], set()
        with self.lock:
            self._check(locations)
            usual = [location for location in locations if self.rows[location].token != token]
            found = {location: self.claim(context, location, token, **terms) for location in usual}
        claims = [claim for claim in found.values() if claim is not None]
        return claims, {location for location, claim in found.items() if claim is None}

    def done_many(self, context, locations, token):
        recorded = set()
        with self.lock:
            self._check(locations)
            for location in locations:
                with suppress(Gone):
                    self.done(context, location, token)
                    recorded.add(location)
        return recorded

    def renew_many(self, context, locations, token, *, lease):
        for location in locations:
            with suppress(Gone):
                self.renew(context, location, token, lease=lease)

    def release(self, context, locations, token):
        with self.lock:
            for location in locations:
                row = self.rows[location]
                if row.token == token and row.status == "deleting":
                    row.is_due = True
                    self.released.append(location)

    def renew(self, context, location, token, *, lease):
        with self.lock:
            self._called("renew", context)
            self._held(location, token)
            return lease

    def done(self, context, location, token):
        with self.lock:
            if not self.late:
                self._called("done", context)
            self._check([location])
            self._held(location, token).status = "deleted"
            if self.late:
                self._called("done", context)
            return True

    def retry(self, context, location, token, *, error, delay, max_attempts):
        with self.lock:
            self._called("retry", context)
            row = self._held(location, token)
            row.attempts, row.error, row.delay = row.attempts + 1, error, delay
            if row.attempts >= max_attempts:
                row.status = "failed"
            return LocationStatus(row.status)

    def expire(self, location):
        """Let the claim run out: the row is due again."""
        self.rows[location].is_due = True

    def _held(self, location, token):
        row = self.rows[location]
        if row.token != token:
            raise Gone("another's")
        return row

    def _check(self, locations):
        if self.poison.intersection(locations):
            raise self.poisoned

    def _called(self, name, context):
        self.calls[name] += 1
        self.asked.append((name, context.request_id))
        if name in self.broken:
            raise self.broken[name]


class FakeStore:
    """Holds keys; ``error`` is what delete raises; ``gate`` lets a test hold a delete up."""

    def __init__(self, store="one"):
        self.id = store
        self.keys: set[str] = set()
        self.deleted: list[str] = []
        self.error: Exception | None = None
        self.entered = threading.Event()
        self.gate = threading.Event()
        self.gate.set()
        self.together = 0
        self.most_together = 0
        self._lock = threading.Lock()

    def delete(self, key):
        with self._lock:
            self.together += 1
            self.most_together = max(self.together, self.most_together)
        self.entered.set()
        try:
            assert self.gate.wait(60)
            self.deleted.append(key)
            if self.error is not None:
                raise self.error
            if key not in self.keys:
                raise BlobNotFound(key)
            self.keys.discard(key)
        finally:
            with self._lock:
                self.together -= 1


class FakeShelf:
    def __init__(self, *stores):
        self._stores = {store.id: store for store in stores}

    @property
    def ids(self):
        return tuple(self._stores)

    def get(self, store):
        if store not in self._stores:
            raise UnknownStore(store)
        return self._stores[store]


def make_scrubber(deletions, *stores, stop=None, lease=120, scrub_time=0, max_attempts=100, pool_size=1):
    """Return a scrubber; rows of ``deletions`` have their bytes in the stores."""
    for row in deletions.rows.values():
        for store in stores:
            if store.id == row.store:
                store.keys.add(row.key)
    settings = ScrubSettings(lease, scrub_time, max_attempts, pool_size)
    return Scrubber(deletions, FakeShelf(*stores), settings, stop or threading.Event())
