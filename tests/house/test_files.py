"""Sizes and marks: no file grows a second responsibility unnoticed, nothing is left unfinished."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LONGEST = 400
UNFINISHED = re.compile(r"NotImplementedError|\bTODO\b|\bFIXME\b|\bXXX\b")


def tracked(*patterns):
    listing = subprocess.run(["git", "-C", ROOT, "ls-files", *patterns], check=True, capture_output=True, text=True)
    return [ROOT / name for name in listing.stdout.splitlines() if (ROOT / name).exists()]


def product_code():
    return tracked("api/*.py", "registry/*.py", "scrubber/*.py", "common/*.py", "deploy/*.py")


@pytest.mark.parametrize("path", product_code(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_has_one_responsibility(path):
    lines = path.read_text().count("\n")
    assert lines <= LONGEST, f"{lines} lines: is there a second responsibility inside?"


def test_nothing_is_left_unfinished():
    marks = [str(path) for path in product_code() if UNFINISHED.search(path.read_text())]
    assert marks == []


def test_every_escape_from_a_check_says_why():
    escape = re.compile(r"# *(noqa|type: ignore|pragma: no cover)(?P<rest>.*)")
    silent = []
    for path in tracked("*.py"):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            match = escape.search(line)
            if match and path != Path(__file__) and " - " not in match["rest"] and "#" not in match["rest"]:
                silent.append(f"{path.relative_to(ROOT)}:{number}")
    assert silent == []


def test_no_merge_was_left_half_done():
    marks = re.compile(r"^(<{7} |>{7} |={7}$)", re.MULTILINE)
    files = tracked("*.py", "*.md", "*.cfg", "*.yaml", "*.conf")
    assert [str(path) for path in files if marks.search(path.read_text())] == []
