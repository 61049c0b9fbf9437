"""Where ``run-local`` keeps its data, and what it must be sure of before it starts anything."""

from __future__ import annotations

import fcntl
import hashlib
import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.local import accounts

ROOTS_PLACE = Path("/var/lib/glance-services-local")


class PlaceError(Exception):
    """Something about this machine stops the start; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Place:
    """The folders below one data folder."""

    root: Path

    @property
    def database(self) -> Path:
        """Everything of PostgreSQL."""
        return self.root / "postgres"

    @property
    def images(self) -> Path:
        """The file store that uploads go to."""
        return self.root / "images"

    @property
    def archive(self) -> Path:
        """The second file store, for copies."""
        return self.root / "archive"

    @property
    def staging(self) -> Path:
        """Where data wait for their import."""
        return self.root / "staging"

    @property
    def queue(self) -> Path:
        """The delete queue."""
        return self.root / "queue"

    @property
    def settings(self) -> Path:
        """One folder with one configuration file for each program."""
        return self.root / "etc"

    @property
    def logs(self) -> Path:
        """What the programs said."""
        return self.root / "log"

    @property
    def definitions_loaded(self) -> Path:
        """The file that says that the metadata definitions were loaded once: what the user deletes stays deleted."""
        return self.root / "metadefs-loaded"

    @property
    def secret(self) -> Path:
        """The secret that signs what the daemons tell the registry."""
        return self.root / "registry-secret"

    def make(self) -> None:
        """Make the folders that are missing.

        Raises PlaceError when they cannot be written, or when the folder holds something else: what belongs to
        another user must not get our modes and owners.
        """
        try:
            if self.root.exists() and any(self.root.iterdir()) and not self._marker.exists():
                raise PlaceError(f"{self.root} holds other files; choose an empty or new folder with --data-dir")
            # The database's user passes through here to its own folder; nothing else is open to it.
            _make_folder(self.root, 0o711 if os.geteuid() == 0 else 0o700)
            self._marker.touch()
            for folder in (self.images, self.archive, self.staging, self.queue, self.settings, self.logs):
                _make_folder(folder, 0o700)
        except OSError as error:
            raise PlaceError(f"cannot write the data folder: {error}; choose another with --data-dir") from None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the data folder within the block. Raises PlaceError when another process holds it."""
        with self._marker.open("r+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                owner = file.read().strip() or "unknown"
                raise PlaceError(
                    f"run-local is already running on {self.root} (process {owner}); stop it, or choose another "
                    "folder with --data-dir and other ports"
                ) from None
            file.truncate(0)
            file.write(f"{os.getpid()}\n")
            file.flush()
            yield

    @property
    def _marker(self) -> Path:
        return self.root / "run-local.pid"


def _make_folder(folder: Path, mode: int) -> None:
    if not folder.is_dir():
        folder.mkdir(parents=True)
        folder.chmod(mode)


def choose(asked: Path | None, checkout: Path, account: pwd.struct_passwd | None) -> Place:
    """Return the folder asked for, or ``.local`` of the checkout, or root's place where that cannot be reached.

    ``account`` is the user that root's database runs as. Raises PlaceError when that user cannot reach a folder that
    was asked for.
    """
    if asked is not None:
        if not accounts.can_reach(asked, account):
            raise PlaceError(
                f"root's database runs as user {accounts.NAME}, who cannot reach {asked}: "
                "open the folders above it (chmod o+x), or choose another with --data-dir"
            )
        return Place(asked.resolve())
    if accounts.can_reach(checkout, account):
        return Place(checkout / ".local")
    # Typically a checkout below /root, which is closed to other users.
    return Place(ROOTS_PLACE / hashlib.sha256(str(checkout).encode()).hexdigest()[:12])
