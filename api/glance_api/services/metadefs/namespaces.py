"""Namespaces of metadata definitions (metadefs section 5)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from uuid import uuid4

from glance_api.policy.targets import project_target
from glance_api.services.collaborators import RecordServices
from glance_api.services.events import metadefs
from glance_api.services.metadefs.access import Read, check_owner, new_target, target, visible, writable
from glance_common.model.context import RequestContext
from glance_common.model.errors import BadRequest
from glance_common.model.metadef import Namespace, NamespaceQuery, is_pattern

_CONTENT_RULES = {
    "resource_type_associations": ("add_metadef_resource_type_association", "get_metadef_resource_type"),
    "properties": ("add_metadef_property", "get_metadef_properties"),
    "objects": ("add_metadef_object", "get_metadef_objects"),
    "tags": ("add_metadef_tags", "get_metadef_tags"),
}
"""What can be in a namespace → the rule for who puts it there, and who sees it."""


@dataclass(frozen=True, slots=True)
class NamespacePage:
    """One page; ``next_marker`` is the name after which the next one begins, None on the last."""

    namespaces: list[Namespace]
    next_marker: str | None


def create(
    services: RecordServices, context: RequestContext, given: Mapping[str, Any], read: Read[Mapping[str, Any]]
) -> Namespace:
    """Make a namespace with what is in it, all or nothing; ``read`` returns what is right in the ``given`` document.

    Raises PolicyDenied, Forbidden, Duplicate.
    """
    about = new_target(_owned(context, given))
    services.policy.check(context, "add_metadef_namespace", about)
    document = _owned(context, read())
    for part, (add, _) in _CONTENT_RULES.items():
        if document.get(part):
            services.policy.check(context, add, about)
    check_owner(context, document.get("owner"))
    made = services.registry.metadefs.create_namespace(context, str(uuid4()), document)
    metadefs.namespace_created(services, context, made)
    return made


def list_namespaces(services: RecordServices, context: RequestContext, query: NamespaceQuery) -> NamespacePage:
    """Return a page of the namespaces that the caller sees. Raises PolicyDenied, NotFound for an unknown marker."""
    services.policy.check(context, "get_metadef_namespaces", project_target(context))
    if query.limit == 0:
        return NamespacePage([], None)
    found = services.registry.metadefs.list_namespaces(context, query)
    may_see = partial(services.policy.allows, context, "get_metadef_namespace")
    shown = [each for each in found.namespaces if may_see(target(each))]
    shown = [_shown(services, context, each) for each in shown]
    return NamespacePage(shown, found.namespaces[-1].namespace if found.has_more and found.namespaces else None)


def show(services: RecordServices, context: RequestContext, name: str, resource_type: str | None = None) -> Namespace:
    """Return a namespace with what the caller may see in it, named as resources of ``resource_type`` see it.

    Raises NotFound.
    """
    namespace = visible(services, context, name, content=True)
    if resource_type is not None:
        namespace = namespace.prefixed(resource_type)
    return _shown(services, context, namespace)


def _shown(services: RecordServices, context: RequestContext, namespace: Namespace) -> Namespace:
    """Return the namespace with as much of its content as the rules let the caller see."""
    hidden = [
        part for part, (_, get) in _CONTENT_RULES.items() if not services.policy.allows(context, get, target(namespace))
    ]
    changes: dict[str, Any] = {part.removeprefix("resource_type_"): () for part in hidden}
    return replace(namespace, **changes) if changes else namespace


def update(
    services: RecordServices, context: RequestContext, name: str,
    read: Read[tuple[Mapping[str, Any], Mapping[str, Any]]],
) -> Namespace:
    """Replace all that a namespace says of itself; what is in it stays.

    ``read`` returns that, and the content that a client sent back as it had been shown: it must be right, and has no
    effect. Raises NotFound, Forbidden, BadRequest, Duplicate.
    """
    writable(services, context, name, "modify_metadef_namespace")
    document, content = read()
    _check_patterns(content)
    document = _owned(context, document)
    check_owner(context, document.get("owner"))
    changed = services.registry.metadefs.update_namespace(context, name, str(uuid4()), document)
    metadefs.namespace_updated(services, context, changed, name)
    return _shown(services, context, changed)


def delete(services: RecordServices, context: RequestContext, name: str) -> None:
    """Remove a namespace with all that is in it. Raises NotFound, Forbidden."""
    namespace = writable(services, context, name, "delete_metadef_namespace")
    services.registry.metadefs.delete_namespace(context, name, str(uuid4()))
    metadefs.namespace_deleted(services, context, namespace)


def _check_patterns(content: Mapping[str, Any]) -> None:
    """Raise BadRequest as the registry does for the patterns of content that it is given."""
    groups = [("properties", content.get("properties", {}))]
    for number, each in enumerate(content.get("objects", ())):
        groups.append((f"objects[{number}].properties", each.get("properties", {})))
    for place, definitions in groups:
        for name, definition in definitions.items():
            if not is_pattern(definition.get("pattern")):
                raise BadRequest(f"{place}.{name}.pattern: is not a regular expression")


def _owned(context: RequestContext, document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document with the caller's project as owner where it names none."""
    owner = {} if context.project_id is None else {"owner": context.project_id}
    return {**owner, **document}
