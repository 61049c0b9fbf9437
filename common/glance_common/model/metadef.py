"""The values of the catalogue of metadata definitions, as they travel between API and registry.

Times are text, ``YYYY-MM-DDThh:mm:ssZ`` in UTC. A field without value is None. ``definition`` is the description of one
property, a JSON object with ``title``, ``type`` and so on, as the catalogue's users wrote it (metadefs section 6).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Self

VISIBILITIES = ("public", "private")
MAX_NAME = 80
MAX_DESCRIPTION = 500
"""Characters of the description of a namespace."""

MAX_PATTERN = 4096
"""Characters of the regular expression of a property."""

NAMESPACE_NAME = r"^(?!\.{1,2}$)[^/]+$"
"""What is in no address cannot be asked for again: a name with a slash, or one of the steps ``.`` and ``..``."""

CONTENT_NAME = r"^(?!\.{1,2}$)"
"""Names of what is in a namespace may have slashes: they end the address."""

NAMESPACE_SORT_KEYS = (
    "created_at", "updated_at", "namespace", "display_name", "description", "visibility", "protected", "owner",
)
TAG_SORT_KEYS = ("created_at", "updated_at", "name")


def is_pattern(value: object) -> bool:
    """Return whether a text is a regular expression; what is no text, or too long, breaks another rule already.

    Nothing here ever matches with it: clients do. It is parsed and not compiled, because that takes seconds for some
    patterns of the allowed length (classes of characters without regard to case).
    """
    if not isinstance(value, str) or len(value) > MAX_PATTERN:
        return True
    try:
        re._parser.parse(value)  # type: ignore[attr-defined]  # noqa: SLF001 - the parser of re has no public name
    except (re.error, ValueError, OverflowError, RecursionError):
        return False
    return True


class _Thing:
    """What is read from the registry field by field."""

    __slots__ = ()

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Build it from the registry's JSON object."""
        return cls(**_known(cls, document))


@dataclass(frozen=True, slots=True)
class ResourceType(_Thing):
    """A kind of resource that definitions can be made for, such as ``OS::Glance::Image``."""

    name: str
    created_at: str
    updated_at: str


@dataclass(frozen=True, slots=True)
class Association(_Thing):
    """A namespace is meant for the resource type ``name``; there its properties are called prefix + name."""

    name: str
    prefix: str | None
    properties_target: str | None
    created_at: str
    updated_at: str


@dataclass(frozen=True, slots=True)
class Property(_Thing):
    """The typed description of one key that can be put on a resource."""

    name: str
    definition: dict[str, Any]
    created_at: str
    updated_at: str


@dataclass(frozen=True, slots=True)
class Object:
    """A named group of properties: name → definition. ``required`` are names of them, None when nothing was said."""

    name: str
    description: str | None
    required: tuple[str, ...] | None
    properties: dict[str, dict[str, Any]]
    created_at: str
    updated_at: str

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Build it from the registry's JSON object."""
        required = document["required"]
        return cls(**{**_known(cls, document), "required": None if required is None else tuple(required)})


@dataclass(frozen=True, slots=True)
class Tag(_Thing):
    """A plain word of a namespace."""

    name: str
    created_at: str
    updated_at: str


@dataclass(frozen=True, slots=True)
class Namespace:
    """A container of definitions. ``properties``, ``objects`` and ``tags`` are empty unless content was asked for.

    All four kinds of content come in the order in which they were made.
    """

    namespace: str
    display_name: str | None
    description: str | None
    visibility: str
    protected: bool
    owner: str | None
    created_at: str
    updated_at: str
    associations: tuple[Association, ...] = ()
    properties: tuple[Property, ...] = ()
    objects: tuple[Object, ...] = ()
    tags: tuple[Tag, ...] = ()

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Build it from the registry's JSON object, with the content that is there."""
        content = {
            "associations": tuple(map(Association.from_document, document["resource_types"])),
            "properties": tuple(map(Property.from_document, document.get("properties", ()))),
            "objects": tuple(map(Object.from_document, document.get("objects", ()))),
            "tags": tuple(map(Tag.from_document, document.get("tags", ()))),
        }
        return cls(**{**_known(cls, document), **content})

    def prefixed(self, resource_type: str) -> Self:
        """Return it as resources of that type see it: every name of a property with the prefix (metadefs section 5.4).

        Unchanged when the type is not associated or the association has no prefix.
        """
        prefix = next((each.prefix for each in self.associations if each.name == resource_type), None)
        if not prefix:
            return self
        return replace(
            self,
            properties=tuple(replace(each, name=prefix + each.name) for each in self.properties),
            objects=tuple(_prefixed(each, prefix) for each in self.objects),
        )


@dataclass(frozen=True, slots=True)
class NamespacesFound:
    """Namespaces of one page; ``has_more``: the page is full, by its limit or by its bytes, and others may follow."""

    namespaces: list[Namespace]
    has_more: bool


@dataclass(frozen=True, slots=True)
class NamespaceQuery:
    """What a list of namespaces asks for; ``marker`` is a name, ``resource_types`` means associated with any of them.

    ``sort_key`` is one of ``NAMESPACE_SORT_KEYS``, ``sort_dir`` ``asc`` or ``desc``; equals come as they were made.
    """

    limit: int
    marker: str | None = None
    sort_key: str = "created_at"
    sort_dir: str = "desc"
    visibility: str | None = None
    resource_types: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TagQuery:
    """What a list of tags asks for: ``sort_key`` is one of ``TAG_SORT_KEYS``; None as limit means all."""

    limit: int | None = None
    marker: str | None = None
    sort_key: str = "created_at"
    sort_dir: str = "desc"


def _prefixed(group: Object, prefix: str) -> Object:
    return replace(
        group,
        properties={prefix + name: definition for name, definition in group.properties.items()},
        required=None if group.required is None else tuple(prefix + name for name in group.required),
    )


def _known(cls: type[Any], document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of ``cls`` in ``document``: unknown keys are ignored so that versions may differ."""
    return {field.name: document[field.name] for field in fields(cls) if field.name in document}
