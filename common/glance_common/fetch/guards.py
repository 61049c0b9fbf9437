"""The watch over one exchange with another server: its time, its size, its rate, and whether it is still wanted.

The timeouts of sockets and of HTTP libraries bound one read or write, so a peer that sends a byte now and then resets
them. A guard bounds the exchange: it is asked before every wait and lets none last longer than half a second, so
that the time is over when it is over, and so that what is not wanted any more ends within a second.
"""

import socket
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import TypeVar

from glance_common.fetch import deadlines
from glance_common.fetch.deadlines import SLICE

T = TypeVar("T")

SHORTEST = 0.001
"""Seconds; 0 would make a socket not wait at all."""

LARGEST_HEADER = 256 * 1024
"""Bytes of the status line and headers of an answer, with all 1xx answers before it."""


class TimeIsUp(TimeoutError):
    """The peer did not keep the limits; the text continues the words "the server"."""


@dataclass(frozen=True, slots=True)
class ExchangeLimits:
    """What one exchange may take; times in seconds.

    ``connect``: for one connection. ``idle``: without a byte. ``answer``: in all until the header of the answer is
    there, look-up, connections, TLS and redirects included; for documents until the end of the body. ``document``:
    the largest document in bytes. ``rate``: bytes a second that other bodies have to come with, averaged over
    ``window`` seconds of waiting.
    """

    connect: float = 10.0
    idle: float = 60.0
    answer: float = 60.0
    document: int = 4 * 1024 * 1024
    rate: int = 1024
    window: float = 60.0


class Guard:
    """One exchange. Begins now, in the scope of ``deadlines`` that is open now, and belongs to one thread at a time."""

    def __init__(self, limits: ExchangeLimits) -> None:
        self.limits = limits
        self.reason: str | None = None
        """What the peer did wrong, once it did."""
        self._scope = deadlines.current()
        self._begun = self._asked_at = monotonic()
        self._answer_until = self._begun + limits.answer
        self._part, self._most = "header", LARGEST_HEADER
        self._received = 0
        self._is_data = False
        self._waited = 0.0
        self._payload = 0
        self._reads_since: float | None = None

    def begin_header(self) -> None:
        """Say that another answer is to come now: the one of the next address, or of the target of a redirect."""
        self._received = 0

    def begin_body(self, *, document: bool) -> None:
        """Say that the header is there. A document has to come in the same time, other data at the least rate."""
        self._received = 0
        self._part, self._most = "document", self.limits.document
        self._is_data = not document

    def check(self) -> None:
        """Raise TimeIsUp when a limit is reached, and what the checks of the scope raise, called twice a second."""
        now = monotonic()
        if now >= self._scope.ends_at or (now >= self._answer_until and not self._is_data):
            raise self.over(f"took more than {now - self._begun:.1f} seconds")
        if self._is_data:
            self._check_rate(now)
        if now - self._asked_at >= SLICE:
            self._asked_at = now
            for check in self._scope.checks:
                check()

    def over(self, reason: str) -> TimeIsUp:
        """Return the error for a peer that ``reason`` is said about, and keep that."""
        self.reason = reason
        return TimeIsUp(reason)

    def until(self, wait: Callable[[float], bool], seconds: float, reason: str) -> None:
        """Wait with ``wait``, which takes seconds and tells success, for ``seconds`` at most.

        Raises TimeIsUp with ``reason`` when these are over, and as ``check``.
        """
        ends_at = monotonic() + seconds
        while True:
            self.check()
            if wait(self._slice(ends_at)):
                return
            if monotonic() >= ends_at:
                raise self.over(reason)

    def attempt(self, sock: socket.socket, operation: Callable[..., T], *arguments: object) -> T:
        """Return what an operation of ``sock`` returns that can be tried again after a timeout. Raises as ``check``."""
        ends_at = monotonic() + self.limits.idle
        while True:
            self.check()
            sock.settimeout(self._slice(ends_at))
            try:
                return operation(*arguments)
            except TimeoutError:
                if monotonic() >= ends_at:
                    raise self.over(f"was silent for {self.limits.idle:g} seconds") from None

    def count(self, size: int) -> None:
        """Count bytes that came. Raises TimeIsUp above the most that header or document may have."""
        self._received += size
        if self._received > self._most and not self._is_data:
            raise self.over(f"sends a {self._part} of more than {self._most} bytes")

    def begin_read(self) -> None:
        """Say that the reader waits for data from now on: only that time counts for the rate."""
        self._reads_since = monotonic()

    def end_read(self, size: int) -> None:
        """Say that the reader got ``size`` bytes of data."""
        if self._reads_since is not None:
            self._waited += monotonic() - self._reads_since
        self._reads_since = None
        self._payload += size

    def _check_rate(self, now: float) -> None:
        waited = self._waited + (0.0 if self._reads_since is None else now - self._reads_since)
        if waited < self.limits.window:
            return
        if self._payload < self.limits.rate * waited:
            raise self.over(f"sends less than {self.limits.rate} bytes a second")
        self._waited, self._payload = 0.0, 0
        if self._reads_since is not None:
            self._reads_since = now

    def _slice(self, ends_at: float) -> float:
        if not self._is_data:
            ends_at = min(ends_at, self._answer_until)
        return max(min(SLICE, min(ends_at, self._scope.ends_at) - monotonic()), SHORTEST)
