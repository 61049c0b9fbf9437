"""The bound of an image document, kept by every write of what clients put into it (S-59).

A write takes the lock of the image, so that two writes at the same time which fit each by itself do not both pass when
they do not fit together. A change that makes a document smaller is allowed however large it is still, so that what was
written under another bound can be mended. What the service itself notes in properties during an import is not refused.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from glance_common.model import document_size
from glance_registry.db.prepared import Prepared
from glance_registry.db.tables import Text, images, locations

_COUNTED: Mapping[str, Callable[[Any], int]] = {
    "name": document_size.of_name,
    "properties": document_size.of_properties,
    "tags": document_size.of_tags,
}
"""The columns of an image that count, and what values of them take."""


@dataclass(frozen=True, slots=True)
class Size:
    """What a document takes in all, and what ``locations`` take of it; bytes."""

    total: int
    locations: int


def counts(changes: Mapping[str, Any]) -> bool:
    """Tell whether ``changes`` (columns) can make a document larger."""
    return bool(changes.keys() & _COUNTED.keys())


def check_new(values: Mapping[str, Any], largest: int) -> None:
    """Raise TooLarge for a new image of ``values`` (columns) that takes more than ``largest`` bytes."""
    size = sum(of_value(values[name]) for name, of_value in _COUNTED.items() if name in values)
    if size > largest:
        raise document_size.too_large(size, largest)


def lock(connection: sa.Connection, image_id: str) -> Size:
    """Keep others from writing to an image until the transaction ends, and return what its document takes."""
    # Two statements: what the first one waited for is seen by the second. One round trip.
    return _size(_read().run(connection, {"image_id": image_id}, after=_lock()))


def read(connection: sa.Connection, image_id: str) -> Size:
    """Return what the document of an image takes, which the caller has locked."""
    return _size(_read().run(connection, {"image_id": image_id}))


def _size(rows: list[tuple[int, int]]) -> Size:
    return Size(*map(int, rows[0])) if rows else Size(0, 0)


def check_growth(connection: sa.Connection, image_id: str, before: Size, largest: int) -> None:
    """Raise TooLarge when this transaction made the document of a locked image too large."""
    size = read(connection, image_id).total
    if size > max(largest, before.total):
        raise document_size.too_large(size, largest)


def check_written(connection: sa.Connection, image_id: str, before: Size, document: str, largest: int) -> None:
    """As ``check_growth`` for a transaction that left the locations alone; ``document`` is the image as it is now."""
    # All that counts is in it, and more: mostly that is enough to know.
    if len(document.encode()) + before.locations > largest:
        check_growth(connection, image_id, before, largest)


@lru_cache(maxsize=1)
def _lock() -> Prepared[tuple[str]]:
    return Prepared(_of_image(images.c.id).with_for_update(key_share=True, of=images))


@lru_cache(maxsize=1)
def _read() -> Prepared[tuple[int, int]]:
    located = _of_locations()
    total = (
        sa.func.octet_length(sa.func.coalesce(images.c.name, sa.literal_column("''")))
        + sa.func.octet_length(sa.cast(images.c.properties, Text))
        + sa.func.octet_length(sa.cast(sa.func.array_to_json(images.c.tags), Text))
        + located
    )
    return Prepared(_of_image(total, located))


def _of_image(*columns: sa.ColumnElement[Any]) -> sa.Select[Any]:
    return sa.select(*columns).select_from(images).where(images.c.id == sa.bindparam("image_id"))


def _of_locations() -> sa.ColumnElement[Any]:
    """Return the bytes of keys and metadata of the active locations of a row."""
    size = sa.func.octet_length(locations.c.key) + sa.func.octet_length(sa.cast(locations.c.metadata, Text))
    is_shown = sa.and_(locations.c.image_id == images.c.id, locations.c.status == sa.literal_column("'active'"))
    all_of_them = sa.func.coalesce(sa.func.sum(size), sa.literal_column("0"))
    return sa.select(all_of_them).where(is_shown).correlate(images).scalar_subquery()
