"""What a registry process does beside the requests, in pieces that no request feels: it purges rows that are over."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Engine

from glance_common.model.errors import GlanceError
from glance_registry.db.session import run_transaction
from glance_registry.records import deleted_rows, expiry

LOG = logging.getLogger(__name__)

INTERVAL = 60.0
"""Seconds between two looks of one process, when the last one left nothing to do."""

Work = Callable[[sa.Connection], int]


@dataclass(frozen=True, slots=True)
class Ages:
    """Days after which deleted rows are purged, 0 for never: those of images, and those of the other tables."""

    images: int = 0
    rows: int = 0


@dataclass(slots=True)
class _Duty:
    """One thing to do: what it purges, how, how many rows a full piece has, and when it is due."""

    rows: str
    work: Work
    full: int
    due: float = 0.0


class Housekeeping:
    """Does one piece of each thing that is due at each call, mostly nothing.

    Workers, who ask for work all the time, call it.
    """

    def __init__(self, engine: Engine, ages: Ages) -> None:
        self._engine = engine
        self._duties = [_Duty("expired operations", expiry.purge_expired, expiry.BATCH), *_of_ages(ages)]

    def __call__(self) -> None:
        """Purge a batch of rows of each kind when it is time. Never raises: a claim must not fail for it."""
        for duty in self._duties:
            if time.monotonic() >= duty.due:
                self._do(duty)

    def _do(self, duty: _Duty) -> None:
        duty.due = time.monotonic() + INTERVAL
        try:
            purged = run_transaction(self._engine, duty.work)
        except GlanceError as error:
            LOG.warning("%s cannot be purged now: %s", duty.rows, error.message)
            return
        if purged:
            LOG.info("purged %d %s", purged, duty.rows)
        if purged == duty.full:
            duty.due = 0.0


def _of_ages(ages: Ages) -> list[_Duty]:
    duties = []
    if ages.rows:
        duties.append(_duty("rows of purged locations", deleted_rows.purge_locations, ages.rows))
    if ages.images:
        duties.append(_duty("rows of deleted images", deleted_rows.purge_images, ages.images))
    return duties


def _duty(rows: str, purge: deleted_rows.Purge, days: int) -> _Duty:
    return _Duty(rows, lambda connection: purge(connection, days, deleted_rows.BATCH), deleted_rows.BATCH)
