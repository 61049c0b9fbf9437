"""Processor time and memory of processes, as the kernel counts them."""

import os
from collections.abc import Iterable
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def tree(pid: int) -> set[int]:
    """Return the process and everything that descends from it."""
    parents = {int(entry.name): fields for entry in Path("/proc").iterdir()
               if entry.name.isdigit() and (fields := _stat(int(entry.name)))}
    found, fresh = {pid}, {pid}
    while fresh:
        fresh = {each for each, fields in parents.items() if int(fields[1]) in fresh} - found
        found |= fresh
    return found


def seconds(pids: Iterable[int]) -> float:
    """Return the user and system seconds of these process trees, with those of their children that have ended."""
    every = set[int]().union(*map(tree, pids))
    # The last two are of children that were waited for: a database's session that ended counts, too.
    return sum(int(ticks) for each in every for ticks in _stat(each)[11:15]) / TICKS


def resident(pid: int) -> int:
    """Return the resident bytes of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"no memory is told of process {pid}")


def _stat(pid: int) -> list[str]:
    try:
        # The command name stands in parentheses and may hold blanks: fields count from the last one.
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []
