"""Regular expressions: each stands as a constant of its module, and none of them backtracks (S-59)."""

import ast
import importlib
import pkgutil
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.support.hostile_patterns import Subject, slow

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("glance_api", "glance_registry", "glance_scrubber", "glance_common")
FOLDERS = ("api", "registry", "scrubber", "common")
NOT_IMPORTED = {
    "glance_registry.migrations.env": "runs a migration when it is imported",
}
MADE_LATER = {
    "glance_api.policy.properties:_one": "names of the operator's file; see MAX_NAME there",
    "glance_api.policy.properties:is_about": "as above",
    "glance_common.stores.drivers.file.directory:_remove_unfinished": "the key is escaped",
}
"""Function → why it makes a pattern that is no constant, and what bounds it."""
METHODS = {"match", "fullmatch", "search", "sub", "subn", "split", "findall", "finditer"}
SEARCHING = METHODS - {"match", "fullmatch"}


def modules() -> Iterator[Any]:
    """Import and yield every module of the packages."""
    for name in PACKAGES:
        package = importlib.import_module(name)
        yield package
        for found in pkgutil.walk_packages(package.__path__, f"{name}."):
            if found.name not in NOT_IMPORTED:
                yield importlib.import_module(found.name)


def trees() -> Iterator[tuple[str, ast.Module]]:
    """Yield the dotted name and the syntax tree of every module."""
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT / folder).with_suffix("").parts).removesuffix(".__init__")
            yield name, ast.parse(path.read_text())


def patterns(value: Any, depth: int = 0) -> Iterator[re.Pattern[Any]]:
    """Yield the patterns in a value: itself, what it holds, and the rules ``pattern`` of JSON schemas."""
    if isinstance(value, re.Pattern):
        yield value
    elif depth < 10 and isinstance(value, Mapping):
        if isinstance(value.get("pattern"), str):
            yield re.compile(value["pattern"])
        for inner in value.values():
            yield from patterns(inner, depth + 1)
    elif depth < 10 and isinstance(value, list | tuple | set | frozenset):
        for inner in value:
            yield from patterns(inner, depth + 1)


def calls_by_name() -> dict[str, set[str]]:
    """Return which methods are called of each name in capitals, in any module."""
    used: dict[str, set[str]] = defaultdict(set)
    for _, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in METHODS:
                of = node.func.value
                used[of.id if isinstance(of, ast.Name) else getattr(of, "attr", "")].add(node.func.attr)
    return used


def subjects() -> dict[Subject, str]:
    """Return every pattern that a module or class holds, with the place of it."""
    used = calls_by_name()
    found: dict[Subject, str] = {}
    for module in modules():
        owners = [(module.__name__, vars(module))]
        owners += [
            (f"{module.__name__}.{name}", vars(value)) for name, value in vars(module).items()
            if isinstance(value, type) and value.__module__ == module.__name__
        ]
        for where, attributes in owners:
            for name, value in list(attributes.items()):
                for pattern in patterns(value):
                    # Whoever holds patterns in a table, or as a JSON schema, may search with them.
                    called = used.get(name, set()) if isinstance(value, re.Pattern) else set()
                    is_searching = not called or called & SEARCHING
                    calls = ("fullmatch", "match", *(("search",) if is_searching else ()))
                    is_bytes = isinstance(pattern.pattern, bytes)
                    text = pattern.pattern.decode("latin-1") if is_bytes else pattern.pattern
                    found.setdefault(Subject(text, pattern.flags, is_bytes, calls), f"{where}.{name}")
    return found


def test_s59_every_pattern_is_linear():
    found = subjects()
    assert len(found) > 25, "the patterns are not found any more"
    assert slow(list(found)) == []


@pytest.mark.parametrize(
    ("pattern", "calls"),
    [
        # What the header Range was once read with: two spaces' worth of freedom on both sides.
        (r"bytes\s*=\s*(\d*)\s*-\s*(\d*)\s*", ("fullmatch",)),
        (r"(a+)+b", ("match",)),
        (r"(?:x[ab]*)*[ab]*y", ("match",)),
        # Linear from one place on, and tried from all of them.
        (r"%\(([^)]*)\)", ("search",)),
    ],
)
def test_s59_a_pattern_that_backtracks_is_found(pattern, calls):
    (line,) = slow([Subject(pattern, re.ASCII, False, calls)])
    assert line.startswith(repr(pattern))


def made_in_functions(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Yield function and line of each call of ``re`` that makes a pattern in a function."""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    for function in functions:
        for node in ast.walk(function):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            of = node.func.value
            if isinstance(of, ast.Name) and of.id == "re" and node.func.attr in METHODS | {"compile", "template"}:
                yield function.name, node.lineno


def test_patterns_are_constants():
    found = {
        f"{module}:{function}": line for module, tree in trees() for function, line in made_in_functions(tree)
    }
    assert {place: line for place, line in found.items() if place not in MADE_LATER} == {}
    assert MADE_LATER.keys() <= found.keys(), "the table names what is gone"


def test_patterns_come_from_the_module_re_by_its_name():
    borrowed = [
        module for module, tree in trees() for node in ast.walk(tree)
        if (isinstance(node, ast.ImportFrom) and node.module == "re")
        or (isinstance(node, ast.Import) and any(each.name == "re" and each.asname for each in node.names))
    ]
    assert borrowed == []


def test_the_check_of_constants_finds_a_pattern_in_a_function():
    tree = ast.parse("import re\nX = re.compile('a')\ndef f(text):\n    return re.fullmatch('a', text)\n")
    assert list(made_in_functions(tree)) == [("f", 4)]
