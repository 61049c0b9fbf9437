"""What a tool may open, and what every kind of confinement does with it."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

PROGRAMS = Path(__file__).parents[1] / "programs"
"""The folder of our own programs that run confined."""


@dataclass(frozen=True, slots=True)
class Access:
    """What a tool may open beside the programs of the system: ``read`` files, ``run`` further executables.

    ``write`` is the one folder in which it may make and change files; None = it may write nowhere.
    """

    read: tuple[Path, ...] = ()
    run: tuple[Path, ...] = ()
    write: Path | None = None


@dataclass(frozen=True, slots=True)
class Confined:
    """How to start a tool: the command, and what ``programs/confine.py`` has to do before it."""

    command: Sequence[str]
    settings: dict[str, Any]


class Confinement(Protocol):
    """One kind of confinement."""

    name: ClassVar[str]

    def describe(self) -> str:
        """Return what is in force, for the log."""

    def confine(self, command: Sequence[str], access: Access) -> Confined:
        """Return how to start ``command``, whose first word is a path, so that it can open ``access`` and no more."""


class Unconfined:
    """No confinement: limits, no privileges and no network as far as the kernel gives namespaces (S-18)."""

    name: ClassVar[str] = "none"

    def describe(self) -> str:
        """See the contract."""
        return "image tools are not confined: they can open what the service can open"

    def confine(self, command: Sequence[str], access: Access) -> Confined:  # noqa: ARG002 - part of the protocol
        """See the contract."""
        return Confined(command, {"namespaces": True})


def system_paths() -> list[Path]:
    """Return what every tool may read and execute: the programs and libraries of the system and of this Python."""
    system = [Path(name) for name in ("/lib", "/lib32", "/lib64", "/bin", "/sbin", "/etc/ld.so.cache")]
    # Not all of them: some hosts keep configuration in /usr/local/etc.
    system += [Path("/usr", name) for name in ("bin", "sbin", "lib", "lib32", "lib64", "libexec", "share")]
    system += [Path("/usr/local", name) for name in ("bin", "sbin", "lib", "lib64", "share")]
    prefixes = dict.fromkeys(Path(prefix) for prefix in (sys.base_prefix, sys.prefix))
    python = [prefix / name for prefix in prefixes for name in ("bin", "lib", "lib64", "pyvenv.cfg")]
    return [path for path in (*system, *python, PROGRAMS) if os.path.exists(path)]
