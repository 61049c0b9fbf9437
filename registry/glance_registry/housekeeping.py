"""What a registry process does beside the requests, in pieces that no request feels: it purges expired operations."""

import logging
import time

from sqlalchemy import Engine

from glance_common.model.errors import GlanceError
from glance_registry.db.session import run_transaction
from glance_registry.records import expiry

LOG = logging.getLogger(__name__)

INTERVAL = 60.0
"""Seconds between two looks of one process, when the last one left nothing to do."""


class Housekeeping:
    """Does one piece of what is due at each call, mostly nothing. Workers, who ask for work all the time, call it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._next = 0.0

    def __call__(self) -> None:
        """Purge a batch of expired operations when it is time. Never raises: a claim must not fail for it."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + INTERVAL
        try:
            purged = run_transaction(self._engine, expiry.purge_expired)
        except GlanceError as error:
            LOG.warning("expired operations cannot be purged now: %s", error.message)
            return
        if purged:
            LOG.info("purged %d expired operations", purged)
        if purged == expiry.BATCH:
            self._next = 0.0
