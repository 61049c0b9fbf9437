"""The lowest speed at which a client may use up a thread."""

from glance_common.body import ClientTooSlow


class MinimumRate:
    """Cuts a client that moves fewer than ``minimum`` bytes a second, averaged over windows of ``window`` seconds.

    Only the time spent waiting for the client counts: a slow store or a slow disk is not the client's fault.
    ``minimum`` 0 switches the floor off.
    """

    __slots__ = ("_minimum", "_moved", "_waited", "_window")

    def __init__(self, minimum: int, window: float = 60.0) -> None:
        self._minimum = minimum
        self._window = window
        self._moved = 0
        self._waited = 0.0

    def restart(self) -> None:
        """Begin a new window: a new request has begun."""
        self._moved, self._waited = 0, 0.0

    def moved(self, count: int) -> None:
        """Note ``count`` bytes that went to or came from the client."""
        self._moved += count

    def patience(self) -> float | None:
        """Return how many seconds the next wait may last before ``waited`` has to hear of it; None = any."""
        return max(self._window - self._waited, 0.0) if self._minimum else None

    def waited(self, seconds: float) -> None:
        """Note a wait for the client. Raises ClientTooSlow when a window ended below the floor."""
        if not self._minimum:
            return
        self._waited += seconds
        if self._waited < self._window:
            return
        if self._moved < self._minimum * self._waited:
            raise ClientTooSlow(
                f"{self._moved} bytes in {self._waited:.0f} s of waiting; the least is {self._minimum} bytes/s"
            )
        self.restart()
