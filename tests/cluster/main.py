"""``deploy/cluster/up``, ``down`` and ``drill`` once everything is installed."""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType

from deploy.local import accounts, processes
from deploy.local.embedded_postgres import DatabaseError

from tests.cluster import drill, table
from tests.cluster.cluster import Cluster, FolderError, is_held
from tests.cluster.crowd import Crowd

DEFAULT = Path("/var/tmp/glance-cluster")
_PID = "up.pid"
_STOP_SECONDS = 180
FAILURES = (
    accounts.AccountError, DatabaseError, FolderError, processes.StartError, subprocess.CalledProcessError, OSError,
    AssertionError,
)
"""What ends a run with one line for the user."""


_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Stopped(BaseException):
    """Ctrl-C, TERM or HUP: everything ends, whatever is under way."""


def main() -> int:
    """Do what the first argument says. Exit code 0, 1 with the reason on stderr, 130 for a drill that was stopped."""
    asked = _arguments()
    for number in _SIGNALS:
        signal.signal(number, _stop)
    try:
        return {"up": _up, "down": _down, "drill": _drill}[asked.what](asked)
    except _Stopped:
        return 130 if asked.what == "drill" else 0
    except FAILURES as error:
        print(f"{asked.what}: {error}", file=sys.stderr)  # noqa: T201 - a program at a terminal
        return 1


def _stop(_number: int, _frame: FrameType | None) -> None:
    # A second one must not interrupt the end.
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise _Stopped


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="deploy/cluster", description="A cluster on one machine, and its drill.")
    kinds = parser.add_subparsers(dest="what", required=True)
    for name, text in (
        ("up", "start it in the foreground; Ctrl-C or `down` ends it, and the next start begins anew"),
        ("down", "end it"), ("drill", "start one, break it part by part under load, and end it"),
    ):
        sub = kinds.add_parser(name, prog=f"deploy/cluster/{name}", description=text)
        sub.add_argument("--folder", type=Path, default=DEFAULT, help=f"where everything is (default {DEFAULT})")
        if name != "down":
            sub.add_argument("--store", choices=("radosgw", "seaweedfs"), default="radosgw", help="default radosgw")
        if name == "drill":
            sub.add_argument("--short", action="store_true", help="one part of each kind")
            sub.add_argument("--seed", type=int, default=random.randrange(10**6), help="what the clients do")
            sub.add_argument("--out", type=Path, help="a file for the table")
    return parser.parse_args()


def _say(text: str) -> None:
    with suppress(OSError):  # the reader may be gone, and everything must still be stopped
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def _up(asked: argparse.Namespace) -> int:
    """Run until _Stopped."""
    cluster = Cluster(asked.folder, store=asked.store, say=_say)
    (asked.folder / _PID).write_text(f"{os.getpid()}\n")
    try:
        cluster.start()
        _say(_overview(cluster))
        while True:
            time.sleep(0.5)
            for name in cluster.revive():
                _say(f"{name} had died and was started again")
    finally:
        _say("stopping")
        cluster.stop()
        (asked.folder / _PID).unlink(missing_ok=True)


def _overview(cluster: Cluster) -> str:
    parts = [f"  {part.name:<13} process {part.pid():<8} {part.address}" for part in cluster.parts()]
    return "\n".join([
        "", f"Ready. Clients use {cluster.url} (no authentication). Ctrl-C or deploy/cluster/down ends everything.", "",
        *parts, "", f"Everything is below {cluster.folder}: a folder for each part, with log and configuration.",
        "A part that dies is started again: try kill -9.",
    ])


def _down(asked: argparse.Namespace) -> int:
    # The id of an ``up`` that was killed stays behind, and another process may have it by now.
    if not asked.folder.exists() or not is_held(asked.folder):
        print(f"down: nothing runs in {asked.folder}", file=sys.stderr)  # noqa: T201 - a program at a terminal
        return 1
    try:
        pid = int((asked.folder / _PID).read_text())
        os.kill(pid, signal.SIGTERM)
    except (FileNotFoundError, ProcessLookupError, ValueError):
        raise FolderError(f"{asked.folder} is in use, and not by deploy/cluster/up, or not yet") from None
    processes.wait_until(lambda: not processes.is_running(pid), what="the end of the cluster", seconds=_STOP_SECONDS)
    return 0


def _drill(asked: argparse.Namespace) -> int:
    _say(f"seed {asked.seed}")
    cluster = Cluster(asked.folder, store=asked.store, say=_say)
    crowd: Crowd | None = None
    try:
        cluster.start()
        crowd = Crowd(cluster.url, asked.folder, asked.seed, cluster.web)
        results, broken = drill.run(cluster, crowd, asked.short, _say)
    finally:
        if crowd is not None:
            crowd.stop()
        cluster.stop()
    text = table.rows(results)
    faults = [*(fault for result in results for fault in result.faults()), *broken]
    _say("\n".join(["", text, "", *(faults or ["No failed request, nothing acknowledged was lost."])]))
    if asked.out is not None:
        asked.out.write_text(text + "\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
