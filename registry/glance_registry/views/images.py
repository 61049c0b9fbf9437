"""Images over HTTP (docs/registry-protocol.md)."""

from collections.abc import Collection
from typing import Any

import orjson
from flask import Blueprint, Response, request

from glance_common.model import errors, property_names
from glance_common.model.image import BASE_VISIBILITIES
from glance_common.model.image_merge import ImageMerge
from glance_common.model.status import ImageStatus
from glance_registry.images import crud, listing, merging, use_cases
from glance_registry.images.filters import Filter
from glance_registry.records.documents import join, row_fields
from glance_registry.records.visibility import DELETED
from glance_registry.views import parsing
from glance_registry.views.parsing import Fields
from glance_registry.views.usage import limits

blueprint = Blueprint("images", __name__)

MAX_INT = 2**31 - 1
TEXTS = ("name", "owner", "disk_format", "container_format")
NUMBERS = ("min_disk", "min_ram")
FLAGS = ("protected", "os_hidden")
SEEN = ("owner", "status", "visibility", "disk_format", "container_format", *FLAGS)
"""What a merged change may rest on."""
COLUMNS = (*TEXTS, *NUMBERS, *FLAGS, "visibility", "properties", "tags")
"""What a client may write: never status, sizes or digests (S-15, S-64)."""
_FIELDS = {
    (locations, deleted): orjson.dumps(row_fields(locations, deleted)).decode()
    for locations in (True, False) for deleted in DELETED
}


@blueprint.post("/v1/images/search")
def search() -> Response:
    """Answer a page of images.

    The query is the body: in an address each of its quotes and commas would be three characters to write and to read.
    """
    query = _query(parsing.body())
    page = use_cases.search(parsing.engine(), parsing.caller(), query, parsing.bounds().page)
    more = "true" if page.has_more else "false"
    fields = _FIELDS[query.locations, query.deleted]
    return parsing.raw_answer(f'{{"fields":{fields},"images":{join(page.rows)},"more":{more}}}')


@blueprint.post("/v1/images")
def create() -> Response:
    """Make an image; 200 instead of 201 when this attempt made it already."""
    body = parsing.body()
    body.only("attempt", "image", "limits")
    image = Fields(body.mapping("image"), "image")
    image.only("id", *COLUMNS)
    values = {"id": image.uuid("id"), **_columns(image)}
    document, made = use_cases.create(
        parsing.engine(), parsing.caller(), body.uuid("attempt"), values, limits(body),
        parsing.bounds().image_document,
    )
    return _image(document, 201 if made else 200)


@blueprint.get("/v1/images/<image_id>")
def show(image_id: str) -> Response:
    """Answer one image."""
    args = request.args
    asked = {name: name in args and args[name] == "1" for name in ("locations", "deleted")}
    return _image(use_cases.show(parsing.engine(), parsing.caller(), parsing.path_id(image_id), **asked))


@blueprint.patch("/v1/images/<image_id>")
def update(image_id: str) -> Response:
    """Change columns of an image."""
    body = parsing.body()
    body.only("attempt", "row_version", "changes", "limits")
    changes = Fields(body.mapping("changes"), "changes")
    wanted = crud.Update(
        body.uuid("attempt"), body.integer("row_version"), columns_of(changes), limits(body),
        parsing.bounds().image_document,
    )
    return _image(use_cases.update(parsing.engine(), parsing.caller(), parsing.path_id(image_id), wanted))


@blueprint.post("/v1/images/<image_id>/merge")
def merge(image_id: str) -> Response:
    """Change what the request names, whatever else others change."""
    body = parsing.body()
    body.only("attempt", "merge")
    wanted = _merge(Fields(body.mapping("merge"), "merge"))
    change = merging.Merge(body.uuid("attempt"), wanted, parsing.bounds().image_document)
    return _image(use_cases.merge(parsing.engine(), parsing.caller(), parsing.path_id(image_id), change))


def _merge(fields: Fields) -> ImageMerge:
    """Return the change; raises BadRequest, and Forbidden for a reserved property (S-47)."""
    fields.only("fields", "seen", "set_properties", "remove_properties", "present", "most_properties")
    changes = Fields(fields.mapping("fields"), "fields")
    changes.only(*(column for column in COLUMNS if column not in ("owner", "properties")))
    seen = Fields(fields.mapping("seen"), "seen")
    seen.only(*SEEN)
    removed = fields.texts("remove_properties")
    for name in removed:
        property_names.check(name)
    return ImageMerge(
        fields=_columns(changes),
        seen=seen.values,
        set_properties=_properties(fields, "set_properties"),
        remove_properties=removed,
        present=fields.texts("present"),
        most_properties=fields.integer("most_properties", minimum=-1),
    )


@blueprint.post("/v1/images/<image_id>/status")
def set_status(image_id: str) -> Response:
    """Move an image from one of some statuses to another."""
    body = parsing.body()
    body.only("attempt", "from", "to")
    known = tuple(ImageStatus)
    sources = body.texts("from")
    if not sources or not set(sources) <= set(known):
        raise errors.BadRequest(f"from must be a list of statuses: {', '.join(known)}", field="from")
    document = use_cases.set_status(
        parsing.engine(), parsing.caller(), parsing.path_id(image_id), body.uuid("attempt"),
        [ImageStatus(source) for source in sources], ImageStatus(body.choice("to", known)),
    )
    return _image(document)


def _query(q: Fields) -> listing.ListingQuery:
    """Return what the list asks for; a field of the wrong kind is a BadRequest."""
    q.only(
        "limit", "marker", "sort", "filters", "properties", "tags", "visibility", "member_status", "os_hidden",
        "locations", "deleted",
    )
    given: dict[str, Any] = {"limit": parsing.page_rows(q)}
    if q.values.get("marker") is not None:
        given["marker"] = q.uuid("marker")
    if q.given("sort"):
        given["sort"] = tuple(_rows(q, "sort", 2))
    if q.given("filters"):
        given["filters"] = tuple(Filter(*row) for row in _rows(q, "filters", 3))
    if q.given("tags"):
        given["tags"] = q.texts("tags")
    given |= {name: q.text(name) for name in ("visibility", "member_status") if q.values.get(name) is not None}
    if q.values.get("deleted") is not None:
        given["deleted"] = q.choice("deleted", tuple(DELETED))
    given |= {name: q.boolean(name) for name in ("os_hidden", "locations") if q.given(name)}
    return listing.ListingQuery(properties=q.mapping("properties"), **given)


def _rows(fields: Fields, name: str, width: int) -> list[tuple[Any, ...]]:
    rows = fields.values[name]
    if not isinstance(rows, list) or not all(isinstance(row, list) and len(row) == width for row in rows):
        raise errors.BadRequest(f"{name} must be a list of lists of {width}", field=name)
    return [tuple(row) for row in rows]


def columns_of(changes: Fields) -> dict[str, Any]:
    """Return the columns that an update changes, each checked; BadRequest for any other field.

    The service's own properties may come along, as the caller read them: they stay as they are in the row.
    """
    changes.only(*COLUMNS)
    return _columns(changes, ignored=property_names.OWN)


def _columns(fields: Fields, ignored: Collection[str] = ()) -> dict[str, Any]:
    """Return the columns that are given, each checked."""
    values: dict[str, Any] = {name: fields.optional_text(name) for name in TEXTS if fields.given(name)}
    values |= {name: fields.integer(name, maximum=MAX_INT) for name in NUMBERS if fields.given(name)}
    values |= {name: fields.boolean(name) for name in FLAGS if fields.given(name)}
    if fields.given("visibility"):
        values["visibility"] = fields.choice("visibility", BASE_VISIBILITIES)
    if fields.given("properties"):
        values["properties"] = properties_of(fields, ignored)
    if fields.given("tags"):
        values["tags"] = list(dict.fromkeys(fields.texts("tags")))
    return values


def properties_of(
    fields: Fields, ignored: Collection[str] = (), allowed: Collection[str] = ()
) -> dict[str, str | None]:
    """Return the field ``properties`` without those ``ignored``, checked; absent means empty.

    Raises BadRequest, Forbidden for a reserved name that is not ``allowed``: the API refuses it before, and this is the
    last guard (S-47).
    """
    return _properties(fields, "properties", ignored, allowed)


def _properties(
    fields: Fields, field: str, ignored: Collection[str] = (), allowed: Collection[str] = ()
) -> dict[str, str | None]:
    given = fields.mapping(field)
    properties = {name: value for name, value in given.items() if name not in ignored} if ignored else given
    for name, value in properties.items():
        if name not in allowed:
            property_names.check(name)
        if value is not None and not isinstance(value, str):
            raise errors.BadRequest(f"{field}: {name} must be a text or null", field=field)
    return properties


def _image(document: str, status: int = 200) -> Response:
    return parsing.raw_answer(f'{{"image":{document}}}', status)
