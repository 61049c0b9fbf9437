"""On whose behalf a store is used: for stores that keep data in the accounts of projects.

The request handling of the API says it once a request, and what writes data says whose they are. It follows
``copy_context`` into other threads. Most stores do not ask.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace


@dataclass(frozen=True, slots=True)
class StoreCaller:
    """``project`` is the one whose account takes the data. The proofs are never logged and never stored.

    ``token`` is None where no caller waits, as for background work; ``catalog`` is the service catalog, JSON, as
    Keystone's middleware leaves it.
    """

    project: str | None = None
    token: str | None = field(default=None, repr=False)
    catalog: str | None = field(default=None, repr=False)


_NO_CALLER = StoreCaller()
_caller: ContextVar[StoreCaller] = ContextVar("store_caller", default=_NO_CALLER)


def current_caller() -> StoreCaller:
    """Return on whose behalf this code runs."""
    return _caller.get()


def begin_request(caller: StoreCaller) -> None:
    """Say who calls, for the rest of the request that this thread answers; the next request says it anew."""
    _caller.set(caller)


@contextmanager
def data_of(owner: str | None) -> Iterator[None]:
    """Say in the block whose data are written, unless a caller with a token writes them."""
    caller = current_caller()
    if caller.token is not None:
        yield
        return
    reset = _caller.set(replace(caller, project=owner))
    try:
        yield
    finally:
        _caller.reset(reset)
