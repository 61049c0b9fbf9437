"""The pieces of an upload, to be taken in stretches: by objects and segments that begin where the last one ended."""

from collections.abc import Iterable, Iterator


class UploadSource:
    """Pieces of any length, taken in order; nothing is held but the piece that was begun and what was asked to be."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces: Iterator[bytes | memoryview] = iter(pieces)
        self._rest = memoryview(b"")
        self.taken = 0
        """Bytes that were given out."""

    def has_more(self) -> bool:
        """Say whether there are further bytes; waits for them."""
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return False
            self._rest = memoryview(piece)
        return True

    def take(self, most: int) -> Iterator[memoryview]:
        """Yield the next ``most`` bytes, fewer at the end."""
        left = most
        while left and self.has_more():
            piece, self._rest = self._rest[:left], self._rest[left:]
            left -= len(piece)
            self.taken += len(piece)
            yield piece

    def hold(self, most: int) -> bytes:
        """Return the next ``most`` bytes, fewer at the end, without taking them."""
        held = b"".join(self.take(most))
        self.taken -= len(held)
        self._pieces = _joined(held, self._rest, self._pieces)
        self._rest = memoryview(b"")
        return held


def _joined(held: bytes, rest: memoryview, pieces: Iterator[bytes | memoryview]) -> Iterator[bytes | memoryview]:
    yield held
    yield rest
    yield from pieces
