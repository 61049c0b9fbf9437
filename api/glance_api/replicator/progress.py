"""How far a transfer is, told to a person at a terminal."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TextIO

EVERY = 0.5
"""Seconds between two lines."""


def shown(
    pieces: Iterable[bytes], name: str, size: int, done: int = 0, terminal: TextIO | None = None
) -> Iterator[bytes]:
    """Yield the pieces; on a terminal show how many of ``size`` bytes have passed, ``done`` of them before."""
    out = terminal or sys.stderr
    if not out.isatty():
        yield from pieces
        return
    said = 0.0
    try:
        for piece in pieces:
            yield piece
            done += len(piece)
            if time.monotonic() - said >= EVERY:
                said = time.monotonic()
                out.write(f"\r\x1b[K{line(name, done, size)}")
                out.flush()
    finally:
        out.write("\r\x1b[K")
        out.flush()


def line(name: str, done: int, size: int) -> str:
    """Return what is to be said now."""
    share = f" of {size / 2**20:.1f} MiB ({100 * done // size} %)" if size else ""
    return f"{name}: {done / 2**20:.1f} MiB{share}"
