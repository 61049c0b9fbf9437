"""The JSON schemas: served to clients (API section 17), and used to check what they send."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
from flask import Blueprint, Flask, Response, current_app
from jsonschema import Draft4Validator
from jsonschema.exceptions import SchemaError, ValidationError, best_match

from glance_api.http.request import without_body, without_policy
from glance_api.settings import Settings
from glance_api.v2 import fields
from glance_api.v2.operations import View, json_of, operation
from glance_common.config.loading import ConfigError
from glance_common.model.errors import BadRequest
from glance_common.model.property_names import MAX_NAME, is_allowed
from glance_common.model.schema_errors import sentence, shortened

blueprint = Blueprint("v2_schemas", __name__)

_EXTENSION = "glance.v2.schemas"
_MOST_ERRORS = 50
"""Errors of one value that are compared for the best to tell."""


@dataclass(frozen=True, slots=True)
class CustomProperties:
    """What ``schema-image.json`` adds to the image schema."""

    properties: Mapping[str, fields.Schema]
    required: tuple[str, ...] = ()


class ImageSchema:
    """The image schema of this installation, and the checks that follow from it."""

    def __init__(self, settings: Settings, custom: CustomProperties) -> None:
        self._base = fields.base(settings)
        self._custom = custom.properties
        self._is_open = settings.allow_additional_image_properties
        self.required = custom.required
        properties = {**self._base, **{name: {**rule, "is_base": False} for name, rule in custom.properties.items()}}
        self._single = {name: Draft4Validator(rule) for name, rule in {**self._base, **self._custom}.items()}
        self._tag = Draft4Validator(self._base["tags"]["items"])
        self.nullable = frozenset(custom.properties)
        self.document = _image_document(properties, self._is_open, custom.required)
        self.new_document = _new_image_document(properties, self.document)

    def is_base(self, name: str) -> bool:
        """Say whether ``name`` is a field of every image and no additional property."""
        return name in self._base

    def check_image(self, document: Mapping[str, Any]) -> None:
        """Raise BadRequest, naming the field and the rule, unless ``document`` is a valid new image.

        Field by field up to the first that is wrong: the library would go through all of a million (S-59).
        """
        for name in self.required:
            if name not in document:
                raise BadRequest(f"{name!r} is a required property")
        for name, value in document.items():
            self.check_value(name, value)

    def check_value(self, name: str, value: Any) -> None:
        """Raise BadRequest unless ``value`` may be the value of the field or property ``name``."""
        validator = self._single.get(name)
        if validator is None:
            self._check_additional(name, value)
        elif name == "tags" and isinstance(value, list):
            self._check_tags(value)
        else:
            if name in self._custom:
                # Before a pattern of the operator's file sees it.
                _check_length(name, value)
            check(validator, value, name)

    def _check_additional(self, name: str, value: Any) -> None:
        where = _shortened(name) or '""'
        if not self._is_open:
            raise BadRequest(f"{where}: additional properties are not allowed")
        if not isinstance(value, str):
            raise BadRequest(f"{where}: must be string")
        _check_length(where, value)

    def _check_tags(self, tags: list[Any]) -> None:
        """Check a list of tags, of which there may be very many before their quota is asked."""
        for number, tag in enumerate(tags):
            if not isinstance(tag, str) or len(tag) > fields.MAX_TAG:
                check(self._tag, tag, f"tags.{number}")


@dataclass(frozen=True, slots=True)
class _Schemas:
    """The schemas of one application, and the texts of them that are served."""

    image: ImageSchema
    documents: Mapping[str, fields.Schema]
    texts: Mapping[str, bytes]


def _check_length(name: str, value: Any) -> None:
    if isinstance(value, str) and len(value) > fields.MAX_VALUE:
        raise BadRequest(f"{name}: longer than {fields.MAX_VALUE} characters")


def check(validator: Draft4Validator, value: Any, name: str) -> None:
    """Raise BadRequest, naming the field and the rule, unless ``value`` is valid; ``name`` is what the value is of."""
    error = best_match(islice(validator.iter_errors(value), _MOST_ERRORS))
    if error is not None:
        raise BadRequest(_sentence(error, name))


def _sentence(error: ValidationError, name: str) -> str:
    where = _shortened(".".join([*filter(None, [name]), *map(str, error.absolute_path)]))
    text = sentence(error)
    return f"{where}: {text}" if where else text


def _shortened(text: str) -> str:
    return shortened(text, 300)


def _image_document(properties: Mapping[str, fields.Schema], is_open: bool, required: tuple[str, ...]) -> fields.Schema:
    document: fields.Schema = {
        "name": "image",
        "properties": dict(properties),
        "additionalProperties": {"type": "string"} if is_open else False,
        "links": [
            {"rel": "self", "href": "{self}"},
            {"rel": "enclosure", "href": "{file}"},
            {"rel": "describedby", "href": "{schema}"},
        ],
    }
    if required:
        document["required"] = list(required)
    return document


def _new_image_document(properties: Mapping[str, fields.Schema], image: fields.Schema) -> fields.Schema:
    """Return what of the image schema a client may send."""
    others = fields.NAMES - set(fields.WRITABLE)
    document = {**image, "properties": {name: rule for name, rule in properties.items() if name not in others}}
    document["propertyNames"] = {"minLength": 1, "maxLength": MAX_NAME}
    return {name: rule for name, rule in document.items() if name not in ("name", "links")}


def _collection(name: str, item: fields.Schema, paged: bool) -> fields.Schema:
    properties: fields.Schema = {name: {"type": "array", "items": item}, "schema": {"type": "string"}}
    links = [{"rel": "describedby", "href": "{schema}"}]
    if paged:
        properties |= {"first": {"type": "string"}, "next": {"type": "string"}}
        links += [{"rel": "first", "href": "{first}"}, {"rel": "next", "href": "{next}"}]
    return {"name": name, "properties": properties, "links": links}


def read_custom(path: str | None) -> CustomProperties:
    """Return what the file adds to the image schema: an object of properties, or its extended form.

    Without a file there are none. Raises ConfigError for a file that is not what it must be.
    """
    if path is None:
        return CustomProperties({})
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise _refusal(path, f"cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise _refusal(path, f"is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise _refusal(path, "must be a JSON object")
    properties, required = content, []
    if isinstance(content.get("properties"), dict) and content.keys() <= {"properties", "required"}:
        properties, required = content["properties"], content.get("required", [])
    if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
        raise _refusal(path, "required must be a list of names")
    for name, rule in properties.items():
        _check_custom(path, name, rule)
    return CustomProperties(properties, tuple(required))


def _check_custom(path: str, name: str, rule: Any) -> None:
    if name not in fields.NAMES and not is_allowed(name):
        raise _refusal(path, f"{name} is no name of a property, or reserved")
    try:
        Draft4Validator.check_schema(rule)
    except SchemaError as error:
        raise _refusal(path, f"{name} is not a JSON schema: {error.message}") from None
    kinds = rule.get("type") or "unset"
    if name not in fields.NAMES and not set([kinds] if isinstance(kinds, str) else kinds) <= {"string", "null"}:
        raise _refusal(path, f"{name}: type must be string, null or both, because properties are text")


def _refusal(path: str, reason: str) -> ConfigError:
    return ConfigError("DEFAULT", "schema_image_file", path, reason)


def build(settings: Settings) -> ImageSchema:
    """Return the image schema with the properties of ``schema-image.json``.

    Raises ConfigError when one has the name of a base field and differs from it (configuration section 7).
    """
    custom = read_custom(settings.schema_image_file)
    known = fields.base(settings)
    for name, rule in custom.properties.items():
        if name in known and known[name] != rule:
            reason = f"{name} is a field of every image and cannot be redefined"
            raise _refusal(settings.schema_image_file or "", reason)
    own = {name: rule for name, rule in custom.properties.items() if name not in known}
    return ImageSchema(settings, CustomProperties(own, custom.required))


def install(app: Flask, settings: Settings, others: Mapping[str, fields.Schema]) -> None:
    """Build the schemas of ``app`` once, and keep ``others``, which no option changes. Raises ConfigError."""
    image = build(settings)
    member: fields.Schema = {"name": "member", "properties": dict(fields.MEMBER)}
    task: fields.Schema = {"name": "task", "properties": dict(fields.TASK)}
    schemas = {
        "image": image.document,
        "new_image": image.new_document,
        "images": _collection("images", image.document, paged=True),
        "member": member,
        "members": _collection("members", member, paged=False),
        "task": task,
        "tasks": _collection("tasks", {"name": "task", "properties": dict(fields.TASK_STUB)}, paged=True),
        **others,
    }
    app.extensions[_EXTENSION] = _Schemas(image, schemas, {name: orjson.dumps(it) for name, it in schemas.items()})


def all_schemas(app: Flask) -> Mapping[str, fields.Schema]:
    """Return the schemas of ``app`` by name: those that are served, and the parts that clients may send."""
    installed: _Schemas = app.extensions[_EXTENSION]
    return installed.documents


def image_schema() -> ImageSchema:
    """Return the image schema of the current application."""
    installed: _Schemas = current_app.extensions[_EXTENSION]
    return installed.image


def serve(name: str) -> Response:
    """Return the response with the schema ``name``."""
    installed: _Schemas = current_app.extensions[_EXTENSION]
    return Response(installed.texts[name], content_type="application/json")


def _schema(view: View) -> View:
    """Mark a view that serves a schema."""
    reason = "schemas describe the API and tell nothing about any image"
    return without_policy(reason)(without_body(operation(answers={200: json_of({"type": "object"})})(view)))


@blueprint.get("/v2/schemas/image")
@_schema
def image_document() -> Response:
    """Serve the schema of an image."""
    return serve("image")


@blueprint.get("/v2/schemas/images")
@_schema
def images_document() -> Response:
    """Serve the schema of a list of images."""
    return serve("images")


@blueprint.get("/v2/schemas/member")
@_schema
def member_document() -> Response:
    """Serve the schema of a member."""
    return serve("member")


@blueprint.get("/v2/schemas/members")
@_schema
def members_document() -> Response:
    """Serve the schema of the members of an image."""
    return serve("members")


@blueprint.get("/v2/schemas/task")
@_schema
def task_document() -> Response:
    """Serve the schema of a task."""
    return serve("task")


@blueprint.get("/v2/schemas/tasks")
@_schema
def tasks_document() -> Response:
    """Serve the schema of a list of tasks."""
    return serve("tasks")
