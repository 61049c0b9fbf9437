"""Running tools on data that nobody vouches for: limited, without network, ended with all they started (S-18).

The tool sees a private folder, an explicit environment and no open file of ours. What may confine it further (a user
and a network namespace) is used where the kernel and the service manager allow it.
"""

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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from glance_api.imports.contract import ImportFailed

LOG = logging.getLogger(__name__)

PROGRAMS = Path(__file__).with_name("programs")
_PATH = "/usr/local/bin:/usr/bin:/bin"
_POLL = 1.0
_KEPT = 64 * 1024
"""Bytes that are kept of what a tool says."""
_GRACE = 5.0
"""Seconds in which the confining process must have killed the tool."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a tool may use up: CPU seconds, bytes of address space, bytes of its largest file, open files, and seconds
    by the clock."""

    cpu: int
    memory: int
    file_size: int
    timeout: float
    files: int = 64


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a tool ended: its exit code, above 128 the signal, and the beginning of what it wrote."""

    code: int
    stdout: str
    stderr: str


_REASONS = {
    128 + signal.SIGXCPU: "it needed more CPU time than is allowed",
    128 + signal.SIGKILL: "it needed more CPU time or memory than is allowed",
    128 + signal.SIGXFSZ: "its output is larger than is allowed",
}


def run(
    command: Sequence[str | Path], folder: Path, limits: Limits, still_wanted: Callable[[], None],
    output: BinaryIO | None = None,
) -> Outcome:
    """Run ``command``, whose first word is a path, inside ``folder`` until it ends; nothing of it lives on.

    ``output`` takes its standard output instead of ``Outcome.stdout``. Raises ImportFailed when it hits a limit, and
    whatever ``still_wanted`` raises, which is called every second.
    """
    with tempfile.TemporaryFile(dir=folder) as out, tempfile.TemporaryFile(dir=folder) as err:
        with _started(command, folder, limits, output or out, err) as process:
            code = _wait(process, limits.timeout, still_wanted)
        outcome = Outcome(code, _beginning(out), _beginning(err))
    if code in _REASONS:
        LOG.warning("%s was ended by signal %d: %s", command[0], code - 128, outcome.stderr)
        raise ImportFailed(f"{Path(command[0]).name} was stopped: {_REASONS[code]}")
    return outcome


def run_program(
    name: str, arguments: Sequence[str | Path], folder: Path, limits: Limits, still_wanted: Callable[[], None]
) -> str:
    """Run one of ``PROGRAMS`` confined and return its standard output.

    Raises ImportFailed with the sentence that the program wrote to stderr, and as ``run``.
    """
    # -I -S: neither the environment nor the folder nor installed packages have a say in what is imported.
    command = [sys.executable, "-I", "-S", PROGRAMS / f"{name}.py", *arguments]
    outcome = run(command, folder, limits, still_wanted)
    if outcome.code != 0:
        lines = outcome.stderr.strip().splitlines()
        if outcome.code == 1 and len(lines) == 1:
            raise ImportFailed(lines[0])
        LOG.error("program %s ended with %d: %s", name, outcome.code, outcome.stderr)
        raise ImportFailed("the image cannot be unpacked")
    return outcome.stdout


@contextmanager
def _started(
    command: Sequence[str | Path], folder: Path, limits: Limits, out: BinaryIO, err: BinaryIO
) -> Iterator[subprocess.Popen[bytes]]:
    confined = [sys.executable, "-I", "-S", PROGRAMS / "confine.py", json.dumps(asdict(limits)), *command]
    environment = {"PATH": _PATH, "LC_ALL": "C.UTF-8", "HOME": str(folder), "TMPDIR": str(folder)}
    process = subprocess.Popen(
        confined, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
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


def _wait(process: subprocess.Popen[bytes], timeout: float, still_wanted: Callable[[], None]) -> int:
    deadline = time.monotonic() + timeout
    handle = os.pidfd_open(process.pid)
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    try:
        while not poll.poll(_POLL * 1000):
            still_wanted()
            if time.monotonic() > deadline:
                raise ImportFailed(f"the tool was stopped: it took longer than {timeout:g} s")
    finally:
        os.close(handle)
    return process.wait()


def _beginning(file: BinaryIO) -> str:
    file.seek(0)
    return file.read(_KEPT).decode("utf-8", "replace")
