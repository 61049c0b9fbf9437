"""How far a transfer is, told to a person at a terminal."""

from collections.abc import Iterable, Iterator
from typing import TextIO

from glance_common import progress


def shown(
    pieces: Iterable[bytes], name: str, size: int, done: int = 0, terminal: TextIO | None = None
) -> Iterator[bytes]:
    """Yield the pieces; on a terminal show how many of ``size`` bytes have passed, ``done`` of them before."""
    with progress.shown(lambda: line(name, done, size), terminal):
        for piece in pieces:
            yield piece
            done += len(piece)


def line(name: str, done: int, size: int) -> str:
    """Return what is to be said now."""
    share = f" of {size / 2**20:.1f} MiB ({100 * done // size} %)" if size else ""
    return f"{name}: {done / 2**20:.1f} MiB{share}"
