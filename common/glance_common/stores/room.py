"""Memory that transfers share: each has a little of its own, and more while few of them run."""

import threading


class SharedRoom:
    """So many bytes, or other units of the same size, that may be taken. Taking never waits."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._lock = threading.Lock()

    @property
    def left(self) -> int:
        """What is not taken."""
        return self._left

    def take(self, size: int) -> bool:
        """Take so many if they are left, and say whether they were."""
        with self._lock:
            is_left = size <= self._left
            if is_left:
                self._left -= size
        return is_left

    def give_back(self, size: int) -> None:
        """Give back what was taken."""
        with self._lock:
            self._left += size
