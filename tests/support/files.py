"""What lies in folders that daemons work in."""

import os
from pathlib import Path


def files_below(folder: Path) -> list[Path]:
    """Return the files in a folder and in those below it, in any order.

    ``Path.rglob`` raises FileNotFoundError for a folder that vanishes while it is looked through.
    """
    return [Path(place, name) for place, _, names in os.walk(folder) for name in names]


def size_of(path: Path) -> int:
    """Return the bytes of a file, 0 when it is gone."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
