"""What the OpenAPI document says of a route, declared at its view.

A new route of v2 needs three things, and ``tests/house/test_openapi.py`` says which one is missing:

1. ``@operation(...)`` under the route's decorator; the first line of the view's docstring becomes the summary::

       @blueprint.post("/v2/images/<image_id>/members")
       @operation(body=json_of(NEW_MEMBER), answers={200: json_of("member")}, errors=(409,))
       def create(image_id: str) -> Response:
           \"\"\"Share the image with a project.\"\"\"

   A schema is given by the name under which ``/v2/schemas/<name>`` serves it, or as a JSON schema written out.
   ``answers`` holds every status of success with its body, None for no body. ``errors`` holds only what is special to
   the route: 400, 401, 403, 431 and 503 belong to all of them, 404 to those with a variable path, 413 to those with a
   JSON body.
2. for a variable part of the path that no other route has: a line in ``PATH_PARAMETERS`` below;
3. a schema that is served is added to the ones that ``schemas.install`` builds; it is then in the document too.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

Schema = dict[str, Any]
Content = Mapping[str, str | Schema]
"""Media type → schema of the body: the name of one that is served, or one written out."""

View = TypeVar("View", bound=Callable[..., Any])

BINARY: Content = {"application/octet-stream": {}}


@dataclass(frozen=True, slots=True)
class Parameter:
    """A query parameter or a request header."""

    name: str
    description: str
    schema: Schema = field(default_factory=lambda: {"type": "string"})
    where: Literal["query", "header"] = "query"


@dataclass(frozen=True, slots=True)
class ApiOperation:
    """One method of one path; ``headers`` are those of answers of success, name → description."""

    answers: Mapping[int, Content | None]
    body: Content | None
    parameters: tuple[Parameter, ...]
    headers: Mapping[str, str]
    errors: frozenset[int]


PATH_PARAMETERS: Mapping[str, Schema] = {
    "image_id": {"type": "string", "format": "uuid", "description": "Identifier of the image"},
    "member_id": {"type": "string", "minLength": 1, "maxLength": 255, "description": "Project that is a member"},
    "store_id": {"type": "string", "description": "Identifier of the store"},
    "task_id": {"type": "string", "format": "uuid", "description": "Identifier of the task"},
    "tag": {"type": "string", "minLength": 1, "maxLength": 255, "description": "Tag of the image"},
    "namespace": {"type": "string", "minLength": 1, "maxLength": 80, "description": "Name of the namespace"},
    "property_name": {"type": "string", "minLength": 1, "maxLength": 160, "description": "Name of the property"},
    "object_name": {"type": "string", "minLength": 1, "maxLength": 80, "description": "Name of the object"},
    "tag_name": {"type": "string", "minLength": 1, "maxLength": 80, "description": "Tag of the namespace"},
    "resource_type": {"type": "string", "minLength": 1, "maxLength": 80, "description": "Kind of resources"},
    "metadef": {"type": "string", "description": "What the schema describes", "enum": [
        "namespace", "namespaces", "object", "objects", "property", "properties", "tag", "tags", "resource_type",
        "resource_types",
    ]},
}
"""The variable parts of paths, by their names in the routes."""


def operation(
    *,
    answers: Mapping[int, Content | None],
    body: Content | None = None,
    parameters: Collection[Parameter] = (),
    headers: Mapping[str, str] | None = None,
    errors: Collection[int] = (),
) -> Callable[[View], View]:
    """Declare what a view takes and answers; see the text of this module."""
    declared = ApiOperation(answers, body, tuple(parameters), headers or {}, frozenset(errors))

    def mark(view: View) -> View:
        view.operation = declared  # type: ignore[attr-defined]  # a mark
        return view

    return mark


def json_of(schema: str | Schema) -> Content:
    """Return the content of a JSON body with this schema, by name or written out."""
    return {"application/json": schema}
