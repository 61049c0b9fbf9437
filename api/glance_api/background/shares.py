"""How many workers of a process one project may have at the same time."""

import threading
from collections import Counter


class Shares:
    """Counts the operations of each project. Operations without a project have no limit."""

    def __init__(self, limit: int) -> None:
        """``limit`` is the share of one project, 0 for none."""
        self._limit = limit
        self._running: Counter[str] = Counter()
        self._lock = threading.Lock()

    def begin(self, project: str | None) -> None:
        """Count an operation that was claimed."""
        if project is not None:
            with self._lock:
                self._running[project] += 1

    def end(self, project: str | None) -> None:
        """Count it no more."""
        if project is not None:
            with self._lock:
                self._running[project] -= 1
                self._running += Counter()

    def used_up(self) -> list[str]:
        """Return the projects that have used up their share."""
        with self._lock:
            return [project for project, count in self._running.items() if 0 < self._limit <= count]
