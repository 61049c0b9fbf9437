"""The JSON documents of the catalogue, as SQL: PostgreSQL writes the text and the registry passes it through.

The keys are the fields of the values in ``glance_common.model.metadef``.
"""

from typing import Any

import sqlalchemy as sa

from glance_registry.records.documents import time_text

_NAMESPACE = ("namespace", "display_name", "description", "visibility", "protected", "owner")
_TIMES = ("created_at", "updated_at")


def json_of(table: str, plain: tuple[str, ...], more: str = "") -> str:
    """Return SQL for the JSON object of a row: these columns, its times, and ``more`` pairs."""
    pairs = [f"'{column}', {table}.{column}" for column in plain]
    pairs += [f"'{column}', {time_text(f'{table}.{column}')}" for column in _TIMES]
    return f"json_build_object({', '.join(pairs)}{more})"


def array_of(table: str, plain: tuple[str, ...]) -> str:
    """Return SQL for the JSON array of the rows of ``table`` in the row of ``metadef_namespaces``, as made."""
    rows = f"FROM {table} WHERE {table}.namespace_id = metadef_namespaces.id"
    return f"(SELECT coalesce(json_agg({json_of(table, plain)} ORDER BY {table}.id), '[]') {rows})"


def namespace_document(arrays: dict[str, str]) -> sa.ColumnClause[Any]:
    """Return the column that is the document of a row ``metadef_namespaces``; ``arrays``: key → SQL of its content."""
    more = "".join(f", '{key}', {array}" for key, array in arrays.items())
    return sa.literal_column(f"{json_of('metadef_namespaces', _NAMESPACE, more)}::text")
