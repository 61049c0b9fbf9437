"""The request that a line of the log belongs to.

The request id lives in a context variable; each request or queue message sets it, so that one id can be followed from
the API through the registry and the queue to the scrubber.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

request_id: ContextVar[str] = ContextVar("request_id", default="-")
"""Id of the request that the current thread works for."""


@contextmanager
def working_for(identifier: str | None) -> Iterator[None]:
    """Log under the request id ``identifier`` within the block."""
    token = request_id.set(identifier or "-")
    try:
        yield
    finally:
        request_id.reset(token)
