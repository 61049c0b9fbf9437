"""bubblewrap: a tool runs where only its input, its work folder and the system's programs are mounted."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from glance_api.imports.confinement.contract import Access, Confined, system_paths


class Bubblewrap:
    """Fulfils ``contract.Confinement``."""

    name: ClassVar[str] = "bubblewrap"

    def __init__(self, tool: Path) -> None:
        """``tool`` is bwrap."""
        self._tool = tool
        self._system = [word for path in system_paths() for word in ("--ro-bind", str(path), str(path))]

    def describe(self) -> str:
        """See the contract."""
        return (
            f"image tools run under {self._tool}: they see programs of the system and their input, "
            "write only in their work folder, have no network and see no other process"
        )

    def confine(self, command: Sequence[str], access: Access) -> Confined:
        """See the contract."""
        words = [str(self._tool), "--unshare-all", "--die-with-parent", "--cap-drop", "ALL", *self._system]
        words += ["--dev", "/dev"]
        for path in (*access.read, *access.run):
            words += ["--ro-bind", str(path), str(path)]
        if access.write is not None:
            words += ["--bind", str(access.write), str(access.write)]
        # What holds the mounts is a file system in memory, which no tool may fill.
        words += ["--remount-ro", "/", "--chdir", str(access.write or "/"), "--", *command]
        # It makes its own namespaces, which it could not in one without users.
        return Confined(words, {"namespaces": False})
