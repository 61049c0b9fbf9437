"""One thread that sends files to many clients: none of them needs a thread while it takes its bytes or waits for more.

All clients have their turn, ``sending.STEP`` bytes each, so that those who began together end together.
"""

import logging
import os
import selectors
import threading
import time
from collections import deque
from collections.abc import Callable

from glance_common.body import ClientGone
from glance_common.server.sending import Sending, SendStep, log_failure

log = logging.getLogger(__name__)

REST_PATIENCE = 60.0
"""Seconds for which an answer waits for a thread when its file cannot give the rest."""
_SWEEP_SECONDS = 0.25


class AnswerEnded(Exception):
    """The server itself ends an answer early: it stops, or no thread was free in time for the rest."""


class Sender:
    """Owns each ``Sending`` from ``add`` until it calls ``on_end`` or ``on_rest`` with it, in its own thread.

    ``on_end``: the answer is over, and closed. ``on_rest``: the rest needs a thread, and the application admits it.
    """

    def __init__(
        self, on_end: Callable[[Sending], None], on_rest: Callable[[Sending], None], aborting: Callable[[], bool]
    ) -> None:
        self._on_end = on_end
        self._on_rest = on_rest
        self._aborting = aborting
        self._selector = selectors.DefaultSelector()
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._selector.register(self._wake_fd, selectors.EVENT_READ)
        self._arrived: deque[Sending] = deque()
        self._turns: deque[Sending] = deque()
        self._full: set[Sending] = set()
        self._hungry: dict[Sending, None] = {}
        self._rests: dict[Sending, None] = {}
        self._next_sweep = 0.0
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="sender", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def add(self, sending: Sending) -> None:
        """Send an answer."""
        self._arrived.append(sending)
        sending.body.on_growth(self.wake)
        self.wake()

    def wake(self) -> None:
        """Have the thread look at what is new; called by any thread."""
        os.eventfd_write(self._wake_fd, 1)

    def close(self) -> None:
        """End the thread, once nothing is sent any more."""
        self._is_closed = True
        self.wake()
        # The descriptor stays: files that grow may call ``wake`` at any time.
        self._thread.join()

    def _run(self) -> None:
        while not self._is_closed:
            try:
                self._turn()
            except Exception:
                # A defect must not end all answers of this process.
                log.exception("The sender failed")
                time.sleep(_SWEEP_SECONDS)

    def _turn(self) -> None:
        waits = bool(self._full or self._hungry or self._rests)
        for key, _ in self._selector.select(0 if self._turns else _SWEEP_SECONDS if waits else None):
            if key.fd == self._wake_fd:
                os.eventfd_read(self._wake_fd)
                self._look()
            else:
                self._on_writable(key.data)
        # As many steps as there are answers now: then others may have become ready.
        for _ in range(len(self._turns)):
            self._step(self._turns.popleft())
        now = time.monotonic()
        if now >= self._next_sweep:
            self._next_sweep = now + _SWEEP_SECONDS
            self._sweep(now)

    def _look(self) -> None:
        """Give a turn to what arrived, and to those whose file may have grown."""
        while self._arrived:
            self._turns.append(self._arrived.popleft())
        hungry, self._hungry = self._hungry, {}
        self._turns.extend(hungry)

    def _on_writable(self, sending: Sending) -> None:
        self._unblock(sending)
        if self._goes_on(sending, sending.check_wait):
            self._turns.append(sending)

    def _step(self, sending: Sending) -> None:
        try:
            self._check_abort()
            progress = sending.proceed()
        except Exception as error:
            self._end(sending, error)
            return
        if progress is SendStep.MORE:
            self._turns.append(sending)
        elif progress is SendStep.FULL:
            sending.blocked()
            self._full.add(sending)
            self._selector.register(sending.conn.sock, selectors.EVENT_WRITE, sending)
        elif progress is SendStep.NOTHING:
            self._hungry[sending] = None
        elif progress is SendStep.REST:
            sending.left_at = time.monotonic()
            self._rests[sending] = None
        else:
            self._end(sending, None)

    def _sweep(self, now: float) -> None:
        """End what takes too long; look at files that do not grow, and for threads that have become free."""
        self._look()
        for sending in list(self._full):
            self._goes_on(sending, sending.check_wait)
        for sending in list(self._rests):
            if not self._goes_on(sending):
                continue
            if sending.body.ready() is not None:
                # The file goes on after all: no thread is needed.
                del self._rests[sending]
                self._turns.append(sending)
            elif sending.body.admit():
                del self._rests[sending]
                self._on_rest(sending)
            elif now - sending.left_at > REST_PATIENCE:
                self._end(sending, AnswerEnded(f"no thread was free for the rest within {REST_PATIENCE:.0f} s"))

    def _check_abort(self) -> None:
        if self._aborting():
            raise AnswerEnded("the server stops")

    def _goes_on(self, sending: Sending, check: Callable[[], None] = lambda: None) -> bool:
        """Say whether the answer goes on; it ends when the server stops, or for the reason that ``check`` raises."""
        try:
            self._check_abort()
            check()
        except Exception as error:
            self._end(sending, error)
            return False
        return True

    def _unblock(self, sending: Sending) -> None:
        self._full.discard(sending)
        self._selector.unregister(sending.conn.sock)

    def _end(self, sending: Sending, error: Exception | None) -> None:
        if sending in self._full:
            self._unblock(sending)
        self._rests.pop(sending, None)
        sending.error = error
        conclude(sending)
        self._on_end(sending)


def conclude(sending: Sending) -> None:
    """Log why an answer ended early, if it did, and tell the application."""
    request, error = sending.request, sending.error
    if isinstance(error, ClientGone):
        log.info("Client %s left during %s %s: %s", sending.conn.client[0], request.method, request.path, error)
    elif isinstance(error, AnswerEnded):
        log.warning("The response to %s %s was cut: %s", request.method, request.path, error)
    elif error is not None:
        # Closing is the only way left to tell the client that its data is incomplete.
        log_failure("The response to %s %s was cut", request, error)
    try:
        sending.end()
    except Exception:
        log.exception("The end of %s %s failed", request.method, request.path)
    if error is not None:
        # The frames of its traceback hold the answer, which holds the error: they would stay for a while.
        sending.error = error.with_traceback(None)
