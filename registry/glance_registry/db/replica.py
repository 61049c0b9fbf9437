"""Reads that may be old go to a replica, ``[database] slave_connection``.

The rule: pages of lists may be old, of images, tasks, memberships, namespaces, tags and resource types. All that shows
one thing, that counts or locks, or on which a write rests, is read from the primary, and so is a list whose replica

- does not answer, or answers with an error: an image that was made just now may be a marker already;
- is more than ``lag`` seconds behind: the primary's position in its log is noted every ``lag`` seconds, and the
  replica has to have replayed the one before.

A database that is no streaming replica tells no position; its lag is not watched.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy import exc

from glance_common.model import errors
from glance_common.observability.metrics.catalog import LIST_READS
from glance_registry.db.errors import RetryTransaction
from glance_registry.db.session import read

LOG = logging.getLogger(__name__)

T = TypeVar("T")

PAUSE = 5.0
"""Seconds for which a replica that does not answer is not asked again."""
_OPTION = "glance_replica"

_WRITTEN = sa.text("SELECT pg_current_wal_lsn()::text")
_HAS_NO_POSITIONS = frozenset({"42883", "0A000"})
"""Of services that speak PostgreSQL's protocol and have no such function: undefined, not supported."""
_REPLAYED = sa.text("SELECT pg_last_wal_replay_lsn() - CAST(:position AS pg_lsn) >= 0")


class Replica:
    """The replica of one primary, in one process. ``lag`` is in seconds; 0 does not watch it."""

    def __init__(self, engine: sa.Engine, lag: float) -> None:
        self.engine = engine
        self._lag = lag
        self._comparing = threading.Lock()
        self._compare_at = 0.0
        self._position: str | None = None
        self._noted_at = 0.0
        self._is_fresh = not lag
        self._judged_at = 0.0
        self._ask_at = 0.0
        self._trouble = ""

    def attach(self, primary: sa.Engine) -> None:
        """Send the reads of ``primary`` that may be old here."""
        primary.update_execution_options(**{_OPTION: self})

    def is_usable(self, primary: sa.Engine) -> bool:
        """Tell whether the replica may be asked now. One caller compares it with the primary when that is due."""
        now = time.monotonic()
        if now < self._ask_at:
            return False
        if self._trouble and not self._lag:
            # One caller tries; the others do not wait for a server that may hang.
            self._ask_at = now + PAUSE
        if self._lag and now >= self._compare_at and self._comparing.acquire(blocking=False):
            try:
                self._compare(primary, now)
            finally:
                self._comparing.release()
        # While a caller compares, what was found long ago says nothing.
        return self._is_fresh and (not self._lag or time.monotonic() - self._judged_at < 2 * self._lag)

    def _compare(self, primary: sa.Engine, now: float) -> None:
        self._compare_at = now + self._lag
        try:
            self._compare_positions(primary, now)
        except exc.DBAPIError as error:
            if getattr(error.orig, "pgcode", None) in _HAS_NO_POSITIONS:
                self._lag, self._is_fresh = 0.0, True
                LOG.warning("the databases tell no positions: how far slave_connection is behind cannot be watched")
                return
            # Such as a primary that is a standby while the servers change places.
            self._is_fresh = False
            self._tell("cannot be compared with the primary now")

    def _compare_positions(self, primary: sa.Engine, now: float) -> None:
        # A position from long ago would say nothing of the time between.
        before = self._position if now - self._noted_at < 2 * self._lag else None
        try:
            self._position, self._noted_at = read(primary, _scalar, _WRITTEN), now
        except errors.Unavailable:
            # While the primary is away nothing new can be missed.
            self._judged_at = now
            return
        try:
            replayed = read(self.engine, _scalar, _REPLAYED, {"position": before or str(self._position)})
        except errors.Unavailable as error:
            self.failed(error)
            return
        # What replays nothing is no streaming replica.
        self._is_fresh, self._judged_at = replayed is None or bool(replayed), time.monotonic()
        if self._is_fresh:
            self.answered()
        elif before is not None:
            self._tell(f"is more than {self._lag:g} s behind")

    def failed(self, error: errors.Unavailable) -> None:
        """Do not ask the replica for a while, unless it only broke off a statement in favour of what it replays."""
        if isinstance(error, RetryTransaction):
            return
        self._ask_at = time.monotonic() + PAUSE
        self._is_fresh = not self._lag
        self._tell(f"fails ({error.message})")

    def answered(self) -> None:
        """Note that the replica works, unless it is known to be behind."""
        if self._trouble and self._is_fresh:
            self._trouble, self._ask_at = "", 0.0
            LOG.info("the replica of slave_connection works again")

    def _tell(self, trouble: str) -> None:
        if not self._trouble:
            LOG.warning("the replica of slave_connection %s: lists are read from the primary", trouble)
        self._trouble = trouble


def maybe_old(engine: sa.Engine, work: Callable[[sa.Engine], T]) -> T:
    """Return ``work(engine)`` of the replica of ``engine`` where it can be used, otherwise of ``engine`` itself."""
    replica: Replica | None = engine.get_execution_options().get(_OPTION)
    if replica is None:
        return work(engine)
    if replica.is_usable(engine):
        try:
            answer = work(replica.engine)
        except errors.Unavailable as error:
            replica.failed(error)
        except (errors.GlanceError, exc.DBAPIError):
            LOG.debug("a list is read from the primary: the replica cannot give it", exc_info=True)
        else:
            replica.answered()
            LIST_READS.labels("replica").inc()
            return answer
    LIST_READS.labels("primary").inc()
    return work(engine)


def _scalar(connection: sa.Connection, statement: sa.TextClause, values: dict[str, str] | None = None) -> str | None:
    found: str | None = connection.execute(statement, values or {}).scalar_one()
    return found
