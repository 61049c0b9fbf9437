"""Locations over HTTP: what users register, describe, reorder and take away."""

from typing import Any

from flask import Blueprint, Response

from glance_common.model import errors
from glance_common.model.image import NewLocation
from glance_registry.locations import edit as locations
from glance_registry.operations import hashing as location_imports
from glance_registry.operations import use_cases
from glance_registry.views import parsing
from glance_registry.views.images import columns_of
from glance_registry.views.operations import MAX_TTL, largest_input
from glance_registry.views.parsing import Fields
from glance_registry.views.usage import limits

blueprint = Blueprint("locations", __name__)

DATA = ("size", "checksum", "os_hash_algo", "os_hash_value")


@blueprint.post("/v1/images/<image_id>/locations")
def edit(image_id: str) -> Response:
    """Change locations and fields of an image in one step."""
    body = parsing.body()
    body.only("attempt", "row_version", "changes", "data", "add", "metadata", "remove", "order", "limits", "hashing")
    wanted = locations.Edit(
        attempt=body.uuid("attempt"),
        row_version=body.integer("row_version"),
        changes=columns_of(Fields(body.mapping("changes"), "changes")),
        data=_data(Fields(body.mapping("data"), "data")),
        add=tuple(_new(fields) for fields in body.objects("add")),
        metadata=_metadata(body),
        remove=tuple(body.texts("remove")),
        order=tuple(body.texts("order")),
        limits=limits(body),
        largest=parsing.bounds().image_document,
    )
    document = use_cases.edit_locations(
        parsing.engine(), parsing.caller(), parsing.path_id(image_id), wanted, _hashing(body)
    )
    return parsing.raw_answer(f'{{"image":{document}}}')


def _new(fields: Fields) -> NewLocation:
    fields.only("id", "store", "key", "size", "metadata", "external")
    return NewLocation(
        id=fields.uuid("id"),
        store=fields.text("store"),
        key=fields.text("key", parsing.MAX_KEY),
        size=fields.integer("size"),
        metadata=fields.mapping("metadata"),
        external=fields.boolean("external"),
    )


def _hashing(body: Fields) -> location_imports.Hashing | None:
    if body.values.get("hashing") is None:
        return None
    fields = Fields(body.mapping("hashing"), "hashing")
    fields.only("id", "input", "ttl", "before_active", "is_done")
    is_done = fields.given("is_done") and fields.boolean("is_done")
    if is_done and fields.boolean("before_active"):
        raise errors.BadRequest("hashing: nothing that is done can come before_active", field="hashing.is_done")
    return location_imports.Hashing(
        id=fields.uuid("id"),
        input=fields.mapping("input", largest_input()),
        ttl=fields.integer("ttl", maximum=MAX_TTL),
        before_active=fields.boolean("before_active"),
        is_done=is_done,
    )


def _data(fields: Fields) -> dict[str, Any]:
    fields.only(*DATA)
    values: dict[str, Any] = {name: fields.optional_text(name) for name in DATA[1:] if fields.given(name)}
    return {"size": fields.integer("size"), **values} if fields.given("size") else values


def _metadata(body: Fields) -> dict[str, dict[str, Any]]:
    metadata = body.mapping("metadata")
    if not all(isinstance(value, dict) for value in metadata.values()):
        raise errors.BadRequest("metadata must be an object of objects, by the id of the location", field="metadata")
    return metadata
