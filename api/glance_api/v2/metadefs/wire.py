"""The only translator between documents of the catalogue and the values of its services."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any
from urllib.parse import quote

import orjson
from jsonschema import Draft4Validator, ValidationError
from jsonschema.validators import extend

from glance_api.v2.metadefs import fields
from glance_api.v2.schemas import check
from glance_common.model.errors import BadRequest, Forbidden
from glance_common.model.json_depth import has_at_most
from glance_common.model.metadef import MAX_NAME, Association, Namespace, Object, Property, ResourceType, Tag

NAMESPACES = "/v2/metadefs/namespaces"
MAX_VALUES = 10_000
"""Values in one document, those in lists and objects counted (S-59); the largest of the well-known namespaces has
a thousand."""


def _differ(_validator: Any, wanted: bool, items: Any, _schema: Any) -> Iterator[ValidationError]:
    """The library compares all pairs of what it cannot sort: hours for one body of the allowed size (S-59)."""
    if wanted and isinstance(items, list) and len({orjson.dumps(item) for item in items}) < len(items):
        yield ValidationError("has equal elements")


_Validator = extend(Draft4Validator, {"uniqueItems": _differ})  # type: ignore[no-untyped-call]  # as the stubs say
# The registry checks formats: compiling regular expressions takes long, and it comes after the check of the caller's
# right.
_CHECKS = {name: _Validator(schema) for name, schema in fields.NEW.items()}


def namespace_path(name: str) -> str:
    """Return where a namespace is found."""
    return f"{NAMESPACES}/{_segment(name)}"


def namespace_document(namespace: Namespace) -> dict[str, Any]:
    """Return a namespace as clients see it (metadefs section 5.1), with what it holds; nothing is null or empty."""
    document = _present(
        namespace=namespace.namespace,
        display_name=namespace.display_name,
        description=namespace.description,
        visibility=namespace.visibility,
        protected=namespace.protected,
        owner=namespace.owner,
        created_at=namespace.created_at,
        updated_at=namespace.updated_at,
        self=namespace_path(namespace.namespace),
        schema="/v2/schemas/metadefs/namespace",
    )
    content = {
        "resource_type_associations": [association_document(each) for each in namespace.associations],
        "properties": property_map(namespace.properties),
        "objects": [object_document(namespace.namespace, each) for each in namespace.objects],
        "tags": [{"name": tag.name} for tag in namespace.tags],
    }
    return document | {name: part for name, part in content.items() if part}


def property_document(each: Property) -> dict[str, Any]:
    """Return one property as clients see it (metadefs section 6)."""
    return {**each.definition, "name": each.name}


def property_map(properties: Iterable[Property]) -> dict[str, dict[str, Any]]:
    """Return properties as clients see several of them: by their names."""
    return {each.name: each.definition for each in properties}


def object_document(namespace: str, group: Object) -> dict[str, Any]:
    """Return an object as clients see it (metadefs section 7)."""
    return _present(
        name=group.name,
        description=group.description,
        required=None if group.required is None else list(group.required),
        properties=group.properties,
        created_at=group.created_at,
        updated_at=group.updated_at,
        self=f"{namespace_path(namespace)}/objects/{_segment(group.name)}",
        schema="/v2/schemas/metadefs/object",
    )


def tag_document(tag: Tag) -> dict[str, Any]:
    """Return one tag as clients see it (metadefs section 8)."""
    return asdict(tag)


def association_document(association: Association) -> dict[str, Any]:
    """Return an association as clients see it (metadefs section 9)."""
    return _present(**asdict(association))


def resource_type_document(kind: ResourceType) -> dict[str, Any]:
    """Return a kind of resources as clients see it (metadefs section 9)."""
    return asdict(kind)


def new_namespace(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the namespace that a request describes. Raises Forbidden for what is read-only, BadRequest."""
    _check("namespace", document)
    namespace = dict(document)
    if "properties" in namespace:
        namespace["properties"] = _definitions("properties", namespace["properties"])
    if "objects" in namespace:
        namespace["objects"] = [
            _object(f"objects.{position}.properties", each) for position, each in enumerate(namespace["objects"])
        ]
    for part in ("tags", "resource_type_associations"):
        if part in namespace:
            namespace[part] = [_written(each) for each in namespace[part]]
    return namespace


def changed_namespace(document: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return as ``new_namespace`` what a namespace shall say of itself, and the content that came with it."""
    namespace = new_namespace(document)
    content = {name: namespace.pop(name) for name in namespace.keys() - fields.BASE}
    return namespace, content


def new_property(document: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return name and definition of a property. Raises Forbidden, BadRequest."""
    _check("property", document)
    return document["name"], {word: value for word, value in document.items() if word != "name"}


def new_object(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the object that a request describes. Raises Forbidden, BadRequest."""
    _check("object", document)
    return _object("properties", document)


def new_tag(document: Mapping[str, Any]) -> str:
    """Return the name of a tag. Raises Forbidden, BadRequest."""
    _check("tag", document)
    name: str = document["name"]
    return name


def new_tags(document: Mapping[str, Any]) -> list[str]:
    """Return the names of several tags. Raises BadRequest."""
    _check("tags", document)
    return [each["name"] for each in document["tags"]]


def new_association(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the association that a request describes. Raises Forbidden, BadRequest."""
    _check("association", document)
    return dict(document)


def check_name(name: str) -> str:
    """Return a name that stands in the path and will be that of something new. Raises BadRequest."""
    if len(name) > MAX_NAME:
        raise BadRequest(f"name: longer than {MAX_NAME} characters")
    return name


def _check(kind: str, document: Mapping[str, Any]) -> None:
    for name in fields.READ_ONLY:
        if name in document:
            raise Forbidden(f"{name} is read-only")
    if not has_at_most(document, MAX_VALUES):
        raise BadRequest(f"the document has more than {MAX_VALUES} values")
    check(_CHECKS[kind], document, "")


def _object(where: str, document: Mapping[str, Any]) -> dict[str, Any]:
    written = _written(document)
    if "properties" in written:
        written["properties"] = _definitions(where, written["properties"])
    return written


def _definitions(where: str, properties: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the definitions without the name that may stand in them too: the key counts. Raises BadRequest."""
    for name in properties:
        if not 1 <= len(name) <= MAX_NAME or name in (".", ".."):
            rule = f"1 to {MAX_NAME} characters, and is neither . nor .."
            raise BadRequest(f"{where}: the name of a property has {rule}: {name[:40]!r}")
    return {
        name: {word: value for word, value in definition.items() if word != "name"}
        for name, definition in properties.items()
    }


def _written(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a part of a namespace without what the service itself had put there when it showed it."""
    return {name: value for name, value in document.items() if name not in fields.READ_ONLY}


def _present(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _segment(name: str) -> str:
    return quote(name, safe=":")
