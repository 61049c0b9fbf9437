"""Run a command and see to it that nothing it started keeps running.

usage: leftovers.py COMMAND [ARGUMENT…]

Every orphan below the command becomes a child of this process (the kernel calls that a subreaper), whatever session,
process group or user it moved to. What is left a few seconds after the command has ended is named and killed, and the
exit code is then 1 at least. The command gets TERM when the process that started this one ends. Needs only the standard
library.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_GRACE_SECONDS = 5.0


def main(argv: list[str]) -> int:
    """Run ``argv``; return its exit code, or 1 when it was 0 and something had to be killed."""
    parent = os.getppid()
    _set_process_option(_PR_SET_CHILD_SUBREAPER, 1)
    child = os.posix_spawnp(argv[0], argv, os.environ)
    # Ctrl-C reaches the command by itself; TERM is passed on. Both end it, and then comes our own work.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))
    # A shell that TERM or KILL ends tells its children nothing.
    _set_process_option(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        # It ended before this process could ask for the signal.
        os.kill(child, signal.SIGTERM)
    code = _wait_for(child)
    left = _remove_leftovers()
    for line in left:
        print(f"left running, killed: {line}", file=sys.stderr, flush=True)
    return 1 if left and code == 0 else code


def _set_process_option(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), f"prctl({option})")


def _wait_for(child: int) -> int:
    """Reap whatever ends until ``child`` does; return its exit code as a shell would."""
    while True:
        pid, status = os.wait()
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _remove_leftovers() -> list[str]:
    deadline = time.monotonic() + _GRACE_SECONDS
    while _children() and time.monotonic() < deadline:
        time.sleep(0.1)
    killed = []
    # A killed process hands its own children to this one, so look again until there are none.
    while children := _children():
        for pid in children:
            killed.append(f"{pid} {_command(pid)}")
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.2)
    return killed


def _children() -> list[int]:
    """Reap children that have ended; return those that have not."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    tasks = Path("/proc/self/task").iterdir()
    return [int(pid) for task in tasks for pid in (task / "children").read_text().split()]


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return "(ended meanwhile)"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
