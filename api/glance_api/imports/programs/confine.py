"""Runs one command under limits and ends everything that it left behind (S-18).

usage: confine.py '{"cpu": seconds, "memory": bytes, "file_size": bytes, "files": number}' COMMAND [ARGUMENT …]

A process of its own, because a process with threads cannot safely run code between fork and exec, and because it adopts
the descendants of the command, also those that left its process group. Exit code: the command's, or 128 + its signal.
"""

import ctypes
import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

_SET_DEATH_SIGNAL, _SET_NO_NEW_PRIVILEGES, _SET_SUBREAPER = 1, 38, 36
_NEW_USER, _NEW_NETWORK = 0x10000000, 0x40000000
_CANNOT_RUN = 127

_libc = ctypes.CDLL(None, use_errno=True)


def main(argv: list[str]) -> int:
    """Run the command and return the exit code."""
    limits, command = json.loads(argv[0]), argv[1:]
    parent = os.getppid()
    signal.signal(signal.SIGTERM, _stop)
    _libc.prctl(_SET_SUBREAPER, 1, 0, 0, 0)
    _libc.prctl(_SET_DEATH_SIGNAL, int(signal.SIGTERM), 0, 0, 0)
    if os.getppid() != parent:
        return _CANNOT_RUN
    child = os.fork()
    if child == 0:
        _become(limits, command)
    _, status = os.waitpid(child, 0)
    _kill_descendants()
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _become(limits: dict[str, int], command: list[str]) -> None:
    """Turn this process into the command."""
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        # The signals that Python ignores would stay ignored in the command, which could not die of its limits.
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        _libc.prctl(_SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
        # A user namespace without mapped users takes away root's powers, and lets others than root have the next.
        if _libc.unshare(_NEW_USER | _NEW_NETWORK) != 0:
            _libc.unshare(_NEW_NETWORK)
        # One second more until the kill: at the soft limit the command still dies of a signal that tells the reason.
        resource.setrlimit(resource.RLIMIT_CPU, (limits["cpu"], limits["cpu"] + 1))
        for kind, name in ((resource.RLIMIT_AS, "memory"), (resource.RLIMIT_FSIZE, "file_size"),
                           (resource.RLIMIT_NOFILE, "files")):
            resource.setrlimit(kind, (limits[name], limits[name]))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.execv(command[0], command)  # noqa: S606 - a list of arguments and no shell is the point
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
    finally:
        os._exit(_CANNOT_RUN)


def _stop(number: int, _frame: Any) -> None:
    _kill_descendants()
    os._exit(128 + number)


def _kill_descendants() -> None:
    """Kill children until there are none: the orphans of each that dies become children of this process."""
    while True:
        for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
            os.kill(int(child), signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
