"""The process beside the workers: watches what the service depends on and serves its metrics.

It is a process of its own so that it answers when all threads of the workers are busy or hang, and so that a directory
that hangs stops no other process.
"""

import logging
import mmap
import os
import select
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from socket import socket
from types import FrameType
from typing import NoReturn

from prometheus_client import CollectorRegistry

from glance_common.monitor.exporter import Address
from glance_common.monitor.monitor import Monitor, Watched
from glance_common.observability.metrics.shared import SharedNumbers

log = logging.getLogger(__name__)

NAME = "glance-monitor"
_STOP_SECONDS = 3.0
_RESPAWN_SECONDS = 5.0
_TICK = 0.5


class SharedVerdict:
    """One byte shared by master, workers and monitor: is something down without which the service can do nothing?"""

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, mmap.PAGESIZE)

    def is_down(self) -> bool:
        """Tell what the monitor has found last; False while it does not run."""
        return self._page[0] == 1

    def set(self, down: bool) -> None:
        """Note what was found."""
        self._page[0] = int(down)


class MonitorProcess:
    """Starts the monitor, starts it again when it died, and stops it; used by the master only."""

    def __init__(self, verdict: SharedVerdict, numbers: SharedNumbers | None, listeners: Sequence[socket]) -> None:
        """``numbers`` is None when the workers count nothing; the monitor itself has no use for ``listeners``."""
        self._verdict = verdict
        self._numbers = numbers
        self._listeners = listeners
        self._descriptor = -1
        self._start_at = 0.0
        self._kill_at: float | None = None

    def keep(self, watch: Callable[[], Watched], address: Address | None) -> None:
        """Start the monitor unless it runs; called again and again, and never waits."""
        now = time.monotonic()
        if self._descriptor >= 0 and self._has_ended(0):
            if self._kill_at is None:
                log.error("The monitor died; it is started again in %.0f s", _RESPAWN_SECONDS)
                self._start_at = now + _RESPAWN_SECONDS
            self._forget()
        elif self._kill_at is not None and now >= self._kill_at:
            self._signal(signal.SIGKILL)
        if self._descriptor < 0 and now >= self._start_at:
            self._start(watch, address)

    def renew(self) -> None:
        """End the monitor, so that ``keep`` starts another one with what is in force then."""
        self._start_at = 0.0
        if self._descriptor >= 0:
            self._signal(signal.SIGTERM)
            self._kill_at = time.monotonic() + _STOP_SECONDS

    def stop(self) -> None:
        """End the monitor for good, by force if need be."""
        for sig in (signal.SIGTERM, signal.SIGKILL):
            if self._descriptor >= 0:
                self._signal(sig)
                if self._has_ended(_STOP_SECONDS):
                    self._forget()

    def _signal(self, sig: signal.Signals) -> None:
        # By descriptor: the process id may be another's by now, as the master reaps whatever ended.
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._descriptor, sig)

    def _has_ended(self, seconds: float) -> bool:
        poller = select.poll()
        poller.register(self._descriptor, select.POLLIN)
        return bool(poller.poll(seconds * 1000))

    def _forget(self) -> None:
        os.close(self._descriptor)
        self._descriptor, self._kill_at = -1, None
        self._verdict.set(False)

    def _start(self, watch: Callable[[], Watched], address: Address | None) -> None:
        master = os.getpid()
        pid = _fork_named(NAME)
        if pid == 0:
            self._run(master, watch, address)
        self._descriptor = os.pidfd_open(pid)

    def _run(self, master: int, watch: Callable[[], Watched], address: Address | None) -> NoReturn:
        """Be the monitor, until told to end or the master is gone."""
        status = 1
        try:
            ending = _until_signal()
            for listener in self._listeners:
                listener.close()
            monitor = self._monitor(watch(), address)
            monitor.start()
            while not ending() and os.getppid() == master:
                self._verdict.set(monitor.health.is_down())
                time.sleep(_TICK)
            monitor.stop()
            status = 0
        except Exception:
            log.exception("The monitor cannot work")
        finally:
            # Not sys.exit: what the master registered to run at its end is not ours, and a probe's thread may hang.
            os._exit(status)

    def _monitor(self, watched: Watched, address: Address | None) -> Monitor:
        if self._numbers is None:
            return Monitor(watched, address, CollectorRegistry())
        return Monitor(watched, address, self._numbers.collector_registry(), self._numbers.fold_ended)


def _fork_named(name: str) -> int:
    """Fork; the child has this name from its first moment on: a list of processes never shows it as a worker."""
    command = Path("/proc/self/comm")
    own = command.read_text()
    command.write_text(name)
    pid = os.fork()
    if pid:
        command.write_text(own)
    return pid


def _until_signal() -> Callable[[], bool]:
    """Replace the master's handlers; the returned function tells whether TERM or QUIT has come."""
    heard: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        heard.append(number)

    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH, signal.SIGTTIN,
                   signal.SIGTTOU):
        signal.signal(number, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGQUIT):
        signal.signal(number, note)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    return lambda: bool(heard)
