"""One word for one thing: old words of the glossary name no module and no public class; no two classes share a name."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("api/glance_api", "common/glance_common", "registry/glance_registry", "scrubber/glance_scrubber")
GLOSSARY = ROOT / "docs" / "contributor" / "glossary.md"
MEANS_SOMETHING_ELSE = {"glance", "whoever", "backend", "v1"}
"""Words of the last column that have a right use of their own: the packages, the option ``enabled_backends``."""
WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")


def rows() -> list[tuple[str, str]]:
    """Return word and old names of each row of the glossary."""
    found = []
    for line in GLOSSARY.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and len(cells) == 3 and not set(cells[0]) <= {"-"}:
            found.append((cells[0], cells[2]))
    return found[1:]


def old_words() -> set[str]:
    words = {word.strip() for _, old in rows() for word in old.split(",") if word.strip()}
    return words - MEANS_SOMETHING_ELSE


def sources() -> Iterator[Path]:
    for package in PACKAGES:
        yield from sorted((ROOT / package).rglob("*.py"))


def public_classes() -> Iterator[tuple[Path, str]]:
    for path in sources():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                yield path, node.name


def parts(name: str) -> set[str]:
    """Return the words of a name, and their singulars."""
    words = {word.lower() for word in WORD.findall(name)}
    return words | {word.removesuffix("s") for word in words}


def test_the_glossary_is_in_order_and_has_old_words() -> None:
    words = [word.lower() for word, _ in rows()]
    assert words == sorted(words)
    assert {"lane", "companion", "floor"} <= old_words()


@pytest.mark.parametrize("old", sorted(old_words()))
def test_no_module_and_no_public_class_has_an_old_word(old: str) -> None:
    wanted = parts(old)
    modules = [str(path) for path in sources() if wanted & parts(path.stem)]
    classes = [f"{path}: {name}" for path, name in public_classes() if wanted & parts(name)]
    assert modules + classes == []


def test_no_two_public_classes_share_a_name() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for path, name in public_classes():
        places[name].append(str(path.relative_to(ROOT)))
    assert {name: found for name, found in places.items() if len(found) > 1} == {}
