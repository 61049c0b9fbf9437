"""Views of the stores (API section 14.1)."""

from typing import Any

from flask import Blueprint, Response

from glance_api.http.request import answer, context, services, without_body, without_policy
from glance_api.services import stores as service
from glance_api.services.stores import StoreInfo
from glance_api.v2.operations import Schema, json_of, operation

blueprint = Blueprint("v2_stores", __name__)

_TEXT: Schema = {"type": "string"}
_INFO: Schema = {"id": _TEXT, "description": _TEXT, "default": _TEXT, "read-only": _TEXT}
_DETAIL: Schema = {**_INFO, "type": _TEXT, "weight": {"type": "integer"}, "properties": {"type": "object"}}


def _list_of(properties: Schema) -> Schema:
    store = {"type": "object", "properties": properties, "required": ["id"]}
    return {"type": "object", "properties": {"stores": {"type": "array", "items": store}}, "required": ["stores"]}


@blueprint.get("/v2/info/stores")
@without_policy("every caller may know the ids that an upload can name")
@without_body
@operation(answers={200: json_of(_list_of(_INFO))}, errors=(404,))
def index() -> Response:
    """List the stores."""
    return answer({"stores": [_info(each) for each in service.info(services())]})


@blueprint.get("/v2/info/stores/detail")
@without_body
@operation(answers={200: json_of(_list_of(_DETAIL))}, errors=(404,))
def detail() -> Response:
    """List the stores and how they are set up."""
    return answer({"stores": [_info(each) | _setup(each) for each in service.detail(services(), context())]})


@blueprint.delete("/v2/stores/<store_id>/<image_id>")
@without_body
@operation(answers={204: None}, errors=(409,))
def delete(store_id: str, image_id: str) -> Response:
    """Delete the copy of an image in one store."""
    service.delete_copy(services(), context(), store_id, image_id)
    return Response(status=204)


def _info(info: StoreInfo) -> dict[str, Any]:
    store = info.store
    document = {"id": store.id}
    if store.description:
        document["description"] = store.description
    if info.is_default:
        document["default"] = "true"
    if not store.capabilities.add:
        document["read-only"] = "true"
    return document


def _setup(info: StoreInfo) -> dict[str, Any]:
    return {"type": info.store.kind, "weight": info.store.weight, "properties": info.store.details()}
