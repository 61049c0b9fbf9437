"""The release before this one, out of the history of the repository: its code on the dependencies of today."""

from __future__ import annotations

import configparser
import subprocess
from pathlib import Path

COMMIT = "815d370a177dee666cb9cc69de3378473ea130bf"
"""The last commit of that release. A release that is out takes the place of it."""

ROOT = Path(__file__).resolve().parents[2]
_SOURCES = ("api", "common", "registry", "scrubber")
_METADATA = "Metadata-Version: 2.1\nName: glance-services\nVersion: 0.1.0\n"


class NoHistoryError(Exception):
    """The checkout does not have the commit; the text says what to do."""


def unpack(folder: Path) -> Path:
    """Write the packages of that release into ``folder`` and return it: as PYTHONPATH it wins over what is installed.

    Raises NoHistoryError.
    """
    if _git("cat-file", "-e", f"{COMMIT}^{{commit}}").returncode:
        raise NoHistoryError(
            f"this checkout has no commit {COMMIT}, the release before: it needs the whole history (git fetch "
            "--unshallow)"
        )
    for source in _SOURCES:
        archive = _git("archive", "--format=tar", f"{COMMIT}:{source}")
        archive.check_returncode()
        subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
    _write_metadata(folder)
    return folder


def _write_metadata(folder: Path) -> None:
    """Write what an installation would say, so that drivers of stores are found by the names of that release."""
    setup = configparser.ConfigParser()
    setup.read_string(_git("show", f"{COMMIT}:setup.cfg").stdout.decode())
    distribution = folder / "glance_services-0.1.0.dist-info"
    distribution.mkdir()
    (distribution / "METADATA").write_text(_METADATA)
    groups = setup["options.entry_points"].items()
    (distribution / "entry_points.txt").write_text("".join(f"[{group}]{entries}\n" for group, entries in groups))


def _git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["git", "-C", ROOT, *arguments], capture_output=True, check=False)
