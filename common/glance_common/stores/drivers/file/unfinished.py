"""One file on its way into a directory: unfinished name, sync, final name, sync of the directory."""

import logging
import os
import secrets
from collections.abc import Iterable
from functools import partial

from glance_common.background_sink import BackgroundSink
from glance_common.failpoints import failpoint
from glance_common.stores.contract import BlobExists, StoreUnavailable
from glance_common.stores.drivers.file import linking, oserrors
from glance_common.stores.drivers.file.directory import Handle
from glance_common.stores.drivers.file.writeback import WriteBehind

log = logging.getLogger(__name__)

_ZEROS = bytes(65536)


class Unfinished:
    """The unfinished file of one ``add``. The caller runs write, settle, publish, secure; or withdraw on any error."""

    def __init__(self, directory: Handle, incoming: int, key: str) -> None:
        """Create the file. Raises StoreFull, WriteDenied, StoreUnavailable."""
        self._directory = directory
        self._incoming = incoming
        self._key = key
        self._name = f"{key}.{secrets.token_hex(16)}"
        self._what = f"{directory.path}/{key}"
        self._published = False
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with oserrors.writing(self._what):
            # Image data are not for all users of the host, however lax the umask is.
            self._fd = os.open(self._name, flags, 0o640, dir_fd=incoming)

    def write(self, pieces: Iterable[bytes], thin: bool) -> int:
        """Write all pieces and return their bytes; holds a few at a time. Errors of ``pieces`` come out unchanged.

        The disk is another thread's, so that a slow write does not keep the source waiting. With ``thin`` blocks of
        zeros become holes. Raises StoreFull, WriteDenied, StoreUnavailable.
        """
        behind = WriteBehind(self._fd)
        sink = BackgroundSink("file-writer", partial(self._write_piece, behind, thin), waiting=1)
        try:
            for piece in pieces:
                sink.put(piece)
            sink.finish()
        finally:
            sink.close()
        if thin:
            with oserrors.writing(self._what):
                os.ftruncate(self._fd, behind.size)
        return behind.size

    def _write_piece(self, behind: WriteBehind, thin: bool, piece: bytes) -> None:
        with oserrors.writing(self._what):
            if thin:
                self._write_thin(piece)
            else:
                _write_all(self._fd, memoryview(piece))
            behind.grown(len(piece))

    def _write_thin(self, piece: bytes) -> None:
        view = memoryview(piece)
        for start in range(0, len(piece), len(_ZEROS)):
            block = view[start : start + len(_ZEROS)]
            # Two bytes objects compare with memcmp; a memoryview compares item by item.
            if bytes(block) == _ZEROS[: len(block)]:
                os.lseek(self._fd, len(block), os.SEEK_CUR)
            else:
                _write_all(self._fd, block)

    def settle(self, mode: int | None) -> None:
        """Bring the bytes to the disk and set the mode.

        A failed sync is final: the kernel may have dropped the pages and would call the next one a success.
        """
        failpoint("file.add.before-sync")
        with oserrors.writing(self._what):
            os.fdatasync(self._fd)
        failpoint("file.add.after-sync")
        if mode is None:
            return
        try:
            os.fchmod(self._fd, mode)
        except OSError as error:
            log.warning("%s: mode %04o not set: %s", self._what, mode, error.strerror)

    def publish(self) -> None:
        """Give the file its final name. Raises BlobExists when the name is taken, StoreUnavailable."""
        try:
            linking.publish(self._name, self._incoming, self._key, self._directory.fd)
        except FileExistsError:
            raise BlobExists(f"{self._what} exists already") from None
        except FileNotFoundError:
            raise StoreUnavailable(f"{self._what}: its unfinished file was removed by a delete of the key") from None
        except OSError as error:
            raise StoreUnavailable(f"{self._what} cannot get its final name: {error.strerror}") from error
        self._published = True
        self._forget_name()
        failpoint("file.add.after-link")

    def secure(self) -> None:
        """Bring the final name to the disk. The unfinished name needs no sync: a delete of the key removes it too."""
        with oserrors.writing(self._what):
            os.fsync(self._directory.fd)
        failpoint("file.add.after-dirsync")

    def withdraw(self) -> None:
        """Remove what this attempt made and nothing else. Raises nothing: the caller is already raising the error that
        matters."""
        try:
            self._forget_name()
            if self._published and self._is_ours():
                os.unlink(self._key, dir_fd=self._directory.fd)
                os.fsync(self._directory.fd)
        except OSError as error:
            log.warning("%s: unfinished data not removed: %s", self._what, error.strerror)

    def _is_ours(self) -> bool:
        try:
            there = os.stat(self._key, dir_fd=self._directory.fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return os.path.samestat(there, os.fstat(self._fd))

    def _forget_name(self) -> None:
        try:
            os.unlink(self._name, dir_fd=self._incoming)
        except FileNotFoundError:
            # Renamed instead of linked, or removed by a delete of the key.
            return

    def close(self) -> None:
        """Close the file. The data are synced or given up by now, so an error of close has nothing left to say."""
        try:
            os.close(self._fd)
        except OSError as error:
            log.warning("%s: close: %s", self._what, error.strerror)


def _write_all(fd: int, view: memoryview) -> None:
    while view:
        view = view[os.write(fd, view) :]
