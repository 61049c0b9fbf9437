"""The JSON documents of images, as SQL: PostgreSQL writes the text and the registry passes it through unparsed.

The keys are the fields of ``glance_common.model.image.Image``.
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from glance_common.model import errors
from glance_common.model.context import RequestContext
from glance_registry.db.tables import Text, images
from glance_registry.records.visibility import DELETED, visible_to

TIME_FORMAT = 'YYYY-MM-DD"T"HH24:MI:SS"Z"'
"""Times travel in UTC with whole seconds, as the API shows them."""

_PLAIN = (
    "id", "name", "status", "visibility", "owner", "disk_format", "container_format", "size", "virtual_size",
    "min_disk", "min_ram", "protected", "os_hidden", "checksum", "os_hash_algo", "os_hash_value", "row_version",
    "properties", "tags",
)
_TIMES = ("created_at", "updated_at", "deleted_at")

# A membership has no effect while the image is not shared (lifecycle section 8): only then is there a member to tell.
_MEMBER = (
    "CASE WHEN images.visibility = 'shared' THEN (SELECT m.member FROM members m"
    " WHERE m.image_id = images.id AND m.member = :project) END"
)
_LOCATION = "'id', l.id, 'store', l.store, 'key', l.key, 'metadata', l.metadata"
_LOCATIONS = (
    "(SELECT coalesce(json_agg(json_build_object({location}) ORDER BY l.position), '[]') FROM locations l"
    " WHERE l.image_id = images.id AND l.status = 'active')"
)
_IN_LISTS = _LOCATIONS.format(location=_LOCATION)
_IN_DOCUMENTS = _LOCATIONS.format(location=f"{_LOCATION}, 'fingerprint', l.fingerprint")
"""Data are read of one image: lists leave out what they are verified by."""
# Of the data that the image had at its delete, as ``delete.restore`` looks at them: null once it would refuse.
_RESTORABLE_UNTIL = (
    "(SELECT CASE WHEN bool_and(l.status = 'pending_delete' AND l.not_before > now()) THEN {time} END FROM locations l"
    " WHERE l.image_id = images.id AND l.on_fail IS NULL"
    " AND (l.deleted_at IS NULL OR l.deleted_at > images.deleted_at))"
)
_STATUS = (
    "CASE WHEN images.status = 'pending_delete' AND NOT (images.delayed"
    " AND images.status_before_delete IN ('active', 'deactivated')) THEN 'deleted' ELSE images.status END"
)
SHOWN_STATUS: sa.ColumnElement[str] = sa.literal_column(_STATUS, Text)
"""The status of images where deleted ones are shown: ``pending_delete`` is one whose data are kept for a restore.

Data that only wait for a scrubber are the service's own business: such an image is deleted (lifecycle section 4).
"""
LOCATED = "located"
"""The column of a page that holds the active locations of an image as JSON."""


def time_text(column: str) -> str:
    """Return SQL for the text of a time column."""
    return f"to_char({column} AT TIME ZONE 'UTC', '{TIME_FORMAT}')"


def _columns(member: str, locations: str, deleted: str) -> dict[str, str]:
    """Return the SQL for each field of an image where ``deleted`` ones are shown; ``locations`` is theirs, or empty."""
    columns = {name: f"images.{name}" for name in _PLAIN}
    if deleted != "no":
        columns["status"] = _STATUS
    columns |= {name: time_text(f"images.{name}") for name in _TIMES}
    columns["member"] = member
    if locations:
        columns["locations"] = locations
    if deleted == "restorable":
        columns["restorable_until"] = _RESTORABLE_UNTIL.format(time=time_text("min(l.not_before)"))
    return columns


def _document(columns: dict[str, str]) -> sa.TextClause:
    # A row becomes JSON in 0.7 of the time that json_build_object takes, which looks at the type of every key too.
    row = ", ".join(f"{sql} AS {name}" for name, sql in columns.items())
    return _text(f"(SELECT row_to_json(d)::text FROM (SELECT {row}) d)")  # noqa: S608 - of names above


def _row(columns: dict[str, str]) -> str:
    return f"json_build_array({', '.join(columns.values())})::text"


def _bounded_row(columns: dict[str, str], largest: int) -> sa.TextClause:
    """Return the row as ``image_row`` says, or its size and id when it is larger than ``largest`` bytes."""
    # What is stored as it is cannot be longer in JSON than six times its bytes: a control character is \\u and four
    # digits. So the texts of usual images are not measured.
    is_plain = "pg_column_compression(images.properties) IS NULL AND pg_column_compression(images.tags) IS NULL"
    stored = "pg_column_size(images.properties) + pg_column_size(images.tags)"
    size = "octet_length(images.properties::text) + octet_length(array_to_json(images.tags)::text)"
    if "locations" in columns:
        columns = columns | {"locations": f"images.{LOCATED}"}
        stored += f" + octet_length(images.{LOCATED}::text)"
        size += f" + octet_length(images.{LOCATED}::text)"
    fits = f"({is_plain} AND {stored} <= {largest // 6}) OR {size} <= {largest}"
    return _text(f"CASE WHEN {fits} THEN {_row(columns)} ELSE concat_ws(' ', {size}, images.id) END")


def _text(sql: str) -> sa.TextClause:
    return sa.text(sql.replace(":MI:SS", r"\:MI\:SS"))


def _kinds(located: str) -> dict[tuple[bool, bool, str], dict[str, str]]:
    return {
        (member, locations, deleted): _columns(_MEMBER if member else "NULL", located if locations else "", deleted)
        for member in (True, False) for locations in (True, False) for deleted in DELETED
    }


# Built once: the text never changes and a statement made of it is compiled only once.
_KINDS = _kinds(_IN_LISTS)
_DOCUMENTS = {kind: _document(columns) for kind, columns in _kinds(_IN_DOCUMENTS).items()}
_ROWS = {kind: _text(_row(columns)) for kind, columns in _KINDS.items()}


def image_document(context: RequestContext, locations: bool = False, deleted: str = "no") -> sa.TextClause:
    """Return the column that is the document of the row called ``images``, with active locations when asked.

    ``deleted`` says which deleted images it may be of (``visibility.DELETED``).
    """
    return _for_caller(_DOCUMENTS, context, locations, deleted)


def image_row(context: RequestContext, locations: bool = False, deleted: str = "no") -> sa.TextClause:
    """Return the column that is the JSON array of the values in that document, in the order of ``row_fields``.

    Without the names of the fields, an image of a page costs the database 0.6 of the time, and is half as long.
    """
    return _for_caller(_ROWS, context, locations, deleted)


def bounded_image_row(context: RequestContext, locations: bool, deleted: str, largest: int) -> sa.TextClause:
    """Return the column that is ``image_row`` of an image of at most ``largest`` bytes, else its size and its id.

    The size is what properties, tags and locations take in JSON. An ``image_row`` begins with a bracket. With
    ``locations`` the rows have them in the column ``located``.
    """
    rows = {kind: _bounded_row(columns, largest) for kind, columns in _KINDS.items()}
    return _for_caller(rows, context, locations, deleted)


def located(rows: sa.Subquery) -> sa.Label[Any]:
    """Return the column ``LOCATED`` of ``rows``, which are images under another name."""
    return sa.literal_column(_IN_LISTS.replace("images.id", f"{rows.name}.id")).label(LOCATED)


def row_fields(locations: bool, deleted: str = "no") -> tuple[str, ...]:
    """Return the names of the values of ``image_row``."""
    return tuple(_KINDS[True, locations, deleted])


def new_document() -> sa.TextClause:
    """Return the column that is the document of a row just made: it has no members."""
    return _DOCUMENTS[False, False, "no"]


def _for_caller(
    kinds: dict[tuple[bool, bool, str], sa.TextClause], context: RequestContext, locations: bool, deleted: str
) -> sa.TextClause:
    if context.project_id is None:
        return kinds[False, locations, deleted]
    return kinds[True, locations, deleted].bindparams(project=context.project_id)


def no_image(image_id: str) -> errors.NotFound:
    """Return the error for an image that is absent, deleted or not visible: the same words for all (S-43)."""
    return errors.NotFound(f"No image found with ID {image_id}")


def select_image(
    connection: sa.Connection, context: RequestContext, image_id: str, extra: sa.ColumnElement[Any]
) -> tuple[str, Any]:
    """Return the document of a visible image and the ``extra`` column; raise NotFound for any other."""
    row = connection.execute(
        sa.select(image_document(context), extra)
        .select_from(images)
        .where(images.c.id == image_id, visible_to(context))
    ).first()
    if row is None:
        raise no_image(image_id)
    return row[0], row[1]


def join(documents: Sequence[str]) -> str:
    """Return the JSON array of ``documents``."""
    return f"[{','.join(documents)}]"
