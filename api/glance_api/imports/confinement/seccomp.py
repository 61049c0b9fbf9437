"""A filter of system calls for what Landlock does not govern: no tool needs any of these calls.

The filter is a program for the kernel's packet filter (``linux/seccomp.h``, ``linux/filter.h``). It answers EPERM to
the calls of the table and lets all others pass.
"""

import errno
import platform
import struct

_AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32 = 0x40000000
"""Numbers from here on are the same calls in another form, on x86_64."""

_DENIED: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    # What it is about: the numbers on x86_64, the numbers on aarch64.
    "sockets, also those with a path": ((41, 425), (198, 425)),  # socket, io_uring_setup
    "truncate by name": ((76,), (45,)),
    "chmod": ((90, 91, 268, 452), (52, 53, 452)),
    "chown": ((92, 93, 94, 260), (54, 55)),
    "extended attributes": ((188, 189, 190, 197, 198, 199, 463, 466), (5, 6, 7, 14, 15, 16, 463, 466)),
    "times of files": ((132, 235, 261, 280), (88,)),
    "signals to other processes": ((62, 129, 200, 234, 297, 424), (129, 130, 131, 138, 240, 424)),
    "memory of other processes": ((101, 310, 311, 438), (117, 270, 271, 438)),
    "keys of the user": ((248, 249, 250), (217, 218, 219)),
}

_LOAD_WORD, _JUMP_EQUAL, _JUMP_GREATER_EQUAL, _RETURN = 0x20, 0x15, 0x35, 0x06
_NUMBER, _ARCHITECTURE = 0, 4
"""Offsets in ``struct seccomp_data``."""
_ALLOW, _KILL, _ERROR = 0x7FFF0000, 0x80000000, 0x00050000


def program(machine: str = "") -> bytes:
    """Return the filter for ``machine``, this one by default; empty for one that the table does not have."""
    machine = machine or platform.machine()
    if machine not in _AUDIT:
        return b""
    column = list(_AUDIT).index(machine)
    numbers = [number for group in _DENIED.values() for number in group[column]]
    checks = [(_JUMP_EQUAL, number) for number in numbers]
    if machine == "x86_64":
        checks.insert(0, (_JUMP_GREATER_EQUAL, _X32))
    steps = [
        _step(_LOAD_WORD, _ARCHITECTURE),
        _step(_JUMP_EQUAL, _AUDIT[machine], then=1),
        _step(_RETURN, _KILL),
        _step(_LOAD_WORD, _NUMBER),
        # The denial is the last step, after the checks that follow and the permission.
        *(_step(kind, number, then=len(checks) - index) for index, (kind, number) in enumerate(checks)),
        _step(_RETURN, _ALLOW),
        _step(_RETURN, _ERROR | errno.EPERM),
    ]
    return b"".join(steps)


def _step(code: int, value: int, then: int = 0) -> bytes:
    """Return one instruction; a jump skips ``then`` instructions when its condition holds."""
    return struct.pack("=HBBI", code, then, 0, value)
