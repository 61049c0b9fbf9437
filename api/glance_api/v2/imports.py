"""Views of staging and imports, and of the tasks of an image (API sections 9, 11 and 14.1)."""

from dataclasses import replace
from typing import Any

from flask import Blueprint, Response, request

from glance_api.http.request import (
    answer,
    context,
    credentials,
    http_services,
    json_object,
    media_type,
    services,
    without_body,
    without_policy,
)
from glance_api.http.transfers import OCTETS, body
from glance_api.imports.request import TEXTS, ImportRequest
from glance_api.imports.sources.web_download import MAX_URI
from glance_api.services import forwarding, staging
from glance_api.services import imports as service
from glance_api.services.data import Source
from glance_api.services.forwarding import FORWARDED
from glance_api.services.imports import Proof
from glance_api.v2 import wire
from glance_api.v2.data import SIZE_PARAMETER, STORE_HEADER, STORE_PARAMETER, announced_size
from glance_api.v2.operations import BINARY, Schema, json_of, operation
from glance_common.model.errors import BadRequest, UnsupportedMediaType

blueprint = Blueprint("v2_imports", __name__)

_INFO: Schema = {
    "type": "object",
    "properties": {
        "import-methods": {
            "type": "object",
            "properties": {
                "description": {"type": "string"},
                "type": {"type": "string"},
                "value": {"type": "array", "items": {"type": "string"}},
            },
        },
    },
}
_IMPORT: Schema = {
    "type": "object",
    "properties": {
        "method": {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "uri": {"type": "string", "maxLength": MAX_URI},
                "glance_region": {"type": "string", "maxLength": 255},
                "glance_image_id": {"type": "string", "format": "uuid"},
                "glance_service_interface": {"type": "string", "maxLength": 255},
            },
            "required": ["name"],
        },
        "stores": {"type": "array", "items": {"type": "string"}},
        "all_stores": {"type": "boolean"},
        "all_stores_must_succeed": {"type": "boolean"},
    },
    "required": ["method"],
}
_TASKS: Schema = {"type": "object", "properties": {"tasks": {"type": "array", "items": {"type": "object"}}}}


@blueprint.get("/v2/info/import")
@without_policy("the methods are a fact of the service and tell nothing about any image")
@without_body
@operation(answers={200: json_of(_INFO)})
def info() -> Response:
    """Say which import methods there are."""
    methods = {
        "description": "Import methods available.",
        "type": "array",
        "value": list(services().settings.imports.methods),
    }
    return answer({"import-methods": methods})


@blueprint.put("/v2/images/<image_id>/stage")
@operation(body=BINARY, parameters=(SIZE_PARAMETER,), answers={204: None}, errors=(408, 409, 410, 413, 415))
def stage(image_id: str) -> Response:
    """Keep the body for an import."""
    if media_type() != OCTETS:
        raise UnsupportedMediaType(f"Content-Type must be {OCTETS}")
    announced = announced_size()
    give_back = http_services().permits.take(context().project_id)
    try:
        staging.stage(services(), context(), image_id, Source(body(), announced, credentials=credentials()))
    finally:
        give_back()
    return Response(status=204)


@blueprint.post("/v2/images/<image_id>/import")
@operation(
    body=json_of(_IMPORT), parameters=(STORE_PARAMETER,), answers={202: None}, errors=(409, 410, 502, 504)
)
def begin(image_id: str) -> Response:
    """Import the data of the image in the background."""
    asked = parse(
        json_object(),
        methods=services().settings.imports.methods,
        multi_store=services().settings.multi_store,
        header=request.headers.get(STORE_HEADER),
    )
    headers = request.headers
    proof = Proof(credentials(), FORWARDED in headers)
    node = service.begin(services(), context(), image_id, asked, proof)
    if node is not None:
        forwarding.forward(node, request.path, dict(headers), asked.document)
    return Response(status=202)


@blueprint.get("/v2/images/<image_id>/tasks")
@without_body
@operation(answers={200: json_of(_TASKS)})
def tasks(image_id: str) -> Response:
    """List the tasks of the image."""
    found = service.tasks(services(), context(), image_id)
    return answer({"tasks": [wire.image_task_document(task) for task in found]})


def parse(
    document: dict[str, Any], *, methods: tuple[str, ...], multi_store: bool, header: str | None
) -> ImportRequest:
    """Return the import that a body describes (API section 11.2). Raises BadRequest naming the field.

    Without ``multi_store`` the members and the header that name stores are ignored, as there is one only. Members that
    are not known are ignored too.
    """
    method = document.get("method")
    if not isinstance(method, dict) or not isinstance(method.get("name"), str):
        raise BadRequest("method: must be an object with the name of an import method")
    if method["name"] not in methods:
        raise BadRequest(f"method.name: {method['name'][:80]!r} is not one of {', '.join(methods)}")
    for name, longest in TEXTS.items():
        value = method.get(name, "")
        if not isinstance(value, str):
            raise BadRequest(f"method.{name}: must be a string")
        if len(value) > longest:
            raise BadRequest(f"method.{name}: has at most {longest} characters, these are {len(value)}")
    for name in ("all_stores", "all_stores_must_succeed"):
        if not isinstance(document.get(name, False), bool):
            raise BadRequest(f"{name}: must be true or false")
    stores = document.get("stores", [])
    if not isinstance(stores, list) or not all(isinstance(store, str) for store in stores):
        raise BadRequest("stores: must be a list of store ids")
    if multi_store:
        return ImportRequest.from_document(document, header)
    if not document.get("all_stores_must_succeed", True):
        raise BadRequest("all_stores_must_succeed: can be false only where several stores are configured")
    return replace(ImportRequest.from_document({**document, "stores": []}), all_stores=False)
