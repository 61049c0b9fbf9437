"""The catalogue of metadata definitions in the registry (metadefs sections 5 to 9).

A namespace that the caller may not see is NotFound in every call. Every write may be repeated with its attempt id.
Policy, and whether a project may change what another one owns, are the API's questions; protection is the registry's:
what a delete takes out of a protected namespace is Forbidden.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import orjson

from glance_common.model import errors
from glance_common.model.context import RequestContext
from glance_common.model.metadef import (
    Association,
    Namespace,
    NamespaceQuery,
    NamespacesFound,
    Object,
    Property,
    ResourceType,
    Tag,
    TagQuery,
)
from glance_common.registry_client.http import RegistryHttp, segment


class MetadefsClient:
    """Reads and writes namespaces, and what is in them by kind: properties, objects, tags, resource types."""

    def __init__(self, http: RegistryHttp) -> None:
        self._http = http

    def list_namespaces(self, context: RequestContext, query: NamespaceQuery) -> NamespacesFound:
        """Return a page of visible namespaces, with associations and no other content, that may end before its limit.

        Raises NotFound for a marker that is absent or not visible, BadRequest for an unknown sort key or direction.
        """
        answer = self._http.call(context, "GET", _NAMESPACES, query={"q": orjson.dumps(asdict(query)).decode()})
        return NamespacesFound(
            [Namespace.from_document(document) for document in answer["namespaces"]], answer["more"]
        )

    def get_namespace(self, context: RequestContext, namespace: str, *, content: bool = True) -> Namespace:
        """Return a namespace, with all that is in it unless ``content`` is False: then with associations only."""
        query = None if content else {"content": "0"}
        return Namespace.from_document(self._http.call(context, "GET", _path(namespace), query=query)["namespace"])

    def create_namespace(self, context: RequestContext, attempt: str, document: Mapping[str, Any]) -> Namespace:
        """Make a namespace with its content, all or nothing; raise Duplicate.

        ``document`` has the keys of metadefs section 5.1: ``namespace``, ``display_name``, ``description``,
        ``visibility``, ``protected``, ``owner``; ``resource_type_associations``, ``properties`` (name → definition),
        ``objects``, ``tags``. What is absent has the defaults of that section; without ``owner`` it has no owner.
        """
        body = {"attempt": attempt, "namespace": dict(document)}
        return Namespace.from_document(self._http.call(context, "POST", _NAMESPACES, body)["namespace"])

    def update_namespace(
        self, context: RequestContext, namespace: str, attempt: str, document: Mapping[str, Any]
    ) -> Namespace:
        """Replace the base fields, absent ones by their defaults; raise Duplicate for a new name that is taken.

        ``document`` as in ``create_namespace``, without content. Returns the namespace without content.
        """
        body = {"attempt": attempt, "namespace": dict(document)}
        return Namespace.from_document(self._http.call(context, "PUT", _path(namespace), body)["namespace"])

    def delete_namespace(self, context: RequestContext, namespace: str, attempt: str) -> None:
        """Remove a namespace with its content; raise Forbidden when it is protected."""
        self._http.call(context, "DELETE", _path(namespace), {"attempt": attempt})

    def list_properties(self, context: RequestContext, namespace: str) -> list[Property]:
        """Return all properties in the order in which they were made."""
        return [Property.from_document(document) for document in self._list(context, namespace, "properties")]

    def get_property(
        self, context: RequestContext, namespace: str, name: str, *, resource_type: str | None = None
    ) -> Property:
        """Return one property; raise NotFound.

        With ``resource_type`` the ``name`` must begin with the prefix of that type, and what is returned is named
        without it; NotFound also when the type is not associated (metadefs section 6).
        """
        query = None if resource_type is None else {"resource_type": resource_type}
        answer = self._http.call(context, "GET", _path(namespace, "properties", name), query=query)
        return Property.from_document(answer["item"])

    def create_property(
        self, context: RequestContext, namespace: str, attempt: str, name: str, definition: Mapping[str, Any]
    ) -> Property:
        """Make a property; raise Duplicate."""
        item = {"name": name, "definition": dict(definition)}
        return Property.from_document(self._create(context, namespace, "properties", attempt, item))

    def update_property(
        self, context: RequestContext, namespace: str, name: str, attempt: str, new_name: str,
        definition: Mapping[str, Any],
    ) -> Property:
        """Replace a property, and rename it when ``new_name`` is another; raise NotFound, Duplicate."""
        item = {"name": new_name, "definition": dict(definition)}
        return Property.from_document(self._replace(context, namespace, "properties", name, attempt, item))

    def delete_property(self, context: RequestContext, namespace: str, name: str, attempt: str) -> None:
        """Remove one property; raise NotFound, Forbidden when the namespace is protected."""
        self._delete(context, namespace, "properties", name, attempt)

    def delete_properties(self, context: RequestContext, namespace: str, attempt: str) -> None:
        """Remove all properties; raise Forbidden when the namespace is protected."""
        self._delete(context, namespace, "properties", None, attempt)

    def list_objects(self, context: RequestContext, namespace: str) -> list[Object]:
        """Return all objects in the order in which they were made."""
        return [Object.from_document(document) for document in self._list(context, namespace, "objects")]

    def get_object(self, context: RequestContext, namespace: str, name: str) -> Object:
        """Return one object; raise NotFound."""
        return Object.from_document(self._get(context, namespace, "objects", name))

    def create_object(
        self, context: RequestContext, namespace: str, attempt: str, document: Mapping[str, Any]
    ) -> Object:
        """Make an object of ``name``, ``description``, ``required``, ``properties`` (name → definition).

        Only ``name`` has to be there. Raises Duplicate.
        """
        return Object.from_document(self._create(context, namespace, "objects", attempt, document))

    def update_object(
        self, context: RequestContext, namespace: str, name: str, attempt: str, document: Mapping[str, Any]
    ) -> Object:
        """Replace an object by ``document`` (as in ``create_object``), name included; raise NotFound, Duplicate."""
        return Object.from_document(self._replace(context, namespace, "objects", name, attempt, document))

    def delete_object(self, context: RequestContext, namespace: str, name: str, attempt: str) -> None:
        """Remove one object; raise NotFound, Forbidden when the namespace is protected."""
        self._delete(context, namespace, "objects", name, attempt)

    def delete_objects(self, context: RequestContext, namespace: str, attempt: str) -> None:
        """Remove all objects; raise Forbidden when the namespace is protected."""
        self._delete(context, namespace, "objects", None, attempt)

    def list_tags(self, context: RequestContext, namespace: str, query: TagQuery) -> list[Tag]:
        """Return a page of tags; raise NotFound for an unknown marker, BadRequest for a wrong sort key or direction."""
        asked = {"q": orjson.dumps(asdict(query)).decode()}
        answer = self._http.call(context, "GET", _path(namespace, "tags"), query=asked)
        return [Tag.from_document(document) for document in answer["items"]]

    def get_tag(self, context: RequestContext, namespace: str, name: str) -> Tag:
        """Return one tag; raise NotFound."""
        return Tag.from_document(self._get(context, namespace, "tags", name))

    def create_tag(self, context: RequestContext, namespace: str, attempt: str, name: str) -> Tag:
        """Make a tag; raise Duplicate."""
        return Tag.from_document(self._create(context, namespace, "tags", attempt, {"name": name}))

    def create_tags(
        self, context: RequestContext, namespace: str, attempt: str, names: Sequence[str], *, append: bool = False
    ) -> list[Tag]:
        """Put ``names`` in the place of all tags, or add them to the present ones; return those made, in this order.

        Raises Duplicate for a name that is given twice, or is there already when appending; then nothing is changed.
        Raises Forbidden when tags of a protected namespace would be replaced.
        """
        body = {"attempt": attempt, "items": [{"name": name} for name in names], "append": append}
        answer = self._http.call(context, "PUT", _path(namespace, "tags"), body)
        return [Tag.from_document(document) for document in answer["items"]]

    def rename_tag(self, context: RequestContext, namespace: str, name: str, attempt: str, new_name: str) -> Tag:
        """Give a tag another name; raise NotFound, Duplicate."""
        return Tag.from_document(self._replace(context, namespace, "tags", name, attempt, {"name": new_name}))

    def delete_tag(self, context: RequestContext, namespace: str, name: str, attempt: str) -> None:
        """Remove one tag; raise NotFound, Forbidden when the namespace is protected."""
        self._delete(context, namespace, "tags", name, attempt)

    def delete_tags(self, context: RequestContext, namespace: str, attempt: str) -> None:
        """Remove all tags; raise Forbidden when the namespace is protected."""
        self._delete(context, namespace, "tags", None, attempt)

    def list_resource_types(self, context: RequestContext) -> list[ResourceType]:
        """Return all resource types ever associated, by name."""
        answer = self._http.call(context, "GET", "/v1/metadefs/resource_types")
        return [ResourceType.from_document(document) for document in answer["resource_types"]]

    def list_associations(self, context: RequestContext, namespace: str) -> list[Association]:
        """Return the resource types that the namespace is meant for."""
        return [Association.from_document(document) for document in self._list(context, namespace, "resource_types")]

    def create_association(
        self, context: RequestContext, namespace: str, attempt: str, document: Mapping[str, Any]
    ) -> Association:
        """Associate the resource type ``name``, made when it is new, with ``prefix`` and ``properties_target``.

        Raises Duplicate when it is associated already.
        """
        return Association.from_document(self._create(context, namespace, "resource_types", attempt, document))

    def delete_association(self, context: RequestContext, namespace: str, name: str, attempt: str) -> None:
        """Take the association away; the resource type stays. Raises NotFound, Forbidden when protected."""
        self._delete(context, namespace, "resource_types", name, attempt)

    def _list(self, context: RequestContext, namespace: str, kind: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self._http.call(context, "GET", _path(namespace, kind))["items"]
        return items

    def _get(self, context: RequestContext, namespace: str, kind: str, name: str) -> dict[str, Any]:
        item: dict[str, Any] = self._http.call(context, "GET", _path(namespace, kind, name))["item"]
        return item

    def _create(
        self, context: RequestContext, namespace: str, kind: str, attempt: str, item: Mapping[str, Any]
    ) -> dict[str, Any]:
        body = {"attempt": attempt, "item": dict(item)}
        made: dict[str, Any] = self._http.call(context, "POST", _path(namespace, kind), body)["item"]
        return made

    def _replace(
        self, context: RequestContext, namespace: str, kind: str, name: str, attempt: str, item: Mapping[str, Any]
    ) -> dict[str, Any]:
        body = {"attempt": attempt, "item": dict(item)}
        changed: dict[str, Any] = self._http.call(context, "PUT", _path(namespace, kind, name), body)["item"]
        return changed

    def _delete(self, context: RequestContext, namespace: str, kind: str, name: str | None, attempt: str) -> None:
        self._http.call(context, "DELETE", _path(namespace, kind, name), {"attempt": attempt})


_NAMESPACES = "/v1/metadefs/namespaces"


def _path(namespace: str, kind: str | None = None, name: str | None = None) -> str:
    if not namespace or "/" in namespace or name == "":
        # No name is like that, and in a path it would mean something else.
        raise errors.NotFound(f"Metadata definition namespace {namespace} is not found")
    return "/".join([_NAMESPACES, segment(namespace), *(segment(part) for part in (kind, name) if part is not None)])
