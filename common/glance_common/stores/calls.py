"""Calls that can hang whatever their own time limits say: into Ceph's libraries, os-brick and attached devices.

Each call has a thread of its own, and waiting for it ends in time. A thread whose call hangs is lost until the call
comes back; only so many may be lost.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")

MOST_LOST = 16
"""Threads of one store in one process that may hang; with them all, no further call begins."""


class CallHangs(Exception):
    """The call did not come back in time, or was not begun since too many hang."""


class Steps:
    """Counts the steps of a long call, so that one that moves is waited for."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, _done: int, _total: int) -> int:
        """Note a step; Ceph's library calls it, and goes on after a 0."""
        self.count += 1
        return 0


class Calls:
    """The calls of one store."""

    def __init__(self, name: str) -> None:
        """``name`` is that of the threads."""
        self._name = name
        self._lock = threading.Lock()
        self._lost = 0

    @property
    def lost(self) -> int:
        """How many calls hang."""
        return self._lost

    def run(
        self, act: Callable[[], T], seconds: float,
        *, late: Callable[[T], object] | None = None, progress: Steps | None = None,
    ) -> T:
        """Return what ``act`` returns, within these seconds or these seconds after its last step.

        ``late`` gets the result that comes when it is no longer waited for. Raises CallHangs.
        """
        return self.begin(act, late=late).result(seconds, progress)

    def begin(self, act: Callable[[], T], *, late: Callable[[T], object] | None = None) -> "Call[T]":
        """Begin a call, whose result the caller asks for later. Raises CallHangs when too many hang."""
        with self._lock:
            if self._lost >= MOST_LOST:
                raise CallHangs
        answer: Future[T] = Future()
        try:
            threading.Thread(target=self._work, args=(act, answer, late), name=self._name, daemon=True).start()
        except RuntimeError as error:
            raise CallHangs from error
        return Call(self, answer)

    def give_up(self, answer: "Future[T]") -> bool:
        """Wait for the call no more; return False when it has just ended."""
        with self._lock:
            self._lost += 1
        if answer.cancel():
            return True
        self._found()
        return False

    def _work(self, act: Callable[[], T], answer: "Future[T]", late: Callable[[T], object] | None) -> None:
        result: T | None = None
        error: BaseException | None = None
        try:
            result = act()
        except BaseException as raised:
            error = raised
        if answer.set_running_or_notify_cancel():
            if error is None:
                answer.set_result(result)  # type: ignore[arg-type]  # it is a T without an error
            else:
                answer.set_exception(error)
            return
        try:
            if error is None and late is not None:
                late(result)  # type: ignore[arg-type]  # as above
        finally:
            self._found()

    def _found(self) -> None:
        with self._lock:
            self._lost -= 1


class Call(Generic[T]):
    """A call that has begun."""

    def __init__(self, calls: Calls, answer: Future[T]) -> None:
        self._calls = calls
        self._answer = answer

    def result(self, seconds: float, progress: Steps | None = None) -> T:
        """Return the result, within these seconds from now or these seconds after its last step. Raises CallHangs."""
        while True:
            steps = progress.count if progress else 0
            try:
                return self._answer.result(seconds)
            except TimeoutError:
                if self._answer.done():
                    return self._answer.result()
                if progress and progress.count != steps:
                    continue
            if self._calls.give_up(self._answer):
                raise CallHangs
            return self._answer.result()
