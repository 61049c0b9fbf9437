"""The ways into a transaction: few, each with its rule, and no way around them."""

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import glance_registry
from glance_registry.db import session

MOST = 4
ROOT = Path(glance_registry.__file__).parent
LENDING = {"reading", "reading_prepared", "transaction", "raw_connection", "connect", "begin"}
ALLOWED = {
    ("db/connections.py", "raw_connection"): "lends connections",
    ("db/connections.py", "connect"): "as above",
    ("db/connections.py", "begin"): "as above",
    ("db/session.py", "reading"): "builds the ways",
    ("db/session.py", "reading_prepared"): "as above",
    ("db/session.py", "transaction"): "as above",
    ("db/schema.py", "connect"): "a migration takes its time, and holds the lock of the schema all along",
    ("db/schema.py", "begin"): "as above, in small transactions",
    ("adopt/source.py", "connect"): "reads the database of another service, as one snapshot",
}
"""Module and the call that lends a connection there → why."""


def test_there_are_few_ways_into_a_transaction_each_with_a_rule() -> None:
    ways = {
        name for name, found in vars(session).items()
        if inspect.isfunction(found) and found.__module__ == session.__name__ and not name.startswith("_")
        and "engine" in inspect.signature(found).parameters
    }
    told = re.findall(r"^\| ``(\w+)`` \| .+ \|$", session.__doc__ or "", re.MULTILINE)
    assert set(told) == ways
    assert len(told) <= MOST


def test_no_module_takes_a_connection_in_another_way() -> None:
    assert set(lent()) == set(ALLOWED)


def lent() -> Iterator[tuple[str, str]]:
    """Yield the module and name of every call that lends a connection of an engine."""
    for path in ROOT.rglob("*.py"):
        if "migrations" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
                name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
                if name in LENDING:
                    yield str(path.relative_to(ROOT)), name
