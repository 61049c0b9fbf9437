"""The catalogue of metadata definitions in memory, in the shape of the registry client."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from glance_common.model.context import RequestContext
from glance_common.model.errors import Duplicate, Forbidden, NotFound
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

TIME = "2026-11-21T10:00:00Z"
Thing = Property | Object | Tag | Association


class FakeMetadefs:
    """Namespaces by name; ``writes`` notes what changed something, ``queries`` how lists were asked for."""

    def __init__(self, writes: list[str]) -> None:
        self.rows: dict[str, Namespace] = {}
        self.queries: list[NamespaceQuery | TagQuery] = []
        self._writes = writes

    def list_namespaces(self, context: RequestContext, query: NamespaceQuery) -> NamespacesFound:
        self.queries.append(query)
        if query.marker is not None and query.marker not in self.rows:
            raise NotFound(f"marker: there is no namespace {query.marker}")
        shown = [self.get_namespace(context, name, content=False) for name in self.rows if self._sees(context, name)]
        names = [each.namespace for each in shown]
        first = names.index(query.marker) + 1 if query.marker else 0
        page = shown[first : first + query.limit]
        return NamespacesFound(page, 0 < query.limit == len(page))

    def _sees(self, context: RequestContext, name: str) -> bool:
        row = self.rows[name]
        return context.is_admin or row.visibility == "public" or row.owner == context.project_id is not None

    def get_namespace(self, context: RequestContext, namespace: str, *, content: bool = True) -> Namespace:
        if namespace not in self.rows or not self._sees(context, namespace):
            raise NotFound(f"Metadata definition namespace {namespace} is not found")
        row = self.rows[namespace]
        return row if content else replace(row, properties=(), objects=(), tags=())

    def create_namespace(self, context: RequestContext, attempt: str, document: Mapping[str, Any]) -> Namespace:
        name = document["namespace"]
        if name in self.rows:
            raise Duplicate(f"Metadata definition namespace {name} exists already")
        base = {"display_name": None, "description": None, "visibility": "private", "protected": False, "owner": None}
        given = {key: document.get(key, value) for key, value in base.items()}
        self.rows[name] = Namespace(namespace=name, **given, created_at=TIME, updated_at=TIME)
        for each in document.get("resource_type_associations", ()):
            self.create_association(context, name, attempt, each)
        for key, definition in document.get("properties", {}).items():
            self.create_property(context, name, attempt, key, definition)
        for each in document.get("objects", ()):
            self.create_object(context, name, attempt, each)
        for each in document.get("tags", ()):
            self.create_tag(context, name, attempt, each["name"])
        self._writes.append("namespace")
        return self.rows[name]

    def update_namespace(
        self, context: RequestContext, namespace: str, attempt: str, document: Mapping[str, Any]
    ) -> Namespace:
        old = self.rows.pop(namespace)
        self.create_namespace(context, attempt, document)
        name = document["namespace"]
        content = {key: getattr(old, key) for key in ("associations", "properties", "objects", "tags")}
        self.rows[name] = replace(self.rows[name], **content)
        return self.get_namespace(context, name, content=False)

    def delete_namespace(self, context: RequestContext, namespace: str, attempt: str) -> None:
        self._unprotected(namespace)
        del self.rows[namespace]

    def _unprotected(self, namespace: str) -> None:
        if self.rows[namespace].protected:
            raise Forbidden(f"Metadata definition namespace {namespace} is protected")
        self._writes.append("removed")

    def _find(self, namespace: str, kind: str, name: str) -> Any:
        for each in getattr(self.rows[namespace], kind):
            if each.name == name:
                return each
        raise NotFound(f"{name} is not found in {namespace}")

    def _put(self, namespace: str, kind: str, thing: Thing, old: str | None = None) -> Any:
        things = [each for each in getattr(self.rows[namespace], kind) if each.name != old]
        if old is not None:
            self._find(namespace, kind, old)
        if any(each.name == thing.name for each in things):
            raise Duplicate(f"{thing.name} exists already")
        changes: dict[str, Any] = {kind: (*things, thing)}
        self.rows[namespace] = replace(self.rows[namespace], **changes)
        self._writes.append(kind)
        return thing

    def _drop(self, namespace: str, kind: str, name: str | None = None) -> None:
        self._unprotected(namespace)
        gone = getattr(self.rows[namespace], kind) if name is None else (self._find(namespace, kind, name),)
        left: dict[str, Any] = {kind: tuple(each for each in getattr(self.rows[namespace], kind) if each not in gone)}
        self.rows[namespace] = replace(self.rows[namespace], **left)

    def list_properties(self, context: RequestContext, namespace: str) -> list[Property]:
        return list(self.rows[namespace].properties)

    def get_property(
        self, context: RequestContext, namespace: str, name: str, *, resource_type: str | None = None
    ) -> Property:
        prefix = ""
        if resource_type is not None:
            prefix = self._find(namespace, "associations", resource_type).prefix or ""
            if not name.startswith(prefix):
                raise NotFound(name)
        found: Property = self._find(namespace, "properties", name.removeprefix(prefix))
        return found

    def create_property(
        self, context: RequestContext, namespace: str, attempt: str, name: str, definition: Mapping[str, Any],
        old: str | None = None,
    ) -> Property:
        made: Property = self._put(namespace, "properties", Property(name, dict(definition), TIME, TIME), old)
        return made

    def update_property(
        self, context: RequestContext, namespace: str, name: str, attempt: str, new_name: str,
        definition: Mapping[str, Any],
    ) -> Property:
        return self.create_property(context, namespace, attempt, new_name, definition, old=name)

    def delete_property(self, context: RequestContext, namespace: str, name: str, attempt: str) -> None:
        self._drop(namespace, "properties", name)

    def delete_properties(self, context: RequestContext, namespace: str, attempt: str) -> None:
        self._drop(namespace, "properties")

    def list_objects(self, context: RequestContext, namespace: str) -> list[Object]:
        return list(self.rows[namespace].objects)

    def get_object(self, context: RequestContext, namespace: str, name: str) -> Object:
        found: Object = self._find(namespace, "objects", name)
        return found

    def create_object(
        self, context: RequestContext, namespace: str, attempt: str, document: Mapping[str, Any],
        old: str | None = None,
    ) -> Object:
        required = document.get("required")
        made = Object(
            document["name"], document.get("description"), None if required is None else tuple(required),
            dict(document.get("properties", {})), TIME, TIME,
        )
        self._put(namespace, "objects", made, old)
        return made

    def update_object(
        self, context: RequestContext, namespace: str, name: str, attempt: str, document: Mapping[str, Any]
    ) -> Object:
        return self.create_object(context, namespace, attempt, document, old=name)

    def delete_object(self, context: RequestContext, namespace: str, name: str, attempt: str) -> None:
        self._drop(namespace, "objects", name)

    def delete_objects(self, context: RequestContext, namespace: str, attempt: str) -> None:
        self._drop(namespace, "objects")

    def list_tags(self, context: RequestContext, namespace: str, query: TagQuery) -> list[Tag]:
        self.queries.append(query)
        return list(self.rows[namespace].tags)[: query.limit]

    def get_tag(self, context: RequestContext, namespace: str, name: str) -> Tag:
        found: Tag = self._find(namespace, "tags", name)
        return found

    def create_tag(
        self, context: RequestContext, namespace: str, attempt: str, name: str, old: str | None = None
    ) -> Tag:
        made: Tag = self._put(namespace, "tags", Tag(name, TIME, TIME), old)
        return made

    def create_tags(
        self, context: RequestContext, namespace: str, attempt: str, names: Sequence[str], *, append: bool = False
    ) -> list[Tag]:
        if not append:
            self._drop(namespace, "tags")
        return [self.create_tag(context, namespace, attempt, name) for name in names]

    def rename_tag(self, context: RequestContext, namespace: str, name: str, attempt: str, new_name: str) -> Tag:
        return self.create_tag(context, namespace, attempt, new_name, old=name)

    def delete_tag(self, context: RequestContext, namespace: str, name: str, attempt: str) -> None:
        self._drop(namespace, "tags", name)

    def delete_tags(self, context: RequestContext, namespace: str, attempt: str) -> None:
        self._drop(namespace, "tags")

    def list_resource_types(self, context: RequestContext) -> list[ResourceType]:
        names = {each.name for row in self.rows.values() for each in row.associations}
        return [ResourceType(name, TIME, TIME) for name in sorted(names)]

    def list_associations(self, context: RequestContext, namespace: str) -> list[Association]:
        return list(self.rows[namespace].associations)

    def create_association(
        self, context: RequestContext, namespace: str, attempt: str, document: Mapping[str, Any]
    ) -> Association:
        made = Association(document["name"], document.get("prefix"), document.get("properties_target"), TIME, TIME)
        self._put(namespace, "associations", made)
        return made

    def delete_association(self, context: RequestContext, namespace: str, name: str, attempt: str) -> None:
        self._drop(namespace, "associations", name)
