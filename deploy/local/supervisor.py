"""Run several programs in the foreground: start them in order, show what they print, stop them in order."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from deploy.local import processes
from deploy.local.processes import StopRequestedError
from deploy.local.readiness import ReadySocket


class Output(Protocol):
    """Where the lines go that are not only for the log files; called by several threads at once."""

    def say(self, text: str) -> None:
        """Show a text of the supervisor itself."""

    def heard(self, program: str, line: str) -> None:
        """Take a line that a program printed."""


@dataclass(frozen=True, slots=True)
class Program:
    """A program to run; ``ready`` says whether it works, and is asked until it does.

    Without ``ready`` the program has to say so itself, as systemd's ``Type=notify`` wants it.
    """

    name: str
    argv: Sequence[str | Path]
    ready: Callable[[], bool] | None = None
    start_seconds: float = 60
    stop_seconds: float = 60


@dataclass(frozen=True, slots=True)
class _Running:
    name: str
    stop_seconds: float
    process: subprocess.Popen[bytes]
    copier: threading.Thread
    log: Path
    word: ReadySocket | None

    def says_ready(self) -> bool:
        """Return whether the program has said that it works."""
        return self.word is not None and self.word.heard()


class Supervisor:
    """Runs programs until one of them ends or ``stopping()`` says so; restarts none.

    Every line a program prints goes to ``<logs>/<name>.log`` and to ``output``.
    """

    def __init__(self, logs: Path, env: Mapping[str, str], output: Output, stopping: Callable[[], bool]) -> None:
        self._logs = logs
        self._env = env
        self._output = output
        self._stopping = stopping
        self._running: list[_Running] = []

    def start(self, program: Program) -> None:
        """Start a program and wait until it is ready.

        Raises StartError (with the end of its log) and StopRequestedError; what runs by then goes on until stop().
        """
        # Heard until the program ends: it also says that it stops.
        word = None if program.ready is not None else ReadySocket()
        running = self._launch(program.name, program.argv, program.stop_seconds, word)
        self._running.append(running)
        asked = program.ready or running.says_ready

        def ready() -> bool:
            if self._stopping():
                raise StopRequestedError
            if running.process.poll() is not None:
                # Its last words may still be on their way into the log.
                raise processes.StartError(_obituary(running))
            return asked()

        processes.wait_until(ready, what=program.name, log=running.log, seconds=program.start_seconds)

    def run_to_end(self, name: str, argv: Sequence[str | Path]) -> None:
        """Run a program that ends by itself; raises StartError when its exit code is not 0, and StopRequestedError."""
        running = self._launch(name, argv, stop_seconds=10)
        try:
            while running.process.poll() is None:
                if self._stopping():
                    raise StopRequestedError
                time.sleep(0.05)
        finally:
            self._end(running)
        if running.process.returncode:
            raise processes.StartError(_obituary(running))

    def watch(self) -> str | None:
        """Wait until the user asks for the end (None) or a program ends (what to tell about it)."""
        died = self.died()
        while died is None and not self._stopping():
            time.sleep(0.2)
            died = self.died()
        return died

    def died(self) -> str | None:
        """Return what to tell about the first program that has ended by itself, or None while all run.

        Takes what they have to say meanwhile.
        """
        for running in self._running:
            running.says_ready()
            if running.process.poll() is not None:
                return _obituary(running)
        return None

    def stop(self) -> None:
        """Stop all programs, the one started last first."""
        while self._running:
            running = self._running.pop()
            began = time.monotonic()
            self._end(running)
            self._output.say(f"stopped {running.name} ({time.monotonic() - began:.1f} s)")

    def pid(self, name: str) -> int:
        """Return the process id of a running program."""
        return next(running.process.pid for running in self._running if running.name == name)

    def _launch(
        self, name: str, argv: Sequence[str | Path], stop_seconds: float, word: ReadySocket | None = None
    ) -> _Running:
        log = self._logs / f"{name}.log"
        env = {**self._env, **(word.environment if word else {})}
        process = processes.spawn(argv, output=subprocess.PIPE, env=env, cwd=self._logs)
        copier = threading.Thread(target=self._copy, args=(name, process, log), daemon=True)
        copier.start()
        return _Running(name, stop_seconds, process, copier, log, word)

    def _copy(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        assert process.stdout is not None
        with process.stdout as lines, log.open("ab", buffering=0) as file:
            for line in lines:
                file.write(line)
                self._output.heard(name, line.decode(errors="replace").rstrip())

    def _end(self, running: _Running) -> None:
        processes.stop(running.process, seconds=running.stop_seconds)
        running.copier.join(5)  # the last words are shown before the next program is stopped
        if running.word is not None:
            running.word.close()


def _obituary(running: _Running) -> str:
    running.copier.join(5)
    lines = "".join(f"\n    {line}" for line in processes.last_lines(running.log))
    return f"{running.name} ended with code {running.process.returncode}; the end of {running.log}:{lines}"
