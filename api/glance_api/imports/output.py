"""The file that a plugin makes of an image, written piece by piece and never beyond its room (S-40)."""

import errno
from pathlib import Path
from types import TracebackType
from typing import Self

from glance_api.imports.contract import ImportFailed, WriteRoom
from glance_common.failpoints import failpoint
from glance_common.model.errors import TooLarge

NO_SPACE = "there is not enough space in the staging directory of this host"


class Output:
    """A new file of at most ``cap`` bytes, all covered by ``room`` before they are written. Use it in a with block.

    Raises TooLarge when the disk is full, ImportFailed when the file cannot be made.
    """

    def __init__(self, path: Path, cap: int, room: WriteRoom) -> None:
        try:
            self._file = path.open("wb", buffering=0)
        except OSError as error:
            raise _failed(error) from error
        self._cap = cap
        self._room = room
        self._size = 0

    def write(self, piece: bytes) -> None:
        """Add a piece. Raises TooLarge with the limit before a byte beyond it is written, and as ``room.cover``."""
        size = self._size + len(piece)
        if size > self._cap:
            raise TooLarge(f"the unpacked image is larger than image_size_cap, {self._cap} bytes")
        self._room.cover(size)
        rest = memoryview(piece)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise _failed(error) from error
        self._size = size
        failpoint("api.import.piece-unpacked")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def _failed(error: OSError) -> Exception:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return TooLarge(NO_SPACE)
    return ImportFailed("the staging directory of this host cannot be written")
