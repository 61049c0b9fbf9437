"""How far a fetch is, told to a person at a terminal."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from glance_api.cache.layout import CacheLayout

EVERY = 0.5
"""Seconds between two looks."""


@contextmanager
def shown(layout: CacheLayout, image_id: str, terminal: TextIO | None = None) -> Iterator[None]:
    """Show on a terminal how much of an image is there while the block fetches it; nothing anywhere else."""
    out = terminal or sys.stderr
    if not out.isatty():
        yield
        return
    over = threading.Event()
    thread = threading.Thread(target=_show, args=(layout, image_id, out, over), name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        out.write("\r\x1b[K")
        out.flush()


def _show(layout: CacheLayout, image_id: str, out: TextIO, over: threading.Event) -> None:
    while not over.wait(EVERY):
        out.write(f"\r\x1b[K{line(layout, image_id)}")
        out.flush()


def line(layout: CacheLayout, image_id: str) -> str:
    """Return what is to be said of the image now."""
    try:
        file = next((file for file in layout.unfinished() if file.image_id == image_id), None)
    except OSError:
        file = None
    if file is None:
        return f"{image_id}: waiting"
    # The room on the disk was set aside for the whole image, where the file system can do that.
    share = f" of {mib(file.taken)} ({100 * file.size // file.taken} %)" if file.taken > file.size else ""
    return f"{image_id}: {mib(file.size)}{share}"


def mib(size: int) -> str:
    """Return a number of bytes in MiB."""
    return f"{size / 2**20:.1f} MiB"
