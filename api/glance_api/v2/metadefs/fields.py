"""The documents of the catalogue as JSON schemas, sent to clients and used to check requests (metadefs section 10)."""

from collections.abc import Mapping
from typing import Any

from glance_common.model.metadef import CONTENT_NAME, MAX_DESCRIPTION, MAX_NAME, MAX_PATTERN, NAMESPACE_NAME

MAX_OWNER = 255
READ_ONLY = ("self", "schema", "created_at", "updated_at")
"""Fields that the service sets; a request that names them is refused with 403."""

Schema = dict[str, Any]


def _ref(name: str) -> Schema:
    return {"$ref": f"#/definitions/{name}"}


def _text(description: str, longest: int | None = None) -> Schema:
    return {"type": "string", "description": description} | ({"maxLength": longest} if longest else {})


def _name(description: str) -> Schema:
    rules = {"minLength": 1, "maxLength": MAX_NAME, "pattern": CONTENT_NAME}
    return {"type": "string", **rules, "description": description}


def _read_only(description: str) -> Schema:
    return {"type": "string", "readOnly": True, "description": description}


TIMES: Schema = {
    "created_at": _read_only("When it was made"),
    "updated_at": _read_only("When it was changed last"),
}
LINKS: Schema = {"self": _read_only("Path of it"), "schema": _read_only("Path of its schema")}

PROPERTY: Schema = {
    "title": _text("What people call the property"),
    "description": _text("What the property means"),
    "type": {
        "type": "string",
        "enum": ["array", "boolean", "integer", "number", "object", "string", "null"],
        "description": "Kind of its values",
    },
    "operators": {"type": "array", "items": {"type": "string"}, "description": "Comparisons with a value"},
    "required": _ref("stringArray"),
    "minimum": {"type": "number"},
    "maximum": {"type": "number"},
    "minLength": _ref("positiveIntegerDefault0"),
    "maxLength": _ref("positiveInteger"),
    "pattern": {"type": "string", "maxLength": MAX_PATTERN, "format": "regex"},
    "enum": {"type": "array"},
    "readonly": {"type": "boolean"},
    "default": {},
    "items": {
        "type": "object",
        "properties": {
            "type": {"type": "string", "enum": ["array", "boolean", "integer", "number", "object", "string", "null"]},
            "enum": {"type": "array"},
        },
        "additionalProperties": False,
    },
    "minItems": _ref("positiveIntegerDefault0"),
    "maxItems": _ref("positiveInteger"),
    "uniqueItems": {"type": "boolean", "default": False},
    "additionalItems": {"type": "boolean"},
}
"""What a property may say about its values: the words of JSON schema, and a few of its own (metadefs section 6)."""

DEFINITIONS: Schema = {
    "positiveInteger": {"type": "integer", "minimum": 0},
    "positiveIntegerDefault0": {"allOf": [_ref("positiveInteger"), {"default": 0}]},
    "stringArray": {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
    "property": {
        "type": "object",
        "additionalProperties": {
            "type": "object",
            "properties": {"name": _name("Name of the property"), **PROPERTY},
            "required": ["title", "type"],
            "additionalProperties": False,
        },
    },
}

_ASSOCIATION: Schema = {
    "name": _name("Name of the kind of resources, by the heat resource types where there is one"),
    "prefix": _text("What stands before the names of properties on such a resource", MAX_NAME),
    "properties_target": _text("Which of several sets of properties of the resource is meant", MAX_NAME),
}
_OBJECT: Schema = {
    "name": _name("Name of the object"),
    "description": _text("What the object describes"),
    "required": _ref("stringArray"),
    "properties": _ref("property"),
}
_TAG: Schema = {"name": _name("The tag")}


def _nested(properties: Schema, *required: str) -> Schema:
    """Return the schema of a part of a namespace; what the service adds to it may be sent back, and is ignored."""
    return {
        "type": "object",
        "properties": {**properties, **TIMES, **LINKS},
        "required": list(required),
        "additionalProperties": False,
    }


_NAMESPACE: Schema = {
    "namespace": {**_name("Unique name of the namespace"), "pattern": NAMESPACE_NAME},
    "display_name": _text("What people call the namespace", MAX_NAME),
    "description": _text("What the namespace is for", MAX_DESCRIPTION),
    "visibility": {"type": "string", "enum": ["public", "private"], "description": "Who may see the namespace"},
    "protected": {"type": "boolean", "description": "If true, the namespace and what is in it cannot be deleted"},
    "owner": _text("Project that the namespace belongs to", MAX_OWNER),
}
_CONTENT: Schema = {
    "resource_type_associations": {"type": "array", "items": _nested(_ASSOCIATION, "name")},
    "properties": _ref("property"),
    "objects": {"type": "array", "items": _nested(_OBJECT, "name")},
    "tags": {"type": "array", "items": _nested(_TAG, "name")},
}


def _document(name: str, properties: Schema, *required: str) -> Schema:
    """Return the schema of one document; it is closed."""
    document: Schema = {
        "name": name,
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }
    return document | ({"definitions": DEFINITIONS} if "#/definitions/" in repr(properties) else {})


def _collection(name: str, items: Schema) -> Schema:
    """Return the schema of a list; the definitions of its items are its own."""
    definitions = items.get("definitions")
    item = {key: value for key, value in items.items() if key != "definitions"}
    is_map = name == "properties"
    content = {"type": "object", "additionalProperties": item} if is_map else {"type": "array", "items": item}
    document: Schema = {
        "name": name,
        "properties": {
            name: content,
            "schema": {"type": "string"},
            "first": {"type": "string"},
            "next": {"type": "string"},
        },
        "links": [
            {"rel": "first", "href": "{first}"},
            {"rel": "next", "href": "{next}"},
            {"rel": "describedby", "href": "{schema}"},
        ],
    }
    return document | ({"definitions": definitions} if definitions else {})


def _without_read_only(document: Schema) -> Schema:
    """Return what of a document a client may send."""
    properties = {name: rule for name, rule in document["properties"].items() if name not in READ_ONLY}
    return {**{key: value for key, value in document.items() if key != "name"}, "properties": properties}


NAMESPACE = _document("namespace", {**_NAMESPACE, **LINKS, **TIMES, **_CONTENT}, "namespace")
OBJECT = _document("object", {**_OBJECT, **LINKS, **TIMES}, "name")
PROPERTY_DOCUMENT = _document("property", {"name": _name("Name of the property"), **PROPERTY}, "name", "title", "type")
TAG = _document("tag", {**_TAG, **TIMES}, "name")
ASSOCIATION = _document("resource_type_association", {**_ASSOCIATION, **TIMES}, "name")

SERVED: Mapping[str, Schema] = {
    "metadefs/namespace": NAMESPACE,
    "metadefs/namespaces": _collection("namespaces", NAMESPACE),
    "metadefs/object": OBJECT,
    "metadefs/objects": _collection("objects", OBJECT),
    "metadefs/property": PROPERTY_DOCUMENT,
    "metadefs/properties": _collection("properties", _document("property", PROPERTY, "title", "type")),
    "metadefs/tag": TAG,
    "metadefs/tags": _collection("tags", TAG),
    "metadefs/resource_type": ASSOCIATION,
    "metadefs/resource_types": _collection("resource_type_associations", ASSOCIATION),
}
"""What ``/v2/schemas/<name>`` answers."""

NEW_TAGS: Schema = {
    "type": "object",
    "properties": {"tags": {"type": "array", "items": _nested(_TAG, "name")}},
    "required": ["tags"],
    "additionalProperties": False,
}
NEW: Mapping[str, Schema] = {
    "namespace": _without_read_only(NAMESPACE),
    "object": _without_read_only(OBJECT),
    "property": _without_read_only(PROPERTY_DOCUMENT),
    "tag": _without_read_only(TAG),
    "tags": NEW_TAGS,
    "association": _without_read_only(ASSOCIATION),
}
"""What clients may send."""

RESOURCE_TYPES: Schema = {
    "type": "object",
    "properties": {
        "resource_types": {
            "type": "array", "items": {"type": "object", "properties": {**_TAG, **TIMES}, "required": ["name"]},
        },
    },
    "required": ["resource_types"],
}
BASE = frozenset(_NAMESPACE)
"""What a namespace says of itself, apart from what is in it."""

DOCUMENTS: Mapping[str, Schema] = {**SERVED, **{f"metadefs/new_{name}": schema for name, schema in NEW.items()}}
"""Everything that the OpenAPI document refers to by name."""
