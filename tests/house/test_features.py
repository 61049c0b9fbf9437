"""The tables of features name each feature once, and tests that exist."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "features.md"

LAST = {
    "KEP": 5,
    "ARC": 25, "VER": 6, "STA": 10, "DEL": 11, "IMG": 38, "DAT": 11, "IMP": 13, "TSK": 4, "MEM": 3, "TAG": 1, "ACT": 2,
    "LOC": 6, "STO": 22, "CAC": 14, "MDF": 11, "QUO": 3, "NOT": 3, "POL": 5, "REG": 5, "V1": 14, "CFG": 8, "TOO": 8,
    "CLI": 1, "SEC": 7,
}
"""Area → number of its last feature: all that the original and the guides speak of, what is missing here included.

KEP and DEL-11 are the service's own."""

ROWS = [[cell.strip() for cell in line.split("|")[1:-1]]
        for line in PAGE.read_text().splitlines() if re.match(r"\| [A-Z]+1?-\d\d ", line)]
NAMED = sorted({name for row in ROWS for name in re.findall(r"`([^`]+)`", row[2])})


@cache
def defined_in(path: str) -> set[str]:
    """Return the functions of a file; those of a class as ``Class::name``."""
    found = set()
    for node in ast.parse((ROOT / "tests" / path).read_text()).body:
        inner, prefix = (node.body, f"{node.name}::") if isinstance(node, ast.ClassDef) else ([node], "")
        found |= {f"{prefix}{each.name}" for each in inner if isinstance(each, ast.FunctionDef)}
    return found


def test_each_feature_stands_there_once():
    expected = {f"{area}-{number:02}" for area, last in LAST.items() for number in range(1, last + 1)}
    assert sorted(row[0] for row in ROWS) == sorted(expected)
    assert {len(row) for row in ROWS} == {4}


def test_what_is_there_is_shown_by_a_test():
    assert [row[0] for row in ROWS if not row[2] and not row[3].startswith("not yet")] == []


@pytest.mark.parametrize("name", NAMED)
def test_a_named_test_exists(name):
    path, _, test = name.partition("::")
    assert test.rpartition("::")[2].startswith("test_")
    assert test in defined_in(path)
