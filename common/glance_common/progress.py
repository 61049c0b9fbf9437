"""How far a command is, shown to a person at a terminal and not in files or logs."""

import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

EVERY = 0.5
"""Seconds between two looks."""

WIDTH = 24
"""Characters of a bar."""


@contextmanager
def shown(line: Callable[[], str], terminal: TextIO | None = None) -> Iterator[None]:
    """Show on a terminal what ``line`` returns, again and again within the block; nothing anywhere else."""
    out = terminal or sys.stderr
    if not out.isatty():
        yield
        return
    over = threading.Event()
    thread = threading.Thread(target=_show, args=(line, out, over), name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        write_over("", out)


def bar(key: str) -> str:
    """Return how far a run over all keys is that has come to ``key``, as a bar and in percent.

    Keys of images begin with random digits, so that the place of a key among all tells how many lie before it.
    """
    try:
        part = int(key[:6], 16) / 16**6
    except ValueError:
        part = 0.0
    done = int(part * WIDTH)
    return f"[{'#' * done}{'.' * (WIDTH - done)}] {part * 100:3.0f} %"


def _show(line: Callable[[], str], out: TextIO, over: threading.Event) -> None:
    while not over.wait(EVERY):
        write_over(line(), out)


def write_over(text: str, terminal: TextIO | None = None) -> None:
    """Write ``text`` over the last line on a terminal; nothing anywhere else. An empty text removes the line."""
    out = terminal or sys.stderr
    if out.isatty():
        # What is longer than the line of the terminal would be shown anew below it each time.
        out.write(f"\r\x1b[K{text[: shutil.get_terminal_size().columns - 1]}")
        out.flush()


def amount(size: float) -> str:
    """Return a number of bytes for people."""
    for unit in ("bytes", "KB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
