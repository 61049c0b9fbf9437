"""An opened read of an image file."""

import os
from collections.abc import Iterator

from glance_common.stores.contract import StoreUnavailable


class FileBlob:
    """A range of one open file; fulfils ``contract.Blob``."""

    def __init__(self, fd: int, path: str, offset: int, length: int | None, piece: int) -> None:
        """Take over ``fd`` and position it at the start of the range; ``piece`` is the bytes of one read."""
        self._file = os.fdopen(fd, "rb", buffering=0)
        self._path = path
        self._piece = piece
        self.size = os.fstat(fd).st_size
        rest = max(self.size - offset, 0)
        self._promised = rest if length is None else min(rest, length)
        self._file.seek(offset)

    def __iter__(self) -> Iterator[bytes]:
        """Yield the pieces. Raises StoreUnavailable when the file cannot be read or became shorter."""
        missing = self._promised
        while missing:
            try:
                piece = self._file.read(min(missing, self._piece))
            except OSError as error:
                raise StoreUnavailable(f"{self._path}: {error.strerror}") from error
            if not piece:
                raise StoreUnavailable(f"{self._path}: {missing} bytes are missing at the end")
            missing -= len(piece)
            yield piece

    def fileno(self) -> int | None:
        """Return the descriptor, positioned at the start of the range until it is read."""
        return self._file.fileno()

    def path(self) -> str | None:
        """Return the path of the file."""
        return self._path

    def close(self) -> None:
        """Close the file."""
        self._file.close()
