"""How long what runs now may take, and whether it is still wanted: for code that waits for other servers.

``within`` opens a scope, as ``timeout`` of asyncio does. Everything that waits for a peer in the block, however deep in
the calls, ends with it: exchanges of ``guards`` look at the scope in which they began. Scopes follow ``copy_context``
into other threads.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from time import monotonic, sleep

Check = Callable[[], None]
"""Raises what the wait is to end with; returns soon."""

NEVER = float("inf")

SLICE = 0.5
"""Seconds that one wait lasts at most, and between two calls of the checks of a scope."""


@dataclass(frozen=True, slots=True)
class Scope:
    """``ends_at``: when the time is over, by the monotonic clock; ``checks`` are called about twice a second."""

    ends_at: float = NEVER
    checks: tuple[Check, ...] = ()


_UNBOUNDED = Scope()
_current: ContextVar[Scope] = ContextVar("scope", default=_UNBOUNDED)


def current() -> Scope:
    """Return the scope that this code runs in."""
    return _current.get()


@contextmanager
def within(seconds: float = NEVER, still_wanted: Check | None = None) -> Iterator[Scope]:
    """Let what waits in the block end after ``seconds``, or when ``still_wanted`` raises.

    Never prolongs the scope around it, whose checks are called as well.
    """
    outer = current()
    checks = outer.checks if still_wanted is None else (*outer.checks, still_wanted)
    scope = Scope(min(outer.ends_at, monotonic() + seconds), checks)
    token = _current.set(scope)
    try:
        yield scope
    finally:
        _current.reset(token)


def pause(seconds: float) -> None:
    """Sleep, for less when the time of the scope is over. Raises what the checks of the scope raise."""
    scope, ends_at = current(), monotonic() + seconds
    while (left := min(ends_at, scope.ends_at) - monotonic()) > 0:
        sleep(min(left, SLICE))
        for check in scope.checks:
            check()
