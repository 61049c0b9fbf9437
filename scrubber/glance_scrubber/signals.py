"""How a daemon hears that it should stop."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_STOPPING = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def stopping(stop: threading.Event) -> Iterator[None]:
    """Let the first TERM or INT set ``stop``, within the block; a second one then ends the process as usual.

    The main thread must not wait on ``stop`` itself: the handler runs in it and needs the event's lock.
    """
    before = {number: signal.getsignal(number) for number in _STOPPING}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        restore()
        stop.set()

    for number in _STOPPING:
        signal.signal(number, on_signal)
    try:
        yield
    finally:
        restore()

