"""Views of the tasks API (API section 15)."""

import re
from typing import Any, Literal, cast

from flask import Blueprint, Response, request

from glance_api.http.query_string import page_limit, pairs_of
from glance_api.http.request import answer, context, credentials, json_object, made_at, services, without_body
from glance_api.imports.sources.web_download import MAX_URI
from glance_api.services import tasks as service
from glance_api.v2 import fields, wire
from glance_api.v2.operations import Parameter, json_of, operation
from glance_api.v2.schemas import image_schema
from glance_common.model.errors import BadRequest
from glance_common.model.operation import OperationKind
from glance_common.model.status import OperationStatus
from glance_common.registry_client.operations import OperationQuery

blueprint = Blueprint("v2_tasks", __name__)

SORT_KEYS = {
    "created_at": "created_at", "updated_at": "updated_at", "expires_at": "expires_at", "id": "id", "type": "kind",
    "status": "status", "owner": "owner",
}
"""Sort key of the API → of the registry."""

_INPUT_TEXTS = {"import_from": MAX_URI, "import_from_format": 255}
"""Texts of the input, and how many characters they have at most (S-59)."""
_UUID = re.compile(fields.UUID_PATTERN)

_NEW_TASK: fields.Schema = {
    "type": "object",
    "properties": {
        "type": {"type": "string", "enum": [OperationKind.IMPORT]},
        "input": {
            "type": "object",
            "properties": {
                **{
                    name: {"type": "string", "minLength": 1, "maxLength": longest}
                    for name, longest in _INPUT_TEXTS.items()
                },
                "image_properties": {"type": "object"},
            },
            "required": ["import_from", "import_from_format", "image_properties"],
        },
    },
    "required": ["type", "input"],
}
_LIST_PARAMETERS = (
    Parameter("limit", "Tasks on the page", {"type": "integer", "minimum": 0}),
    Parameter("marker", "Id of the last task of the page before"),
    Parameter("sort_key", "What to sort by", {"type": "string", "enum": list(SORT_KEYS)}),
    Parameter("sort_dir", "Which way", {"type": "string", "enum": ["asc", "desc"]}),
    Parameter("status", "Only tasks with this status", {"type": "string", "enum": list(OperationStatus)}),
    Parameter("type", "Only tasks of this type", {"type": "string", "enum": [OperationKind.IMPORT]}),
)


@blueprint.post("/v2/tasks")
@operation(
    body=json_of(_NEW_TASK), answers={201: json_of("task")}, headers={"Location": "Path of the task"}
)
def create() -> Response:
    """Make a task."""
    document = json_object()
    service.check_create(services(), context())
    task = service.create(services(), context(), parse_new(document), credentials())
    made_at(f"/v2/tasks/{task.id}")
    return answer(wire.task_document(task), 201)


@blueprint.get("/v2/tasks")
@operation(parameters=_LIST_PARAMETERS, answers={200: json_of("tasks")}, errors=(404,))
def index() -> Response:
    """List tasks, one page at a time."""
    settings = services().settings
    pairs = pairs_of(request.environ.get("QUERY_STRING", ""))
    query = parse_list(dict(pairs), settings.limit_param_default, settings.api_limit_max)
    page = service.list_tasks(services(), context(), query)
    kept = [pair for pair in pairs if pair[0] != "marker"]
    document: dict[str, Any] = {
        "tasks": [wire.task_stub(task) for task in page.tasks],
        "first": wire.link("/v2/tasks", kept),
        "schema": "/v2/schemas/tasks",
    }
    if page.next_marker is not None:
        document["next"] = wire.link("/v2/tasks", [*kept, ("marker", page.next_marker)])
    return answer(document)


@blueprint.get("/v2/tasks/<task_id>")
@without_body
@operation(answers={200: json_of("task")})
def show(task_id: str) -> Response:
    """Show one task."""
    return answer(wire.task_document(service.show(services(), context(), task_id)))


def parse_new(document: dict[str, Any]) -> dict[str, Any]:
    """Return the input of a new import task. Raises BadRequest, Forbidden for fields of an image that are read-only."""
    if document.get("type") != OperationKind.IMPORT:
        raise BadRequest(f"type: must be {OperationKind.IMPORT}, the only kind of task that can be created")
    task_input = document.get("input")
    if not isinstance(task_input, dict):
        raise BadRequest("input: must be an object")
    for name, longest in _INPUT_TEXTS.items():
        value = task_input.get(name)
        if not isinstance(value, str) or not value:
            raise BadRequest(f"input.{name}: must be given as a string")
        if len(value) > longest:
            raise BadRequest(f"input.{name}: has at most {longest} characters, these are {len(value)}")
    properties = task_input.get("image_properties")
    if not isinstance(properties, dict):
        raise BadRequest("input.image_properties: must be an object")
    if "id" in properties:
        raise BadRequest("input.image_properties.id: the image gets an id of its own")
    for name in ("disk_format", "container_format") if properties else ():
        if not properties.get(name):
            raise BadRequest(f"input.image_properties.{name}: must be set when there are any properties")
    # The image is made later; a wrong description is refused now.
    wire.new_image(properties, image_schema())
    return {**{name: task_input[name] for name in _INPUT_TEXTS}, "image_properties": properties}


def parse_list(parameters: dict[str, str], default_limit: int, max_limit: int) -> OperationQuery:
    """Return the list that the parameters ask for. Raises BadRequest naming the parameter."""
    marker = parameters.get("marker")
    if marker is not None and _UUID.fullmatch(marker) is None:
        raise BadRequest("marker: must be the id of a task, a UUID")
    sort_key, sort_dir = parameters.get("sort_key", "created_at"), parameters.get("sort_dir", "desc")
    if sort_key not in SORT_KEYS:
        raise BadRequest(f"sort_key: must be one of {', '.join(SORT_KEYS)}")
    if sort_dir not in ("asc", "desc"):
        raise BadRequest("sort_dir: must be asc or desc")
    kind, status = parameters.get("type"), parameters.get("status")
    if kind not in (None, OperationKind.IMPORT):
        raise BadRequest(f"type: must be {OperationKind.IMPORT}")
    if status is not None and status not in set(OperationStatus):
        raise BadRequest(f"status: must be one of {', '.join(OperationStatus)}")
    return OperationQuery(
        limit=page_limit(parameters.get("limit"), default_limit, max_limit),
        marker=marker,
        sort_key=SORT_KEYS[sort_key],
        sort_dir=cast(Literal["asc", "desc"], sort_dir),
        kind=OperationKind.IMPORT if kind else None,
        status=OperationStatus(status) if status else None,
    )
