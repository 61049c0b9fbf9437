"""How a worker tells the master whether its start succeeded."""

import mmap


class BootReport:
    """A page shared between the master and one worker, through which the worker tells how its start went."""

    _READY, _FAILED = 1, 2

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, mmap.PAGESIZE)

    def ready(self) -> None:
        """Tell that the worker accepts connections."""
        self._page[0] = self._READY

    def failed(self, reason: str) -> None:
        """Tell why the worker cannot serve."""
        text = reason.encode()[: mmap.PAGESIZE - 2]
        self._page[1 : 1 + len(text)] = text
        self._page[0] = self._FAILED

    @property
    def is_ready(self) -> bool:
        """Whether the worker accepts connections, or did before it died."""
        return self._page[0] == self._READY

    @property
    def reason(self) -> str:
        """Why the worker did not start."""
        if self._page[0] != self._FAILED:
            return "a worker process died while it started"
        return bytes(self._page[1:]).rstrip(b"\0").decode(errors="replace")
