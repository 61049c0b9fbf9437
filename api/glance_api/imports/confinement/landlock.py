"""Landlock: the kernel lets a process take rights away from itself, without root and without packages.

The numbers are those of ``linux/landlock.h``; the system calls have the same numbers on every architecture. Kernels
from 5.13 have it, unless it is switched off at boot (``lsm=``).
"""

import ctypes
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from glance_api.imports.confinement import seccomp
from glance_api.imports.confinement.contract import Access, Confined, system_paths

_CREATE_RULESET = 444
_ASK_VERSION = 1

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE_DIR, _REMOVE_FILE, _MAKE_DIR, _MAKE_FILE = 1 << 4, 1 << 5, 1 << 7, 1 << 8
_TRUNCATE = 1 << 14
_FILE_RIGHTS = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE
"""The others have a meaning for folders only, and the kernel refuses them for files."""

_HANDLED = {1: 13, 2: 14, 3: 15, 5: 16}
"""From which version on how many rights on files exist, each a bit; what is handled and not granted is denied."""
_TCP_BIND_AND_CONNECT = 0b11
_SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS = 0b11
_NET_FROM, _SCOPE_FROM = 4, 6

_DEVICES = {"/dev/null": _READ_FILE | _WRITE_FILE, "/dev/zero": _READ_FILE, "/dev/urandom": _READ_FILE}


def version() -> int:
    """Return the version of the interface (ABI) that the kernel speaks, 0 without Landlock."""
    answer: int = ctypes.CDLL(None).syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _ASK_VERSION)
    return max(answer, 0)


class Landlock:
    """Fulfils ``contract.Confinement``.

    Landlock governs opening, making and removing files, TCP, and from version 6 on signals. What it does not govern,
    such as other sockets, ``chmod`` and signals before that version, a filter of system calls denies.
    """

    name: ClassVar[str] = "landlock"

    def __init__(self, abi: int) -> None:
        """``abi``: the version that the kernel speaks, at least 1."""
        self._abi = abi
        self._rights = (1 << max(count for since, count in _HANDLED.items() if since <= abi)) - 1
        everywhere = _EXECUTE | _READ_FILE | _READ_DIR
        self._system = [self._rule(path, everywhere) for path in system_paths()]
        self._system += [self._rule(path, rights) for name, rights in _DEVICES.items() if (path := Path(name)).exists()]
        self._filter = seccomp.program()

    def describe(self) -> str:
        """See the contract."""
        filtered = "no sockets and no signals" if self._filter else "no filter of system calls for this architecture"
        return (
            f"image tools run under landlock ABI {self._abi}: read only programs of the system and their input, "
            f"write only in their work folder, {filtered}"
        )

    def confine(self, command: Sequence[str], access: Access) -> Confined:
        """See the contract."""
        rules = [*self._system, *(self._rule(path, _READ_FILE) for path in access.read)]
        rules += [self._rule(path, _READ_FILE | _EXECUTE) for path in (Path(command[0]), *access.run) if path.exists()]
        if access.write is not None:
            within = _READ_FILE | _READ_DIR | _WRITE_FILE | _TRUNCATE
            within |= _MAKE_FILE | _REMOVE_FILE | _MAKE_DIR | _REMOVE_DIR
            rules.append(self._rule(access.write, within))
        settings = {
            "namespaces": True,
            "landlock": {"attributes": self._attributes().hex(), "rules": rules},
            "filter": self._filter.hex(),
        }
        return Confined(command, settings)

    def _rule(self, path: Path, rights: int) -> tuple[str, int]:
        rights &= self._rights
        return str(path), rights if path.is_dir() else rights & _FILE_RIGHTS

    def _attributes(self) -> bytes:
        """Return ``struct landlock_ruleset_attr``, as long as this version knows it."""
        fields = [self._rights]
        if self._abi >= _NET_FROM:
            fields.append(_TCP_BIND_AND_CONNECT)
        if self._abi >= _SCOPE_FROM:
            fields.append(_SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS)
        return struct.pack(f"={len(fields)}Q", *fields)
