"""The rules table: every id that is cited has a row, and every row has a test."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "contributor" / "rules.md"
ROWS = {cells[0]: cells for line in PAGE.read_text().splitlines() if line.startswith("| ")
        for cells in [[cell.strip() for cell in line.split("|")[1:-1]]] if re.search(r"\d$", cells[0])}
SECTIONS = ("API", "v1 API", "metadefs", "lifecycle", "configuration", "stores", "security", "tools")
"""Subjects whose rules are numbered by sections: code and tests cite "lifecycle section 3" or "API sections 4 to 8"."""
NUMBER = r"\d+(?:\.\d+)*"
LIST = rf"{NUMBER}(?:(?:, and |, | and | to ){NUMBER})*"
CITED = re.compile(rf"(?:(\S+) )?(?:(\S+?)[ (\"'`]+)?\bsections? ({LIST})", re.IGNORECASE)
NOT_YET = "not yet: "


def texts(*patterns):
    listing = subprocess.run(["git", "-C", ROOT, "ls-files", *patterns], check=True, capture_output=True, text=True)
    paths = [ROOT / name for name in listing.stdout.splitlines()]
    return {path: path.read_text() for path in paths if path.exists() and path not in (PAGE, Path(__file__))}


TESTS = texts("tests/*.py")
NAMED = {f"S-{number}" for text in TESTS.values()
         for name in re.findall(r"\bdef test_(\w+)", text) for number in re.findall(r"(?:^|_)s(\d\d)(?=_)", name)}


def one_line(text):
    """Return a text without line ends and comment signs, so that a citation is found where a line breaks it."""
    return re.sub(r"\s*\n\s*(?:# ?|\| ?)?", " ", text)


def sections(text):
    """Yield the ids of the sections that a text cites; a citation without a known subject is an id without a row."""
    for before, word, numbers in CITED.findall(one_line(text)):
        if before.endswith("RFC"):
            continue
        both = f"{before} {word}".strip(" (\"'`*")
        subject = both if both in SECTIONS else word.strip(" (\"'`*")
        for span in re.split(r", and |, | and ", numbers):
            first, _, last = span.partition(" to ")
            whole = range(int(first), int(last) + 1) if last else [first]
            yield from (f"{subject} section {number}" for number in whole)


def cited_everywhere():
    cited = {}
    for path, text in {**texts("*.py", "*.md", "*.cfg", "*.ini", "*.yaml", "deploy/*", "etc/*"), **TESTS}.items():
        for found in (*re.findall(r"\bS-\d\d\b|\bI(?:10|[1-9])\b", text), *sections(text)):
            cited.setdefault(found, str(path.relative_to(ROOT)))
    return cited


def test_every_id_has_a_row():
    assert {found: path for found, path in cited_everywhere().items() if found not in ROWS} == {}
    assert set(ROWS) >= NAMED


def test_every_section_is_cited():
    assert {row for row in ROWS if " section " in row} - set(cited_everywhere()) == set()


@pytest.mark.parametrize(("text", "found"), [
    ("Views of lists (v1 API section 7).", ["v1 API section 7"]),
    ("(API sections 9, 11 and 14.1)", ["API section 9", "API section 11", "API section 14.1"]),
    ("in the order of API\n    # sections 4 to 6.", ["API section 4", "API section 5", "API section 6"]),
    ("Section 3 says so (section 8).", [" section 3", "so section 8"]),
    ("(RFC 9110 sections 8.8, 13 and 14)", []),
])
def test_citations_are_found(text, found):
    assert list(sections(text)) == found


def test_rules_are_cited_in_one_form():
    """Neither "lifecycle 3" nor "spec: stores 4" nor the name of a document that is not here."""
    subjects = "|".join(SECTIONS)
    loose = re.compile(rf"\b(?:{subjects}):? (?:§ ?)?{NUMBER}(?= *[,;:)])|\bspec: |§|\bthe specification\b")
    pages = {path.name for path in texts("*.md")} | {PAGE.name}
    for path, text in texts("*.py", "deploy/*").items():
        assert loose.findall(one_line(text)) == [], path.relative_to(ROOT)
        assert set(re.findall(r"([\w-]+\.md)\b(?!5)", text)) <= pages, path.relative_to(ROOT)


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
