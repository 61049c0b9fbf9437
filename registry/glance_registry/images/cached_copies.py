"""Which nodes have copies of which images in their caches. The nodes' files are the truth; this is what they told.

Nothing here decides who may see an image: a node asks for its own copies, and the API asks policy for the rest.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from glance_registry.db.tables import cached_copies

_COLUMNS = cached_copies.c
_TOLD = ("image_id", "size", "modified", "verified", "hits", "accessed", "checksum")
MOST = 100_000
"""Copies of one node that are told, and nodes of one image."""


def of_node(connection: sa.Connection, node: str, image_id: str | None) -> list[dict[str, Any]]:
    """Return the copies of a node, or the one of an image."""
    told = sa.select(*(_COLUMNS[name] for name in _TOLD))
    wanted = told.where(_COLUMNS.node == node).order_by(_COLUMNS.image_id).limit(MOST)
    if image_id is not None:
        wanted = wanted.where(_COLUMNS.image_id == image_id)
    return [dict(zip(_TOLD, row, strict=True)) for row in connection.execute(wanted)]


def nodes(connection: sa.Connection, image_id: str) -> Sequence[str]:
    """Return the nodes that have a copy of an image."""
    wanted = sa.select(_COLUMNS.node).where(_COLUMNS.image_id == image_id).order_by(_COLUMNS.node).limit(MOST)
    return connection.execute(wanted).scalars().all()


def put(connection: sa.Connection, node: str, image_id: str, values: Mapping[str, Any]) -> None:
    """Write the copy of an image in place of what was told of it before."""
    row = insert(cached_copies).values(node=node, image_id=image_id, **values)
    connection.execute(row.on_conflict_do_update(index_elements=["node", "image_id"], set_=dict(values)))


def remove(connection: sa.Connection, node: str, image_id: str) -> None:
    """Forget the copy of an image, if there is one."""
    connection.execute(sa.delete(cached_copies).where(_COLUMNS.node == node, _COLUMNS.image_id == image_id))


def count(connection: sa.Connection, node: str, uses: Sequence[tuple[str, int, float]]) -> list[str]:
    """Add hits and the time of the last one to the copies of a node; return the images of which it has none.

    In the order of the ids, so that two calls never wait for each other in a circle.
    """
    unknown = []
    for image_id, hits, accessed in sorted(uses):
        change = sa.update(cached_copies).where(_COLUMNS.node == node, _COLUMNS.image_id == image_id).values(
            hits=_COLUMNS.hits + hits, accessed=sa.func.greatest(_COLUMNS.accessed, accessed)
        )
        if not connection.execute(change).rowcount:
            unknown.append(image_id)
    return unknown
