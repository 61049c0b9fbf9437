"""Looks again and again at what projects use, while everything around breaks (I5)."""

from __future__ import annotations

import threading
from contextlib import suppress

import psycopg2
from tests.support.deployment import Deployment

PAUSE = 0.1
"""Seconds between two looks."""

# Written down anew, so that it is not the service that judges itself: what is at rest and can be seen, and what is
# being written or was begun and is not removed yet. One statement sees one moment. A copy that replaces a damaged one
# is asked for no room (verify and repair), so only what users asked for has to stay below the limit.
_USED = """
    SELECT i.owner, sum(l.size) AS used FROM locations l JOIN images i ON i.id = l.image_id
    WHERE NOT l.staging AND l.replaces IS NULL AND (
        (l.status = 'active' AND i.status NOT IN ('deleted', 'pending_delete', 'killed'))
        OR (l.on_fail IS NOT NULL AND l.status IN ('writing', 'pending_delete', 'deleting', 'reaping'))
    )
    GROUP BY i.owner
"""


class UsageWatch:
    """Compares what each project uses with ``limit`` bytes."""

    def __init__(self, deployment: Deployment, limit: int) -> None:
        self._deployment = deployment
        self._limit = limit
        self.looks = 0
        """How often the database answered."""
        self.most: dict[str | None, int] = {}
        """The largest usage seen, in bytes, by project."""

    def run(self, over: threading.Event) -> None:
        """Look until told that it is over; the database may be away at times."""
        while not over.wait(PAUSE):
            with suppress(psycopg2.Error):
                self.look()

    def look(self) -> None:
        """Look once. Raises psycopg2.Error."""
        for row in self._deployment.query(_USED):
            self.most[row["owner"]] = max(self.most.get(row["owner"], 0), int(row["used"] or 0))
        self.looks += 1

    def above(self) -> list[str]:
        """Return what was seen above the limit."""
        return [
            f"I5: the project {owner} used {used} of {self._limit} bytes"
            for owner, used in self.most.items() if used > self._limit
        ]
