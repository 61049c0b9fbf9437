"""One data directory: the proof that it is the right one, and what is done inside it through its open descriptor."""

import errno
import heapq
import logging
import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from glance_common.failpoints import failpoint
from glance_common.stores.contract import StoreForbidden, StoreUnavailable, is_key
from glance_common.stores.drivers.file import oserrors, sentinel
from glance_common.stores.settings import Identities, register

log = logging.getLogger(__name__)

INCOMING = ".incoming"
"""Subdirectory of unfinished files, named ``<key>.<32 hex digits>``."""

_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Handle:
    """An open data directory. All calls go to the directory that was opened, even when another one is mounted over its
    path."""

    def __init__(self, path: str, fd: int) -> None:
        self.path = path
        self.fd = fd

    def free(self) -> int:
        """Return the bytes that this process may still write. Raises StoreUnavailable."""
        with oserrors.asking(self.path):
            disk = os.fstatvfs(self.fd)
        return disk.f_bavail * disk.f_frsize

    def holds(self, key: str) -> bool:
        """Say whether the final name exists. Raises StoreUnavailable."""
        with oserrors.asking(f"{self.path}/{key}"):
            try:
                os.stat(key, dir_fd=self.fd, follow_symlinks=False)
            except FileNotFoundError:
                return False
        return True

    def keys(self, after: str, most: int) -> list[str]:
        """Return the first ``most`` names behind ``after`` that are keys, in their order. Raises StoreUnavailable.

        Never holds more names than that, however many the directory has.
        """
        with oserrors.asking(self.path), os.scandir(self.fd) as entries:
            names = (entry.name for entry in entries)
            return heapq.nsmallest(most, (name for name in names if name > after and is_key(name)))

    def described(self, keys: Iterable[str]) -> list[tuple[str, int, float]]:
        """Return key, bytes and time of the last change of those that are files here. Raises StoreUnavailable."""
        found: list[tuple[str, int, float]] = []
        with oserrors.asking(self.path):
            for key in keys:
                with suppress(FileNotFoundError):
                    seen = os.stat(key, dir_fd=self.fd, follow_symlinks=False)
                    if stat.S_ISREG(seen.st_mode):
                        found.append((key, seen.st_size, seen.st_mtime))
        return found

    def open_file(self, key: str) -> int | None:
        """Return a descriptor of the file, None when there is none.

        Raises Forbidden for anything but a regular file (a link would lead out of the store, a pipe would block) and
        StoreUnavailable.
        """
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with oserrors.asking(f"{self.path}/{key}"):
            try:
                fd = os.open(key, flags, dir_fd=self.fd)
            except FileNotFoundError:
                return None
            except OSError as error:
                if error.errno in {errno.ELOOP, errno.ENXIO}:
                    raise StoreForbidden(f"{self.path}/{key} is not a regular file") from None
                raise
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise StoreForbidden(f"{self.path}/{key} is not a regular file")
        return fd

    @contextmanager
    def incoming(self) -> Iterator[int]:
        """Open the directory of unfinished files, made when missing. Raises as ``oserrors.writing``."""
        with oserrors.writing(f"{self.path}/{INCOMING}"):
            with suppress(FileExistsError):
                os.mkdir(INCOMING, 0o750, dir_fd=self.fd)
            fd = os.open(INCOMING, _OPEN_DIRECTORY | os.O_NOFOLLOW, dir_fd=self.fd)
        try:
            yield fd
        finally:
            os.close(fd)

    def remove(self, key: str) -> bool:
        """Remove unfinished files of the key, then the file; return whether the file was there.

        Durable after the next ``sync``, which is due also when nothing was found: the delete before this one may have
        died before its own.

        In this order a writer that still lives either finds its unfinished file gone and fails, or has given it its
        final name before, which is removed next. Raises Forbidden, StoreUnavailable.
        """
        try:
            self._remove_unfinished(key)
            failpoint("file.delete.before-unlink")
            found = self._unlink(key)
            failpoint("file.delete.after-unlink")
        except OSError as error:
            raise _failed(f"{self.path}/{key} cannot be removed", error) from error
        return found

    def sync(self) -> None:
        """Make what was removed durable. Raises StoreForbidden, StoreUnavailable."""
        try:
            os.fsync(self.fd)
        except OSError as error:
            raise _failed(f"deletes in {self.path} are not on the disk", error) from error

    def _unlink(self, key: str) -> bool:
        try:
            os.unlink(key, dir_fd=self.fd)
        except FileNotFoundError:
            return False
        return True

    def _remove_unfinished(self, key: str) -> None:
        try:
            incoming = os.open(INCOMING, _OPEN_DIRECTORY | os.O_NOFOLLOW, dir_fd=self.fd)
        except FileNotFoundError:
            return
        # The exact shape, because "<id>." is also how the unfinished files of the key "<id>.1" begin.
        mine = re.compile(re.escape(key) + r"\.[0-9a-f]{32}")
        try:
            names = [name for name in os.listdir(incoming) if mine.fullmatch(name)]
            for name in names:
                os.unlink(name, dir_fd=incoming)
            if names:
                os.fsync(incoming)
        except FileNotFoundError:
            # Its writer cleaned up between the listing and the unlink.
            self._remove_unfinished(key)
        finally:
            os.close(incoming)


def _failed(what: str, error: OSError) -> StoreForbidden | StoreUnavailable:
    message = f"{what}: {error.strerror}"
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS, errno.EISDIR}:
        return StoreForbidden(message)
    return StoreUnavailable(message)


class Unsynced:
    """The directories in which something was removed, each kept open until its one sync.

    They are told apart by device and inode: another file system may be mounted over the same path meanwhile.
    """

    def __init__(self) -> None:
        self._handles: dict[tuple[int, int], Handle] = {}

    def note(self, handle: Handle) -> None:
        """Keep a directory, before something in it is removed. Raises StoreUnavailable."""
        with oserrors.asking(handle.path):
            seen = os.fstat(handle.fd)
            place = seen.st_dev, seen.st_ino
            if place not in self._handles:
                self._handles[place] = Handle(handle.path, os.dup(handle.fd))

    def settle(self) -> None:
        """Sync each of them and let it go. Raises the first error: StoreForbidden, StoreUnavailable."""
        problems: list[StoreForbidden | StoreUnavailable] = []
        for handle in self._handles.values():
            try:
                handle.sync()
            except (StoreForbidden, StoreUnavailable) as error:
                problems.append(error)
            finally:
                os.close(handle.fd)
        self._handles.clear()
        if problems:
            raise problems[0]


class Directory:
    """A configured data directory of one store; it knows which uuid its sentinel must hold."""

    def __init__(self, store: str, path: str, priority: int, search_bits: int, identities: Identities) -> None:
        self.path = path
        self.priority = priority
        self._store = store
        self._search_bits = search_bits
        self._identities = identities
        self._identity: str | None = None
        self._mark: sentinel.Mark | None = None

    @property
    def identity(self) -> str | None:
        """The uuid that the sentinel must hold; None before the first proof."""
        return self._identity

    @contextmanager
    def opened(self) -> Iterator[Handle]:
        """Open the directory without proof. Raises StoreUnavailable; a missing directory is never created here."""
        with oserrors.asking(f"directory {self.path}"):
            fd = os.open(self.path, _OPEN_DIRECTORY)
        try:
            yield Handle(self.path, fd)
        finally:
            os.close(fd)

    @contextmanager
    def proven(self) -> Iterator[Handle]:
        """Open the directory and prove that it is the right one. Raises StoreUnavailable."""
        with self.opened() as handle:
            self.prove(handle)
            yield handle

    def prove(self, handle: Handle) -> None:
        """Raise StoreUnavailable unless the sentinel in the open directory is the one that the registry knows.

        A directory that was never used gets its sentinel now, so that mkdir, mount, restart, upload works without a
        further step; from then on a missing or different sentinel means an unmounted or exchanged directory.
        """
        if self._identity is None:
            self._identity, seen = self._first_use(handle)
        else:
            seen = self._read(handle)
        if seen is None:
            raise StoreUnavailable(
                f"directory {self.path} has no file {sentinel.NAME}, which must hold {self._identity}: "
                "is the file system mounted?"
            )
        found, mark = seen
        if found != self._identity:
            raise StoreUnavailable(
                f"directory {self.path} belongs to another store: its file {sentinel.NAME} holds {found} "
                f"instead of {self._identity}"
            )
        self._mark = mark if sentinel.is_settled(mark) else None

    def recognise(self, handle: Handle) -> None:
        """Do as ``prove``, but read the sentinel only if it is not the one that was proved before: one system call.

        For reads, which are many. Raises StoreUnavailable.
        """
        if self._mark is None or self._mark != self._mark_in(handle):
            self.prove(handle)

    def _mark_in(self, handle: Handle) -> sentinel.Mark | None:
        with oserrors.asking(f"{handle.path}/{sentinel.NAME}"):
            return sentinel.mark_in(handle.fd)

    def _read(self, handle: Handle) -> tuple[str, sentinel.Mark] | None:
        with oserrors.asking(f"{handle.path}/{sentinel.NAME}"):
            try:
                return sentinel.read(handle.fd)
            except ValueError:
                raise StoreUnavailable(f"{handle.path}/{sentinel.NAME} does not hold a uuid") from None

    def _first_use(self, handle: Handle) -> tuple[str, tuple[str, sentinel.Mark] | None]:
        """Return the uuid that the registry knows from now on, and the sentinel in the directory."""
        known = self._identities.known(self._store, self.path)
        # In this order: another process that is the first here writes its file before the registry knows of it.
        seen = self._read(handle)
        if known is None:
            if seen is None:
                with oserrors.asking(f"{handle.path}/{sentinel.NAME} cannot be written"):
                    seen = sentinel.create(handle.fd)
            known = register(self._identities, self._store, self.path, seen[0])
            log.info("store %s uses directory %s from now on, its sentinel is %s", self._store, self.path, known)
        if seen is not None and known == seen[0]:
            self._let_readers_in(handle)
        return known, seen

    def _let_readers_in(self, handle: Handle) -> None:
        """Give group and others the search bit that filesystem_store_file_perm promises them."""
        mode = stat.S_IMODE(os.fstat(handle.fd).st_mode)
        if self._search_bits & ~mode == 0:
            return
        try:
            os.fchmod(handle.fd, mode | self._search_bits)
        except OSError as error:
            log.warning("directory %s: mode %04o not set: %s", self.path, mode | self._search_bits, error.strerror)
