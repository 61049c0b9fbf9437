"""Data to send whose beginning is kept, so that they can be sent again until more than that is on its way."""

from collections.abc import Iterable, Iterator
from itertools import chain

from glance_common.stores.contract import StoreError
from glance_common.stores.drivers.vmware.transport import Outgoing

WINDOW = 8 * 1024 * 1024
"""Bytes that are kept: more than a server takes in before it answers that it knows no session."""


class WrongLength(StoreError):
    """The source gave another number of bytes than was announced, when these could not be sent any more."""


class Replayable:
    """The data of one upload. ``size``: announced bytes, None when not known.

    A source of no more than WINDOW bytes is read to its end first, so that its length is known and it ``is_whole``.
    ``is_gone`` says that the beginning is not kept any more. ``written`` counts what was sent.
    """

    def __init__(self, pieces: Iterable[bytes], size: int | None) -> None:
        self._rest: Iterator[bytes] = iter(pieces)
        self._kept: list[bytes] = []
        self.is_gone = False
        self.written = 0
        kept = 0
        self.is_whole = True
        for piece in self._rest:
            self._kept.append(piece)
            kept += len(piece)
            if kept > WINDOW:
                self.is_whole = False
                break
        self._length = kept if self.is_whole else size
        if not self.is_whole and size is not None and size < kept:
            self._length = None

    def begin(self) -> Outgoing:
        """Return the data from their start. They must not be gone."""
        self.written = 0
        return Outgoing(self._counted(), self._length)

    def _counted(self) -> Iterator[bytes]:
        for piece in chain(self._kept, () if self.is_whole else self._later()):
            self.written += len(piece)
            if self._length is not None and self.written > self._length:
                raise WrongLength(f"more than the announced {self._length} bytes came")
            yield piece
        if self._length is not None and self.written < self._length:
            raise WrongLength(f"{self.written} bytes came instead of the announced {self._length}")

    def _later(self) -> Iterator[bytes]:
        self.is_gone = True
        self._kept = []
        yield from self._rest
