"""The rules table: every id that is cited has a row, and every row has a test."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "contributor" / "rules.md"
ROWS = {cells[0]: cells for line in PAGE.read_text().splitlines()
        if re.match(r"\| [SI]-?\d+ ", line) for cells in [[cell.strip() for cell in line.split("|")[1:-1]]]}
NOT_YET = "not yet: "


def texts(*patterns):
    listing = subprocess.run(["git", "-C", ROOT, "ls-files", *patterns], check=True, capture_output=True, text=True)
    paths = [ROOT / name for name in listing.stdout.splitlines()]
    return {path: path.read_text() for path in paths if path.exists() and path not in (PAGE, Path(__file__))}


TESTS = texts("tests/*.py")
NAMED = {f"S-{number}" for text in TESTS.values()
         for name in re.findall(r"\bdef test_(\w+)", text) for number in re.findall(r"(?:^|_)s(\d\d)(?=_)", name)}


def test_every_id_has_a_row():
    cited = {}
    for path, text in {**texts("*.py", "docs/*.md", "deploy/*", "etc/*"), **TESTS}.items():
        for found in re.findall(r"\bS-\d\d\b|\bI(?:10|[1-9])\b", text):
            cited.setdefault(found, path.relative_to(ROOT))
    assert {found: str(path) for found, path in cited.items() if found not in ROWS} == {}
    assert set(ROWS) >= NAMED


@pytest.mark.parametrize("rule", sorted(ROWS))
def test_every_rule_has_a_test(rule):
    _, meaning, shown = ROWS[rule]
    assert meaning.endswith(".")
    if shown.startswith(NOT_YET):
        assert rule not in NAMED, "there is a test: the row is out of date"
        return
    paths = re.findall(r"`([^`]+)`", shown)
    assert paths or rule in NAMED, "no test shows the rule"
    assert [path for path in paths if not (ROOT / "tests" / path).is_file()] == []
