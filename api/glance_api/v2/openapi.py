"""The OpenAPI 3.1 document of v2, made of the routes, of what each view declares (``operations``), and of the schemas
that the service itself serves and checks with.

It is public, as the version documents are: tools load it before they have a token, and it tells nothing about any
image; the names of additional properties in ``schema-image.json`` are all that an operator adds to it.
"""

import inspect
import re
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import orjson
from flask import Blueprint, Flask, Response, current_app, request
from werkzeug.routing import Rule

from glance_api.http import links
from glance_api.http.request import public, services, without_body, without_policy
from glance_api.settings import Settings
from glance_api.v2.operations import PATH_PARAMETERS, ApiOperation, Content, Parameter, Schema, json_of, operation
from glance_api.v2.schemas import all_schemas

blueprint = Blueprint("v2_openapi", __name__)

PREFIX = "/v2/"
ANY_ROUTE = frozenset({400, 401, 403, 431, 503})
"""Errors that every route may answer."""

_EXTENSION = "glance.v2.openapi"
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_VARIABLE = re.compile(r"<(?:[^<>:]+:)?([^<>]+)>")
_ERROR: Schema = {
    "type": "object",
    "properties": {"code": {"type": "string"}, "title": {"type": "string"}, "message": {"type": "string"}},
    "required": ["code", "title", "message"],
}


@blueprint.get("/v2/openapi.json")
@public
@without_policy("describes the API and tells nothing about any image")
@without_body
@operation(answers={200: json_of({"type": "object"})})
def document() -> Response:
    """Describe this API in OpenAPI 3.1."""
    text: bytes = current_app.extensions[_EXTENSION]
    prefix = links.local_path(request.environ, services().settings.public_endpoint, "")
    if prefix:
        # A path among the servers is one on the host that the document came from.
        text = text.replace(_AT_THE_ROOT, _servers(prefix), 1)
    return Response(text, content_type="application/json")


def _servers(address: str) -> bytes:
    return b'"servers":' + orjson.dumps([{"url": address}])


_ROOT = "/"
_AT_THE_ROOT = _servers(_ROOT)


def install(app: Flask, settings: Settings, version: str) -> None:
    """Build the document of ``app``, whose routes are complete now."""
    app.extensions[_EXTENSION] = orjson.dumps(build(app, settings.public_endpoint, version))


def build(app: Flask, base_url: str | None, version: str) -> Schema:
    """Return the document of the routes of ``app``; one that is not declared is left out."""
    schemas = all_schemas(app)
    paths: dict[str, Schema] = {}
    errors: set[int] = set()
    for path, method, rule, view in _routes(app):
        if _flaw(rule, view):
            continue
        described = _operation(rule, view)
        errors |= {int(code) for code in described["responses"] if code >= "400"}
        paths.setdefault(path, {"parameters": _path_parameters(rule)} if rule.arguments else {})[method] = described
    return {
        "openapi": "3.1.0",
        "info": {"title": "Image service", "version": version},
        "servers": [{"url": (base_url or "").rstrip("/") or _ROOT}],
        "paths": paths,
        "components": {
            "schemas": {
                "error": _ERROR,
                **{_component(name): {"type": "object", **_placed(schema, name)} for name, schema in schemas.items()},
            },
            "responses": {f"error{code}": _error_response(code) for code in sorted(errors)},
            "securitySchemes": {"token": {"type": "apiKey", "in": "header", "name": "X-Auth-Token"}},
        },
        "security": [{"token": []}],
    }


def undeclared(app: Flask) -> list[str]:
    """Return what is missing, a sentence for each method of a route that the document leaves out."""
    flaws = ((method, rule, _flaw(rule, view)) for _, method, rule, view in _routes(app))
    return [f"{method.upper()} {rule.rule}: {flaw}" for method, rule, flaw in flaws if flaw]


def _flaw(rule: Rule, view: Any) -> str | None:
    unknown = [name for name in _VARIABLE.findall(rule.rule) if name not in PATH_PARAMETERS]
    if unknown:
        return f"PATH_PARAMETERS does not know {unknown[0]}"
    if not hasattr(view, "operation"):
        return f"{view.__module__}.{view.__name__} has no @operation"
    return None if inspect.getdoc(view) else f"{view.__module__}.{view.__name__} has no docstring"


def _routes(app: Flask) -> Iterator[tuple[str, str, Rule, Any]]:
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: rule.rule):
        if rule.rule.startswith(PREFIX):
            for method in _METHODS:
                if method in (rule.methods or ()):
                    yield _VARIABLE.sub(r"{\1}", rule.rule), method.lower(), rule, app.view_functions[rule.endpoint]


def _path_parameters(rule: Rule) -> list[Schema]:
    parameters = []
    for name in _VARIABLE.findall(rule.rule):
        schema = {key: value for key, value in PATH_PARAMETERS[name].items() if key != "description"}
        description = PATH_PARAMETERS[name]["description"]
        parameters.append({"name": name, "in": "path", "required": True, "description": description, "schema": schema})
    return parameters


def _operation(rule: Rule, view: Any) -> Schema:
    declared: ApiOperation = view.operation
    described: Schema = {
        "operationId": rule.endpoint,
        "summary": (inspect.getdoc(view) or "").partition("\n")[0],
        "tags": [rule.endpoint.partition(".")[0].removeprefix("v2_")],
        "responses": {str(code): _response(code, content, declared) for code, content in declared.answers.items()},
    }
    for code in sorted(_errors(declared, rule)):
        described["responses"][str(code)] = {"$ref": f"#/components/responses/error{code}"}
    if hasattr(view, "public"):
        described["security"] = []
    if declared.parameters:
        described["parameters"] = [_parameter(parameter) for parameter in declared.parameters]
    if declared.body is not None:
        described["requestBody"] = {"required": True, "content": _content(declared.body)}
    return described


def _errors(declared: ApiOperation, rule: Rule) -> frozenset[int]:
    found = set(ANY_ROUTE | declared.errors)
    if rule.arguments:
        found.add(404)
    if any(kind.endswith(("json", "json-patch")) for kind in declared.body or ()):
        found.add(413)
    return frozenset(found)


def _response(code: int, content: Content | None, declared: ApiOperation) -> Schema:
    response: Schema = {"description": HTTPStatus(code).phrase}
    if content is not None:
        response["content"] = _content(content)
    if declared.headers:
        response["headers"] = {
            name: {"description": description, "schema": {"type": "string"}}
            for name, description in declared.headers.items()
        }
    return response


def _content(content: Content) -> Schema:
    return {
        kind: {"schema": {"$ref": f"#/components/schemas/{_component(schema)}"} if isinstance(schema, str) else schema}
        for kind, schema in content.items()
    }


def _component(name: str) -> str:
    return name.replace("/", ".")


def _placed(schema: Schema, name: str) -> Schema:
    """Return the schema with references to its own definitions as they are called from the root of the document."""
    here = f'"#/components/schemas/{_component(name)}/definitions/'
    placed: Schema = orjson.loads(orjson.dumps(schema).replace(b'"#/definitions/', here.encode()))
    return placed


def _parameter(parameter: Parameter) -> Schema:
    return {
        "name": parameter.name,
        "in": parameter.where,
        "description": parameter.description,
        "schema": parameter.schema,
    }


def _error_response(code: int) -> Schema:
    return {
        "description": HTTPStatus(code).phrase,
        "content": {
            "application/json": {"schema": {"$ref": "#/components/schemas/error"}},
            "text/html": {"schema": {"type": "string"}},
            "text/plain": {"schema": {"type": "string"}},
        },
    }
