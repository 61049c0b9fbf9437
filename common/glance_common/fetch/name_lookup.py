"""Looking up names without waiting for ever: the system's resolver has no timeout that a caller could set."""

import socket
import threading
from collections.abc import Callable, Sequence

from glance_common.fetch.guards import Guard

MOST_LOOKUPS = 64
"""Look-ups of one process at the same time. One that was given up holds its place until the resolver gives up too."""

Resolver = Callable[[str, int], Sequence[str]]
"""Takes a host name and a port, returns the addresses as text; raises OSError when there are none."""


def system_resolver(host: str, port: int) -> list[str]:
    """Return the addresses of a name. Raises OSError.

    Without a trailing dot, so that search domains and /etc/hosts work. The resolver reads numbers as addresses: names
    from users are to be checked before.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class NameLookups:
    """A bounded number of look-ups, each in a thread of its own. The caller need not wait for its end."""

    def __init__(self, most: int = MOST_LOOKUPS) -> None:
        self._free = threading.BoundedSemaphore(most)

    def find(self, resolve: Resolver, host: str, port: int, guard: Guard) -> Sequence[str]:
        """Return what ``resolve`` returns. Raises what it raises, and TimeIsUp when the time of ``guard`` is over."""
        seconds, reason = guard.limits.answer, "has a name that cannot be looked up in time"
        guard.until(lambda wait: self._free.acquire(timeout=wait), seconds, reason)
        lookup = _Lookup(resolve, host, port, self._free.release)
        guard.until(lookup.done.wait, seconds, reason)
        if lookup.error is not None:
            raise lookup.error
        return lookup.found


class _Lookup:
    """One look-up, which begins at once."""

    def __init__(self, resolve: Resolver, host: str, port: int, release: Callable[[], None]) -> None:
        self.done = threading.Event()
        self.found: Sequence[str] = []
        self.error: Exception | None = None
        try:
            threading.Thread(
                target=self._run, args=(resolve, host, port, release), name="name-lookup", daemon=True
            ).start()
        except RuntimeError:
            release()
            raise OSError("no thread can be started to look up a name") from None

    def _run(self, resolve: Resolver, host: str, port: int, release: Callable[[], None]) -> None:
        try:
            self.found = resolve(host, port)
        except Exception as error:
            self.error = error
        finally:
            release()
            self.done.set()
