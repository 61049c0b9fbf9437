"""The failpoints of the code: their names, the programs that pass them, and what may be done to each program there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
_CALL = re.compile(r'\bfailpoint\("([^"]+)"\)')

API, REGISTRY, SCRUBBER = "glance-api", "glance-registry", "glance-scrubber"
_PROGRAMS = {"api": (API,), "registry": (REGISTRY,), "scrubber": (SCRUBBER,), "common": (API, SCRUBBER)}
"""The programs that run the code of each folder, as far as it has failpoints."""

# The scrubber has no parent of its own that could die with it. An error raised in the API would be an honest 500, and
# that is what no client may ever see.
ACTIONS = {
    REGISTRY: ("kill", "killall", "raise", "stop", "sleep"),
    API: ("kill", "killall", "stop", "sleep"),
    SCRUBBER: ("kill", "raise", "stop", "sleep"),
}


def scan(root: Path = ROOT) -> dict[str, tuple[str, ...]]:
    """Return the name of each failpoint in the code under ``root``, with the programs that may pass it."""
    found: dict[str, set[str]] = {}
    for folder, programs in _PROGRAMS.items():
        for path in sorted((root / folder).rglob("*.py")):
            for name in _CALL.findall(path.read_text()):
                found.setdefault(name, set()).update(programs)
    return {name: tuple(sorted(programs)) for name, programs in sorted(found.items())}
