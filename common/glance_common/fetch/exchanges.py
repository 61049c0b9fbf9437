"""Which guard watches the thread that calls now: for HTTP libraries that connect and read deep inside their calls."""

import threading

from glance_common.fetch.guards import ExchangeLimits, Guard


class Exchanges:
    """The guard of the exchange that the calling thread is in."""

    def __init__(self) -> None:
        self._mine = threading.local()

    def begin(self, limits: ExchangeLimits) -> Guard:
        """Begin an exchange in this thread."""
        guard = Guard(limits)
        # Header and document in one: such libraries read both within one call.
        guard.begin_body(document=True)
        self._mine.guard = guard
        return guard

    def go_on(self, guard: Guard) -> None:
        """Let this thread go on with an exchange that another one may have begun."""
        self._mine.guard = guard

    def current(self) -> Guard:
        """Return the guard of this thread, a new one when there is none, as for a connection that is just closed."""
        guard: Guard = getattr(self._mine, "guard", None) or self.begin(ExchangeLimits())
        return guard
