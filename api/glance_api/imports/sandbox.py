"""Running tools on untrusted data: limited, confined, without network, ended with all they started (S-18).

A tool gets an explicit environment, no open file of ours, and of the file system what its ``Access`` names, as far as
the configured confinement can see to that (``imports/tools.py`` chooses it).
"""

import fcntl
import json
import logging
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import BinaryIO

from glance_api.imports.confinement.contract import PROGRAMS, Access, Confined, Confinement, Unconfined
from glance_api.imports.contract import ImportFailed, Work
from glance_api.imports.output import Output

LOG = logging.getLogger(__name__)

_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}
_POLL = 0.1
_PIECE = 1024 * 1024
_KEPT = 64 * 1024
"""Bytes that are kept of what a tool says."""
_GRACE = 5.0
"""Seconds in which the confining process must have killed the tool."""

Sink = Callable[[bytes], None]
"""Takes what a tool writes to its standard output, piece by piece; an exception of it ends the tool."""


class OutputTooLarge(ImportFailed):
    """The tool was ended because a file of it grew beyond ``Limits.file_size``."""


@dataclass(frozen=True, slots=True)
class ToolLimits:
    """What a tool may use up: CPU seconds, bytes of address space, bytes of its largest file, open files, and seconds
    by the clock."""

    cpu: int
    memory: int
    file_size: int
    timeout: float
    files: int = 64


@dataclass(frozen=True, slots=True)
class ToolOutcome:
    """How a tool ended: its exit code, above 128 the signal, and the beginning of what it wrote."""

    code: int
    stdout: str
    stderr: str


_REASONS = {
    128 + signal.SIGXCPU: "it needed more CPU time than is allowed",
    128 + signal.SIGKILL: "it needed more CPU time or memory than is allowed",
    128 + signal.SIGXFSZ: "its output is larger than is allowed",
}


class Sandbox:
    """Runs tools with the same limits and the same confinement."""

    def __init__(self, limits: ToolLimits, confinement: Confinement | None = None) -> None:
        """Without ``confinement`` a tool can open what this process can open."""
        self.limits = limits
        self._confinement = confinement or Unconfined()

    def with_file_size(self, size: int) -> "Sandbox":
        """Return one in which no file may grow beyond ``size`` bytes."""
        return Sandbox(replace(self.limits, file_size=size), self._confinement)

    def run(
        self, command: Sequence[str | Path], access: Access, folder: Path, watch: Callable[[], None],
        sink: Sink | None = None,
    ) -> ToolOutcome:
        """Run ``command``, whose first word is a path, inside ``folder`` until it ends; nothing of it lives on.

        ``sink`` takes its standard output instead of ``Outcome.stdout``. Raises ImportFailed when it hits a limit,
        OutputTooLarge when that is the one of its files, and what ``sink`` and ``watch`` raise; ``watch`` is called ten
        times a second, and after each piece for ``sink``.
        """
        confined = self._confinement.confine([str(word) for word in command], access)
        with tempfile.TemporaryFile(dir=folder) as out, tempfile.TemporaryFile(dir=folder) as err:
            with self._started(confined, folder, None if sink else out, err) as process:
                code = _wait(process, self.limits.timeout, watch, sink)
            outcome = ToolOutcome(code, _beginning(out), _beginning(err))
        if code in _REASONS:
            LOG.warning("%s was ended by signal %d: %s", command[0], code - 128, outcome.stderr)
            kind = OutputTooLarge if code == 128 + signal.SIGXFSZ else ImportFailed
            raise kind(f"{Path(command[0]).name} was stopped: {_REASONS[code]}")
        return outcome

    def unpack(
        self, program: str, source: Path, target: Path, work: Work, *tools: Path, words: Sequence[str] = ()
    ) -> str:
        """Let one of ``PROGRAMS`` take the bytes for ``target`` out of ``source``; return what it says on stderr.

        ``tools`` are what it may run, ``words`` further arguments.

        The program only reads: what it says is written here, and never more than ``image_size_cap`` and ``work.room``
        allow. Raises ImportFailed with the sentence that the program wrote to stderr, TooLarge, and as ``run``.
        """
        # -I -S: neither the environment nor the folder nor installed packages have a say in what is imported.
        command = [sys.executable, "-I", "-S", str(PROGRAMS / f"{program}.py"), *map(str, (source, *tools, *words))]
        sandbox = self.with_file_size(_KEPT)
        with Output(target, self.limits.file_size, work.room) as output:
            access = Access(read=(source,), run=tools)
            outcome = sandbox.run(command, access, work.folder, work.still_wanted, output.write)
        if outcome.code != 0:
            lines = outcome.stderr.strip().splitlines()
            if outcome.code == 1 and len(lines) == 1:
                raise ImportFailed(lines[0])
            LOG.error("program %s ended with %d: %s", program, outcome.code, outcome.stderr)
            raise ImportFailed("the image cannot be unpacked")
        return outcome.stderr

    @contextmanager
    def _started(
        self, confined: Confined, folder: Path, out: BinaryIO | None, err: BinaryIO
    ) -> Iterator[subprocess.Popen[bytes]]:
        settings = json.dumps({"limits": asdict(self.limits), **confined.settings})
        command = [sys.executable, "-I", "-S", str(PROGRAMS / "confine.py"), settings, *confined.command]
        process = subprocess.Popen(
            command, cwd=folder, env=_ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=out or subprocess.PIPE, stderr=err,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(_GRACE)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
            if process.stdout is not None:
                process.stdout.close()


def _wait(process: subprocess.Popen[bytes], timeout: float, watch: Callable[[], None], sink: Sink | None) -> int:
    """Wait until the process has ended and all that it said is in ``sink``; return its exit code."""
    deadline = time.monotonic() + timeout
    handle = os.pidfd_open(process.pid)
    waited = {handle}
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    if process.stdout is not None:
        waited.add(process.stdout.fileno())
        poll.register(process.stdout, select.POLLIN)
        fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, _PIECE)
    try:
        while waited:
            for fd, _ in poll.poll(_POLL * 1000):
                piece = b"" if fd == handle else os.read(fd, _PIECE)
                if piece and sink is not None:
                    sink(piece)
                else:
                    poll.unregister(fd)
                    waited.remove(fd)
            watch()
            if time.monotonic() > deadline:
                raise ImportFailed(f"the tool was stopped: it took longer than {timeout:g} s")
    finally:
        os.close(handle)
    return process.wait()


def _beginning(file: BinaryIO) -> str:
    file.seek(0)
    return file.read(_KEPT).decode("utf-8", "replace")
