"""No function has more parameters than a reader keeps in mind: more of them are a value that has no name yet."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("api", "common", "registry", "scrubber")
MOST = 6
EXCEPTIONS: dict[str, str] = {}
"""Function → why it may have more."""


def functions() -> Iterator[tuple[str, int]]:
    """Yield the place of every function, and how many parameters it has beside the object it is called on."""
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                    name = "<lambda>" if isinstance(node, ast.Lambda) else node.name
                    yield f"{path.relative_to(ROOT)}:{name}", len(parameters(node.args))


def parameters(arguments: ast.arguments) -> list[str]:
    """Return the names of the parameters; ``*args`` and ``**kwargs`` count as one each."""
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    collected = [one for one in (arguments.vararg, arguments.kwarg) if one is not None]
    return [one.arg for one in (*named, *collected) if one.arg not in ("self", "cls")]


def test_no_function_has_many_parameters():
    many = {place: count for place, count in functions() if count > MOST}
    assert {place: count for place, count in many.items() if place not in EXCEPTIONS} == {}
    assert many.keys() == EXCEPTIONS.keys(), "an exception that is not needed any more"


@pytest.mark.parametrize(
    ("code", "count"),
    [("def f(a, /, b, *, c): ...", 3), ("def f(self, a, *args, **kwargs): ...", 3), ("async def f(cls): ...", 0)],
)
def test_parameters_of_every_kind_count(code, count):
    function = ast.parse(code).body[0]
    assert isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
    assert len(parameters(function.args)) == count
