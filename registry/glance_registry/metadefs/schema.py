"""What a document of the catalogue may hold, and its rows (metadefs sections 5 to 9).

The same rules hold for what the API sends and for definition files: all keys are known, and a wrong value is refused
with the place where it stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from glance_common.model import errors
from glance_common.model.json_depth import check_depth
from glance_common.model.metadef import (
    CONTENT_NAME,
    MAX_DESCRIPTION,
    MAX_NAME,
    MAX_PATTERN,
    NAMESPACE_NAME,
    VISIBILITIES,
    is_pattern,
)
from glance_common.model.schema_errors import sentence, shortened
from glance_registry.metadefs.content import ASSOCIATIONS, OBJECTS, PROPERTIES, TAGS, Kind, Row

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator

MAX_PLACE = 300
"""Characters of the place of a wrong value that a message shows: names in it may be of any length."""

Json = dict[str, Any]

_NAME: Json = {"type": "string", "minLength": 1, "maxLength": MAX_NAME, "pattern": CONTENT_NAME}
_OPTIONAL: Json = {"type": ["string", "null"], "maxLength": MAX_NAME}
_TEXT: Json = {"type": ["string", "null"]}
_TEXTS: Json = {"type": "array", "items": {"type": "string"}}
_PATTERN: Json = {"type": "string", "maxLength": MAX_PATTERN, "format": "regex"}
_COUNT: Json = {"type": "integer", "minimum": 0}
_FLAG: Json = {"type": "boolean"}
_TYPE: Json = {"enum": ["array", "boolean", "integer", "number", "object", "string", "null"]}


def _closed(properties: Json, *required: str) -> Json:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


def _all_of(items: Json) -> Json:
    return {"type": "array", "items": items}


_DEFINITION = _closed(
    {
        "title": {"type": "string"}, "type": _TYPE, "description": {"type": "string"},
        "operators": _TEXTS, "required": _TEXTS, "enum": {"type": "array"}, "pattern": _PATTERN,
        "minimum": {"type": "number"}, "maximum": {"type": "number"}, "minLength": _COUNT, "maxLength": _COUNT,
        "items": _closed({"type": _TYPE, "enum": {"type": "array"}}), "minItems": _COUNT, "maxItems": _COUNT,
        "uniqueItems": _FLAG, "additionalItems": _FLAG, "readonly": _FLAG, "default": True,
    },
    "title", "type",
)
_DEFINITIONS: Json = {"type": "object", "propertyNames": _NAME, "additionalProperties": _DEFINITION}
_OBJECT = _closed(
    {
        "name": _NAME, "description": _TEXT, "required": {**_TEXTS, "type": ["array", "null"]},
        "properties": _DEFINITIONS,
    },
    "name",
)
_ASSOCIATION = _closed({"name": _NAME, "prefix": _OPTIONAL, "properties_target": _OPTIONAL}, "name")
_TAG = _closed({"name": _NAME}, "name")
_BASE: Json = {
    "namespace": {**_NAME, "pattern": NAMESPACE_NAME},
    "display_name": _OPTIONAL,
    "description": {**_TEXT, "maxLength": MAX_DESCRIPTION},
    "visibility": {"enum": list(VISIBILITIES)},
    "protected": _FLAG,
    "owner": {**_TEXT, "maxLength": 255},
}
_WHOLE = {
    **_BASE,
    "resource_type_associations": _all_of(_ASSOCIATION),
    "properties": _DEFINITIONS,
    "objects": _all_of(_OBJECT),
    "tags": _all_of(_TAG),
}

_SCHEMAS: dict[str, Json] = {
    "base": _closed(_BASE, "namespace"),
    "whole": _closed(_WHOLE, "namespace"),
    PROPERTIES.key: _closed({"name": _NAME, "definition": _DEFINITION}, "name", "definition"),
    OBJECTS.key: _OBJECT,
    TAGS.key: _TAG,
    ASSOCIATIONS.key: _ASSOCIATION,
}
_DEFAULTS = {"display_name": None, "description": None, "visibility": "private", "protected": False, "owner": None}


def base_fields(document: Any) -> dict[str, Any]:
    """Return the columns of a namespace without content; raise BadRequest with place and rule."""
    _check("base", document)
    return {**_DEFAULTS, **document}


def whole_namespace(document: Any) -> tuple[dict[str, Any], dict[Kind, list[Row]]]:
    """Return the columns that are given, without defaults, and the rows of each kind; raise BadRequest."""
    _check("whole", document)
    content = {
        ASSOCIATIONS: [_association(item) for item in document.get("resource_type_associations", ())],
        PROPERTIES: [
            {"name": name, "definition": definition} for name, definition in document.get("properties", {}).items()
        ],
        OBJECTS: [_object(item) for item in document.get("objects", ())],
        TAGS: list(document.get("tags", ())),
    }
    for kind, rows in content.items():
        kind.refuse_repeated(rows)
    return {name: document[name] for name in _BASE if name in document}, content


def with_defaults(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return all columns of a namespace of which only some are given."""
    return {**_DEFAULTS, **given}


def row(kind: Kind, item: Any) -> Row:
    """Return the columns of one thing of that kind; raise BadRequest."""
    _check(kind.key, item)
    complete = {OBJECTS: _object, ASSOCIATIONS: _association}.get(kind, dict[str, Any])
    return complete(item)


def _object(item: Mapping[str, Any]) -> Row:
    return {"description": None, "required": None, "properties": {}, **item}


def _association(item: Mapping[str, Any]) -> Row:
    return {"prefix": None, "properties_target": None, **item}


@cache
def _rules(schema: str) -> Draft202012Validator:
    # Imported at the first definition that is written: most registries never see one, and it is a sixth of a start.
    from jsonschema import Draft202012Validator, FormatChecker

    formats = FormatChecker(formats=())
    formats.checks("regex")(is_pattern)
    return Draft202012Validator(_SCHEMAS[schema], format_checker=formats)


def _check(schema: str, document: Any) -> None:
    from jsonschema.exceptions import best_match

    check_depth(document)
    error = best_match(_rules(schema).iter_errors(document))
    if error is None:
        return
    place = error.json_path.removeprefix("$").removeprefix(".")
    message = sentence(error)
    raise errors.BadRequest(f"{shortened(place, MAX_PLACE)}: {message}" if place else message, field=place)
