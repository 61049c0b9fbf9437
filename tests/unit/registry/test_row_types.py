"""The types of rows: those of the tables, and no two that pass for each other."""

import itertools
import re
from datetime import datetime
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import UUID

import glance_registry
from glance_registry.db import tables
from glance_registry.db.row_types import ImageRow, LocationRow, NamespaceRow, OperationRow

OF_TABLES: dict[type[Any], sa.Table] = {
    ImageRow: tables.images, LocationRow: tables.locations, OperationRow: tables.operations,
}
KINDS: list[tuple[type[Any], type[Any]]] = [
    (UUID, str), (sa.Text, str), (sa.Boolean, bool), (sa.Integer, int), (sa.Float, float), (sa.DateTime, datetime),
    (sa.ARRAY, list), (sa.JSON, dict),
]
"""The types of columns, and of what the driver makes of them."""


@pytest.mark.parametrize("kind", OF_TABLES)
def test_a_row_type_has_the_columns_of_its_table(kind: type[Any]) -> None:
    assert {name: plain(hint) for name, hint in get_type_hints(kind).items()} == {
        column.name: (made_of(column), bool(column.nullable)) for column in OF_TABLES[kind].columns
    }


def test_no_row_of_one_table_passes_for_a_row_of_another() -> None:
    kinds = [*OF_TABLES, NamespaceRow]
    assert not [pair for pair in itertools.permutations(kinds, 2) if issubclass(*pair)]
    for kind in kinds:
        assert not getattr(kind, "_is_protocol", False), "any row would do that has these names"


def test_no_function_takes_a_row_of_any_table() -> None:
    root = Path(glance_registry.__file__).parent
    # What is taken over comes from the tables of another service, in the columns that its release has.
    ours = [path for path in root.rglob("*.py") if path != root / "adopt" / "reading.py"]
    assert not [path for path in ours if re.search(r"\b(sa\.)?Row\[(Any|\*)", path.read_text())]


def plain(hint: Any) -> tuple[type[Any], bool]:
    """Return the class of an annotation and whether None is allowed."""
    kinds = (hint,) if get_origin(hint) in (dict, list, None) else get_args(hint)
    (kind,) = [each for each in kinds if each is not type(None)]
    return get_origin(kind) or kind, type(None) in kinds


def made_of(column: sa.Column[Any]) -> type[Any]:
    """Return the class of the values of a column."""
    return next(made for of_column, made in KINDS if isinstance(column.type, of_column))
