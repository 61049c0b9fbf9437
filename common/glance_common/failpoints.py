"""Named places where a test may kill, stop or delay a real process.

The promises of the service are about processes that die at the worst moment, so the worst moments have names. Nothing
happens unless the environment names a directory in ``GLANCE_FAILPOINTS_DIR`` when the process starts; a file there,
named like the failpoint, holds one action and is consumed by the process that hits it, so an action fires once.

Actions: ``kill`` (SIGKILL this process), ``killall`` (SIGKILL the parent, then this process), ``stop`` (SIGSTOP this
process), ``wait`` (until the trace ``NAME.PID.fired`` is removed), ``sleep SECONDS``, ``raise``.
"""

import os
import signal
import threading
import time
from pathlib import Path

_DIRECTORY = os.environ.get("GLANCE_FAILPOINTS_DIR")


class FailpointError(Exception):
    """The error that the action ``raise`` throws; no code catches it by name."""


def failpoint(name: str) -> None:
    """Do what the armed action for ``name`` says, once; return at once when none is armed."""
    if _DIRECTORY is None:
        return
    trace = _take(Path(_DIRECTORY) / name)
    if trace is not None:
        _act(name, trace)


def _take(path: Path) -> Path | None:
    """Consume ``path`` and return the trace that holds its action; renaming makes one process the one that fires."""
    mine = path.with_name(f"{path.name}.{os.getpid()}.fired")
    try:
        path.rename(mine)
    except FileNotFoundError:
        return None
    return mine


def _act(name: str, trace: Path) -> None:
    action = trace.read_text().strip()
    verb, _, argument = action.partition(" ")
    match verb:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "killall":
            parent = os.getppid()
            if os.getpgid(parent) == os.getpgrp():  # else the own one is dead, and another process has taken its place
                os.kill(parent, signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)
        case "stop":
            # Sent to this thread, though it stops all: otherwise another one may take it while this one runs on.
            signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
        case "wait":
            while trace.exists():
                time.sleep(0.02)
        case "sleep":
            time.sleep(float(argument))
        case "raise":
            raise FailpointError(name)
        case _:
            raise ValueError(f"failpoint {name}: unknown action {action!r}")
