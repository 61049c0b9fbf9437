"""The properties of a namespace (metadefs section 6)."""

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from glance_api.services.collaborators import RecordServices
from glance_api.services.events import metadefs
from glance_api.services.metadefs.access import Read, readable, writable
from glance_common.model.context import RequestContext
from glance_common.model.metadef import Property


def create(
    services: RecordServices, context: RequestContext, namespace: str, read: Read[tuple[str, Mapping[str, Any]]]
) -> Property:
    """Make a property; ``read`` returns its name and definition. Raises NotFound, Forbidden, Duplicate."""
    writable(services, context, namespace, "add_metadef_property")
    name, definition = read()
    made = services.registry.metadefs.create_property(context, namespace, str(uuid4()), name, definition)
    metadefs.property_created(services, context, namespace, made)
    return made


def list_properties(services: RecordServices, context: RequestContext, namespace: str) -> list[Property]:
    """Return all properties. Raises NotFound, PolicyDenied."""
    readable(services, context, namespace, "get_metadef_properties")
    return services.registry.metadefs.list_properties(context, namespace)


def show(
    services: RecordServices, context: RequestContext, namespace: str, name: str, resource_type: str | None = None
) -> Property:
    """Return a property; ``name`` is the one that resources of ``resource_type`` see. Raises NotFound, PolicyDenied."""
    readable(services, context, namespace, "get_metadef_property")
    return services.registry.metadefs.get_property(context, namespace, name, resource_type=resource_type)


def update(
    services: RecordServices, context: RequestContext, namespace: str, name: str,
    read: Read[tuple[str, Mapping[str, Any]]],
) -> Property:
    """Replace a property, its name too; ``read`` returns the new ones. Raises NotFound, Forbidden, Duplicate."""
    writable(services, context, namespace, "modify_metadef_property")
    new_name, definition = read()
    changed = services.registry.metadefs.update_property(context, namespace, name, str(uuid4()), new_name, definition)
    metadefs.property_updated(services, context, namespace, changed, name)
    return changed


def delete(services: RecordServices, context: RequestContext, namespace: str, name: str) -> None:
    """Remove a property. Raises NotFound, Forbidden."""
    writable(services, context, namespace, "remove_metadef_property")
    told = services.notifications.wants(metadefs.PROPERTY_DELETE)
    gone = services.registry.metadefs.get_property(context, namespace, name) if told else None
    services.registry.metadefs.delete_property(context, namespace, name, str(uuid4()))
    if gone is not None:
        metadefs.property_deleted(services, context, namespace, gone)


def delete_all(services: RecordServices, context: RequestContext, namespace: str) -> None:
    """Remove all properties of a namespace. Raises NotFound, Forbidden."""
    about = writable(services, context, namespace, "delete_metadef_namespace")
    services.registry.metadefs.delete_properties(context, namespace, str(uuid4()))
    metadefs.namespace_emptied(services, context, about, "delete_properties")
