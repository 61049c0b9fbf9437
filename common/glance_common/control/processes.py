"""Signals to running servers, each through a descriptor of the process: its id cannot become another's meanwhile."""

import os
import select
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from glance_common.control.pid_file import PidFile
from glance_common.control.servers import ControlError


@contextmanager
def process_of(file: PidFile) -> Iterator[tuple[int, int] | None]:
    """Give the id and a descriptor of the running server to the block, None when it is stopped. Raises ControlError."""
    pid = file.running()
    if pid is None:
        yield None
        return
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        yield None
        return
    try:
        # Asked again: now the descriptor holds the process that the file names.
        yield (pid, handle) if file.running() == pid else None
    finally:
        os.close(handle)


def tell(handle: int, number: signal.Signals) -> None:
    """Send a signal. Raises ControlError when this user may not."""
    try:
        signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        pass  # it has ended, which is what the others wait for
    except PermissionError:
        raise ControlError("the process belongs to another user.") from None


def ends_within(handle: int, seconds: float) -> bool:
    """Wait for the end of a process; return whether it came in time."""
    poller = select.poll()
    poller.register(handle, select.POLLIN)
    until = time.monotonic() + seconds
    while True:
        if poller.poll(max(0.0, until - time.monotonic()) * 1000):
            return True
        if time.monotonic() >= until:
            return False
