"""The two words that systemd and an operator have with a daemon: stop, and I am ready."""

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

LOG = logging.getLogger(__name__)
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


def notify_ready() -> None:
    """Tell systemd that the daemon works (``Type=notify``); without systemd do nothing."""
    address = os.environ.pop("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.connect(address)
            sock.send(b"READY=1")
    except OSError as error:
        # A supervisor that does not listen is no reason to stop.
        LOG.warning("systemd cannot be notified: %s", error)
