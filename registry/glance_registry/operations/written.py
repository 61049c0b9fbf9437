"""What a worker wrote to the image of its operation beside the data: kept, so that a failure takes it back.

Formats and properties may come with the data, or a plugin makes them. When the data do not stay, they go too, whichever
process finds out that the operation failed. What the owner wrote meanwhile stays.
"""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from glance_common.model import property_names
from glance_registry.db.row_types import ImageRow, OperationRow
from glance_registry.db.tables import operations

FORMATS = ("disk_format", "container_format")


def note(
    connection: sa.Connection, row: OperationRow, image: ImageRow, changes: Mapping[str, Any],
    properties: Mapping[str, str | None],
) -> None:
    """Keep what a locked image has before ``changes`` and ``properties`` are written to it, and what these are."""
    written = {
        "formats": _noted(row.written.get("formats", {}), _formats(image), changes, FORMATS),
        "properties": _noted(
            row.written.get("properties", {}), image.properties, properties, set(properties) - property_names.OWN
        ),
    }
    if written != row.written:
        connection.execute(sa.update(operations).where(operations.c.id == row.id).values(written=written))


def _noted(
    known: Mapping[str, list[Any]], now: Mapping[str, Any], wanted: Mapping[str, Any], names: Any
) -> dict[str, list[Any]]:
    noted = dict(known)
    for name in names:
        if name in wanted:
            before, after = noted.get(name, (None, None))
            # Of several writes the value before the first counts, unless the owner wrote in between.
            is_ours = name in noted and now.get(name) == after
            noted[name] = [before if is_ours else now.get(name), wanted[name]]
    return noted


def taken_back(row: OperationRow, image: ImageRow, properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of a locked image without what the operation wrote; ``properties`` are those to begin with."""
    columns: dict[str, Any] = dict(_restored(row.written.get("formats", {}), _formats(image)))
    kept = {**properties, **_restored(row.written.get("properties", {}), properties)}
    return columns | {"properties": {name: value for name, value in kept.items() if value is not None}}


def _restored(noted: Mapping[str, list[Any]], now: Mapping[str, Any]) -> dict[str, Any]:
    return {name: before for name, (before, after) in noted.items() if now.get(name) == after}


def _formats(image: ImageRow) -> dict[str, Any]:
    return {name: getattr(image, name) for name in FORMATS}
