"""The rehearsal: adopts a database into a fresh one, starts our service on it, and reads every image through it."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import requests

from deploy.local.embedded_postgres import DatabaseError
from deploy.local.processes import StartError
from deploy.migrate.reading import Readout, read_all
from deploy.migrate.service import Beside

_HELP = """\
Tries the take-over of an installation of the original on this machine. It reads the other database and its stores, and
changes neither: rows go into a PostgreSQL of its own, the service listens on loopback, and no scrubber runs. Only the
mark by which this service recognizes a store is written into each store that is read.

Exit code 0: every image is here, and what could be downloaded has the right digest. 1: not so, or it could not be
tried; the report says why."""
_LEFT_OUT = 3
"""Exit code of glance-manage adopt when the report names something that does not come as it is."""
_MOST_SHOWN = 100


def main(argv: Sequence[str] | None = None) -> int:
    """Do all steps; return 0 when all went well."""
    arguments = _parse(sys.argv[1:] if argv is None else argv)
    folder = Path(tempfile.mkdtemp(prefix="glance-rehearsal-"))
    folder.chmod(0o755)  # the database runs as a user of its own when root starts it
    try:
        with Beside(folder, arguments.config) as service:
            return _rehearse(service, arguments.source)
    except (DatabaseError, StartError, OSError, requests.RequestException, subprocess.CalledProcessError) as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return 1
    finally:
        if arguments.keep:
            print(f"Everything is kept in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="rehearse", description=_HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--from", dest="source", metavar="URL", default=os.environ.get("GLANCE_ADOPT_FROM"),
        help="the database of the original; instead the variable GLANCE_ADOPT_FROM",
    )
    parser.add_argument(
        "--config", type=Path, action="append", required=True, metavar="FILE",
        help="its configuration file; may be repeated, later ones win",
    )
    parser.add_argument("--keep", action="store_true", help="keep database and logs")
    arguments = parser.parse_args(argv)
    if not arguments.source:
        parser.error("--from or GLANCE_ADOPT_FROM must be given")
    return arguments


def _rehearse(service: Beside, source: str) -> int:
    os.environ["GLANCE_ADOPT_FROM"] = source
    service.prepare()
    for title, option in (("dry run", "--dry-run"), ("run", None)):
        done = _told(service, title, "adopt", *([option] if option else []))
        if done not in (0, _LEFT_OUT):
            return 1
    same = _told(service, "comparison of the rows", "adopt", "--verify") == 0
    service.start()
    _title("all images through the API")
    found = read_all(service.url, print)
    expected = service.count_listed()
    _report(found, expected)
    is_whole = sum(found.listed.values()) == expected and not found.wrong
    if not same:
        print("The rows differ: read the table above.")
    return 0 if is_whole and same else 1


def _told(service: Beside, title: str, *arguments: str) -> int:
    _title(title)
    done = service.manage(*arguments)
    print(done.stdout, end="")
    return done.returncode


def _title(text: str) -> None:
    print(f"\n== {text}", flush=True)


def _report(found: Readout, expected: int) -> None:
    for status, number in sorted(found.listed.items()):
        print(f"{number:>10} {status}")
    total = sum(found.listed.values())
    print(f"{total:>10} listed and shown, of {expected} in the database")
    print(f"{found.downloads:>10} downloaded, {found.bytes} bytes; {found.unproved} of them have no digest to compare")
    print(f"{len(found.wrong):>10} wrong")
    for line in found.wrong[:_MOST_SHOWN]:
        print(f"           {line}")


if __name__ == "__main__":
    sys.exit(main())
