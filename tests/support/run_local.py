"""``deploy/run-local`` as a process, for tests: what it says, and the ways to end it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from deploy.local import processes

CHECKOUT = Path(__file__).resolve().parents[2]
FREE_PORTS = ["--api-port", "0", "--registry-port", "0"]


class RunLocal:
    """The program of an environment that has the project installed already; ``log`` holds what it says."""

    def __init__(self, data_dir: Path, log: Path) -> None:
        self.log = log
        self._arguments = [*FREE_PORTS, "--data-dir", str(data_dir)]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process that was started last."""
        assert self._process is not None
        return self._process

    def start(self, *arguments: str) -> RunLocal:
        """Start it with these arguments more."""
        with self.log.open("wb") as output:
            self._process = processes.spawn(
                [sys.executable, "-m", "deploy.local.main", *self._arguments, *arguments],
                output=output,
                env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
                cwd=CHECKOUT,
            )
        return self

    def wait_for(self, words: str) -> None:
        """Wait until it has said this."""
        self.wait_until(lambda: words in self.said(), words)

    def wait_until(self, ready: Callable[[], bool], what: str) -> None:
        """Wait while it runs."""
        processes.wait_until(ready, what=f"run-local: {what}", process=self.process, log=self.log, seconds=180)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it alone."""
        self.process.send_signal(number)

    def ctrl_c(self) -> None:
        """Send INT to the whole foreground group, as the terminal does."""
        processes.signal_group(self.process, signal.SIGINT)

    def end(self, seconds: float = 120) -> int:
        """Wait for its end; return the exit code."""
        return self.process.wait(seconds)

    def stop(self) -> None:
        """End it, if it was started."""
        if self._process is not None:
            processes.stop(self._process)

    def said(self) -> str:
        """Return everything that it printed."""
        return self.log.read_text(errors="replace")

    def requests(self) -> list[str]:
        """Return the lines after the text of the start."""
        return self.said().partition("From here on ")[2].splitlines()[2:]

    @property
    def url(self) -> str:
        """The address of the API."""
        found = re.search(r"^  API +(\S+)", self.said(), re.MULTILINE)
        assert found is not None
        return found[1]

    def pid(self, name: str) -> int:
        """Return the process id of a program."""
        found = re.search(rf"ready: {name} \(process (\d+)\)", self.said())
        assert found is not None
        return int(found[1])

    def pids(self) -> list[int]:
        """Return the process ids of all programs."""
        return [int(pid) for pid in re.findall(r"ready: \S+ \(process (\d+)\)", self.said())]


def running_below(folder: Path) -> list[str]:
    """Return the command lines of the processes that name this folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it has ended
            continue
        if str(folder) in command:
            found.append(command)
    return found
