"""Runs one command under limits and ends everything that it left behind (S-18).

usage: confine.py SETTINGS COMMAND [ARGUMENT …]

SETTINGS is a JSON object: ``limits`` (``cpu`` seconds, ``memory`` bytes, ``file_size`` bytes, ``files`` number),
``namespaces`` (whether to take privileges and network away by namespaces), ``landlock`` (``attributes`` of the rule set
in hexadecimal, ``rules`` as pairs of path and rights) and ``filter`` (of system calls, in hexadecimal). The last two
may be missing. When one of them is there and the kernel does not take it, the command does not run.

A process of its own, because a process with threads cannot safely run code between fork and exec, and because it adopts
the descendants of the command, also those that left its process group. Exit code: the command's, or 128 + its signal.
"""

import ctypes
import json
import os
import resource
import signal
import struct
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

_SET_DEATH_SIGNAL, _SET_SECCOMP, _SET_NO_NEW_PRIVILEGES, _SET_SUBREAPER = 1, 22, 38, 36
_SECCOMP_MODE_FILTER = 2
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_PATH_BENEATH = 1
_INSTRUCTION = 8
"""Bytes of one instruction of a filter."""
_NEW_USER, _NEW_NETWORK = 0x10000000, 0x40000000
_CANNOT_RUN = 127

_libc = ctypes.CDLL(None, use_errno=True)


def main(argv: list[str]) -> int:
    """Run the command and return the exit code."""
    settings, command = json.loads(argv[0]), argv[1:]
    parent = os.getppid()
    signal.signal(signal.SIGTERM, _stop)
    _libc.prctl(_SET_SUBREAPER, 1, 0, 0, 0)
    _libc.prctl(_SET_DEATH_SIGNAL, int(signal.SIGTERM), 0, 0, 0)
    if os.getppid() != parent:
        return _CANNOT_RUN
    child = os.fork()
    if child == 0:
        _become(settings, command)
    _, status = os.waitpid(child, 0)
    _kill_descendants()
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _become(settings: dict[str, Any], command: list[str]) -> None:
    """Turn this process into the command."""
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        # The signals that Python ignores would stay ignored in the command, which could not die of its limits.
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        _libc.prctl(_SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
        _drop_groups()
        # A user namespace without mapped users takes away root's powers, and lets others than root have the next.
        if settings["namespaces"] and _libc.unshare(_NEW_USER | _NEW_NETWORK) != 0:
            _libc.unshare(_NEW_NETWORK)
        _limit(settings["limits"])
        if settings.get("landlock"):
            _restrict(bytes.fromhex(settings["landlock"]["attributes"]), settings["landlock"]["rules"])
        if settings.get("filter"):
            _filter(bytes.fromhex(settings["filter"]))
        os.execv(command[0], command)  # noqa: S606 - a list of arguments and no shell is the point
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
    finally:
        os._exit(_CANNOT_RUN)


def _drop_groups() -> None:
    """Give up the supplementary groups, where this process may: only root can."""
    with suppress(PermissionError):
        os.setgroups([])


def _limit(limits: dict[str, int]) -> None:
    # One second more until the kill: at the soft limit the command still dies of a signal that tells the reason.
    resource.setrlimit(resource.RLIMIT_CPU, (limits["cpu"], limits["cpu"] + 1))
    for kind, name in ((resource.RLIMIT_AS, "memory"), (resource.RLIMIT_FSIZE, "file_size"),
                       (resource.RLIMIT_NOFILE, "files")):
        resource.setrlimit(kind, (limits[name], limits[name]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _restrict(attributes: bytes, rules: list[tuple[str, int]]) -> None:
    """Deny this process every file but those of ``rules``, for good. Raises OSError."""
    ruleset = _call(_CREATE_RULESET, attributes, len(attributes), 0)
    for path, rights in rules:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        # struct landlock_path_beneath_attr is packed.
        _call(_ADD_RULE, ruleset, _PATH_BENEATH, struct.pack("=Qi", rights, fd), 0)
        os.close(fd)
    _call(_RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)


def _call(number: int, *arguments: int | bytes) -> int:
    """Make a system call for which the C library has no function. Raises OSError."""
    given = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    answer: int = _libc.syscall(ctypes.c_long(number), *given)
    if answer < 0:
        raise OSError(ctypes.get_errno(), f"cannot be confined: {os.strerror(ctypes.get_errno())}")
    return answer


def _filter(steps: bytes) -> None:
    """Let the kernel judge every system call of this process by these instructions. Raises OSError."""
    buffer = ctypes.create_string_buffer(steps, len(steps))
    # struct sock_fprog: the number of instructions, then, aligned, where they are.
    program = struct.pack("@HP", len(steps) // _INSTRUCTION, ctypes.addressof(buffer))
    if _libc.prctl(_SET_SECCOMP, _SECCOMP_MODE_FILTER, program, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"cannot be confined: {os.strerror(ctypes.get_errno())}")


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
