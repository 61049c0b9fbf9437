"""What the tools say to the terminal: lines, and tables whose columns line up."""

import sys
from collections.abc import Iterable, Sequence

ROWS = 1000
"""Rows after which a table is printed, so that a long one neither waits for its end nor fills the memory."""


def say(text: str) -> None:
    """Print one line on stdout."""
    print(text)  # noqa: T201 - a command line tool speaks to the terminal


def tell(text: str) -> None:
    """Print one line on stderr."""
    print(text, file=sys.stderr)  # noqa: T201 - a command line tool speaks to the terminal


def show(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> int:
    """Print a table and return how many rows it has; nothing is printed without rows."""
    count, block = 0, list[list[str]]()
    try:
        for row in rows:
            block.append([_one_line(cell) for cell in row])
            count += 1
            if len(block) == ROWS:
                _print(headings, block, with_headings=count == ROWS)
                block = []
    finally:
        # What was found before a store failed is shown as well.
        if block:
            _print(headings, block, with_headings=count <= ROWS)
    return count


def _print(headings: Sequence[str], rows: Sequence[Sequence[str]], *, with_headings: bool) -> None:
    lines = [headings, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    for line in lines if with_headings else rows:
        say("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _one_line(text: str) -> str:
    """Return text that cannot break the table or steer the terminal."""
    return "".join(character if character.isprintable() else " " for character in text)
