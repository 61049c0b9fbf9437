"""Pages of adopted images written into our tables: one transaction a page, which may be repeated.

A row here is written over only as long as nothing but an earlier run wrote it. An adopted image is known by its
``create_attempt``, and ``write_attempt`` says at which row version a run left it: every other write moves the version.
Locations have ids made of what they are there, members carry the mark of their image as their attempt.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import sqlalchemy as sa

from glance_registry.adopt.translation import Translated

_IMAGE_COLUMNS = {
    "id": "uuid", "name": "text", "status": "text", "visibility": "text", "owner": "text", "disk_format": "text",
    "container_format": "text", "size": "bigint", "virtual_size": "bigint", "min_disk": "integer", "min_ram": "integer",
    "protected": "boolean", "os_hidden": "boolean", "checksum": "text", "os_hash_algo": "text", "os_hash_value": "text",
    "properties": "jsonb", "tags": "json", "created_at": "timestamptz", "updated_at": "timestamptz",
    "deleted_at": "timestamptz", "status_before_delete": "text", "delayed": "boolean",
}
_LOCATION_COLUMNS = {
    "id": "uuid", "image_id": "uuid", "store": "text", "key": "text", "status": "text", "size": "bigint",
    "metadata": "jsonb", "external": "boolean", "created_at": "timestamptz", "not_before": "timestamptz",
    "place": "integer",
}
_MEMBER_COLUMNS = {
    "image_id": "uuid", "member": "text", "status": "text", "can_share": "boolean", "image_created_at": "timestamptz",
    "created_at": "timestamptz", "updated_at": "timestamptz",
}


def rows_of(columns: dict[str, str]) -> str:
    """Return the SQL of the parameter ``rows``, a JSON array of objects, as rows called ``r``."""
    typed = ", ".join(f'"{name}" {kind}' for name, kind in columns.items())
    return f"json_to_recordset(CAST(:rows AS json)) AS r({typed})"


def mark(identity: str, version: str) -> str:
    """Return the SQL of the mark of an image at a row version."""
    return f"CAST(md5('adopted ' || {identity} || ' ' || {version}) AS uuid)"


def is_as_adopted(images: str) -> str:
    """Return the SQL condition that nothing but a run wrote the row called ``images``."""
    return (
        f"{images}.create_attempt = {mark(f'{images}.id', '0')}"
        f" AND {images}.write_attempt = {mark(f'{images}.id', f'{images}.row_version')}"
    )


_NAMES = ", ".join(_IMAGE_COLUMNS)
_VALUES = ", ".join(
    "ARRAY(SELECT json_array_elements_text(r.tags))" if name == "tags" else f"r.{name}" for name in _IMAGE_COLUMNS
)
_CHANGING = [name for name in _IMAGE_COLUMNS if name != "id"]
_IMAGES = sa.text(f"""
    INSERT INTO images AS i ({_NAMES}, create_attempt, write_attempt, row_version)
    SELECT {_VALUES}, {mark("r.id", "0")}, {mark("r.id", "1")}, 1 FROM {rows_of(_IMAGE_COLUMNS)} ORDER BY r.id
    ON CONFLICT (id) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in _CHANGING)},
        row_version = i.row_version + 1, write_attempt = {mark("i.id", "(i.row_version + 1)")}
    WHERE {is_as_adopted("i")}
        AND ({", ".join(f"i.{name}" for name in _CHANGING)})
        IS DISTINCT FROM ({", ".join(f"excluded.{name}" for name in _CHANGING)})
    RETURNING CAST(i.id AS text), xmax = 0
""")  # noqa: S608 - names of this file

_MINE = sa.text(
    f"SELECT CAST(id AS text) FROM images i WHERE id = ANY(CAST(:ids AS uuid[])) AND {is_as_adopted('i')}"  # noqa: S608 - names of this file
)

_PURGED = sa.text(f"""
    SELECT CAST(id AS text) FROM images i
    WHERE id = ANY(CAST(:ids AS uuid[])) AND status = 'deleted' AND create_attempt = {mark("id", "0")}
""")  # noqa: S608 - names of this file

_GONE_LOCATIONS = sa.text("""
    UPDATE locations SET status = 'deleted', deleted_at = now(), not_before = NULL
    WHERE image_id = ANY(CAST(:whole AS uuid[])) AND attempt = id AND on_fail IS NULL AND token IS NULL
        AND status IN ('active', 'pending_delete') AND NOT (id = ANY(CAST(:ids AS uuid[])))
""")
_WITH_LOCATIONS = sa.text("""
    SELECT DISTINCT CAST(image_id AS text) FROM locations
    WHERE image_id = ANY(CAST(:ids AS uuid[])) AND attempt = id AND status IN ('active', 'pending_delete')
""")
_OWNED = """
    EXISTS (SELECT FROM locations o WHERE o.store = l.store AND o.key = l.key AND o.id <> l.id
            AND (o.status <> 'deleted' OR o.late_passes > 0) AND NOT o.external)
"""
_CHANGED_LOCATIONS = sa.text(f"""
    UPDATE locations l
    SET status = r.status, size = r.size, metadata = r.metadata, not_before = r.not_before, deleted_at = NULL
    FROM {rows_of(_LOCATION_COLUMNS)}
    WHERE l.id = r.id AND l.token IS NULL AND l.status IN ('active', 'pending_delete', 'deleted')
        AND (l.status, l.size, l.metadata, l.not_before) IS DISTINCT FROM (r.status, r.size, r.metadata, r.not_before)
        AND (l.status <> 'deleted' OR l.external OR NOT {_OWNED})
    RETURNING CAST(l.id AS text)
""")  # noqa: S608 - names of this file
_NEW_LOCATIONS = sa.text(f"""
    INSERT INTO locations (id, image_id, store, key, status, size, metadata, attempt, external, created_at, not_before)
    SELECT r.id, r.image_id, r.store, r.key, r.status, r.size, r.metadata, r.id, r.external, r.created_at, r.not_before
    FROM {rows_of(_LOCATION_COLUMNS)}
    WHERE NOT EXISTS (SELECT FROM locations WHERE locations.id = r.id) ORDER BY r.place
    ON CONFLICT DO NOTHING
    RETURNING CAST(id AS text)
""")  # noqa: S608 - names of this file
_KNOWN_LOCATIONS = sa.text(
    "SELECT CAST(id AS text), token IS NOT NULL OR status <> 'deleted' FROM locations"
    " WHERE id = ANY(CAST(:ids AS uuid[]))"
)
_NOTHING_TO_PURGE = sa.text(f"""
    UPDATE images i
    SET status = 'deleted', row_version = row_version + 1, write_attempt = {mark("id", "(row_version + 1)")}
    WHERE id = ANY(CAST(:ids AS uuid[])) AND status = 'pending_delete'
        AND NOT EXISTS (SELECT FROM locations l WHERE l.image_id = i.id AND l.status <> 'deleted')
""")  # noqa: S608 - names of this file

_GONE_MEMBERS = sa.text(f"""
    DELETE FROM members m WHERE m.image_id = ANY(CAST(:mine AS uuid[])) AND m.attempt = {mark("m.image_id", "0")}
        AND NOT EXISTS (SELECT FROM {rows_of(_MEMBER_COLUMNS)} WHERE r.image_id = m.image_id AND r.member = m.member)
""")  # noqa: S608 - names of this file
_MEMBERS = sa.text(f"""
    INSERT INTO members AS m ({", ".join(_MEMBER_COLUMNS)}, attempt)
    SELECT {", ".join(f"r.{name}" for name in _MEMBER_COLUMNS)}, {mark("r.image_id", "0")}
    FROM {rows_of(_MEMBER_COLUMNS)} ORDER BY r.image_id, r.member
    ON CONFLICT (image_id, member) DO UPDATE
    SET status = excluded.status, can_share = excluded.can_share, updated_at = excluded.updated_at
    WHERE m.attempt = excluded.attempt AND excluded.updated_at >= m.updated_at
        AND (m.status, m.can_share, m.updated_at) IS DISTINCT FROM
            (excluded.status, excluded.can_share, excluded.updated_at)
    RETURNING CAST(image_id AS text), xmax = 0
""")  # noqa: S608 - names of this file


@dataclass(slots=True)
class Written:
    """What a page changed: ids of images and locations, and rows of members by whether they are new.

    ``kept`` are images that were changed here, and stay; ``purged`` are those of them whose data were to be purged, and
    are. ``owned`` are locations whose data belong to another image.
    """

    images: dict[str, bool] = field(default_factory=dict)
    kept: set[str] = field(default_factory=set)
    purged: set[str] = field(default_factory=set)
    locations: dict[str, bool] = field(default_factory=dict)
    owned: set[str] = field(default_factory=set)
    members: list[bool] = field(default_factory=list)


def write_page(connection: sa.Connection, page: Sequence[Translated]) -> Written:
    """Write a page of images with members and locations, and return what that changed."""
    done = Written()
    _let_wait(connection, page)
    ids = [each.image["id"] for each in page]
    done.images = dict(_run(connection, _IMAGES, rows=[each.image for each in page]))
    mine = {row[0] for row in connection.execute(_MINE, {"ids": ids})}
    done.kept = set(ids) - mine
    waiting = [each.image["id"] for each in page if each.image["status"] == "pending_delete"]
    if done.kept and waiting:
        done.purged = {row[0] for row in connection.execute(_PURGED, {"ids": waiting})} & done.kept
        done.kept -= done.purged
    written = [each for each in page if each.image["id"] in mine]
    whole = sorted(each.image["id"] for each in written if not each.is_partial)
    _write_locations(connection, whole, _in_order(written), done)
    members = [row for each in written for row in each.members]
    _run(connection, _GONE_MEMBERS, rows=members, mine=sorted(mine))
    done.members = [row[1] for row in _run(connection, _MEMBERS, rows=members)] if members else []
    if waiting and done.owned:
        connection.execute(_NOTHING_TO_PURGE, {"ids": waiting})
    return done


def _let_wait(connection: sa.Connection, page: Sequence[Translated]) -> None:
    """Let deleted images wait for the purge of the locations that an earlier run brought and this one cannot tell."""
    deleted = {each.image["id"]: each for each in page if each.is_partial and each.image["status"] == "deleted"}
    if deleted:
        for row in connection.execute(_WITH_LOCATIONS, {"ids": sorted(deleted)}):
            deleted[row[0]].image["status"] = "pending_delete"


def _in_order(page: Sequence[Translated]) -> list[dict[str, Any]]:
    """Return the locations of a page, numbered, so that the rows are made in their order."""
    rows = [row for each in page for row in each.locations]
    return [{**row, "place": place} for place, row in enumerate(rows)]


def _write_locations(connection: sa.Connection, whole: list[str], rows: list[dict[str, Any]], done: Written) -> None:
    ids = [row["id"] for row in rows]
    # First, so that a key is free again for what has it now. A location that could not be told is not one that is gone.
    connection.execute(_GONE_LOCATIONS, {"whole": whole, "ids": ids})
    if not rows:
        return
    done.locations = {row[0]: False for row in _run(connection, _CHANGED_LOCATIONS, rows=rows)}
    done.locations |= {row[0]: True for row in _run(connection, _NEW_LOCATIONS, rows=rows)}
    known = {row[0] for row in connection.execute(_KNOWN_LOCATIONS, {"ids": ids}) if row[1]}
    done.owned = set(ids) - known


def _run(connection: sa.Connection, statement: sa.TextClause, **values: Any) -> Any:
    rows = orjson.dumps(values.pop("rows")).decode()
    result = connection.execute(statement, {"rows": rows, **values})
    return result.all() if result.returns_rows else []
