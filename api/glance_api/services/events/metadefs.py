"""What other services are told about the catalogue (configuration section 11).

As with all events: after the commit, never waiting, never raising. A namespace that is made with content is told first,
then each thing in it.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from glance_api.services.collaborators import EventServices
from glance_common.model.context import RequestContext
from glance_common.model.metadef import Association, Namespace, Object, Property, Tag

PROPERTY_DELETE, OBJECT_DELETE, TAG_DELETE = "metadef_property.delete", "metadef_object.delete", "metadef_tag.delete"
_DEFINITION = (
    "type", "title", "description", "default", "minimum", "maximum", "enum", "pattern", "minLength", "maxLength",
    "confidential", "items", "uniqueItems", "minItems", "maxItems", "additionalItems",
)
"""What consumers are told of a definition; each is there, without value as null."""


def namespace_created(services: EventServices, context: RequestContext, namespace: Namespace) -> None:
    """Tell that a namespace was made, and each thing that was made in it."""
    _tell(services, context, "metadef_namespace.create", _namespace(namespace))
    for association in namespace.associations:
        association_created(services, context, namespace.namespace, association)
    for each in namespace.properties:
        property_created(services, context, namespace.namespace, each)
    for group in namespace.objects:
        object_created(services, context, namespace.namespace, group)
    for tag in namespace.tags:
        tag_created(services, context, namespace.namespace, tag)


def namespace_updated(services: EventServices, context: RequestContext, namespace: Namespace, old: str) -> None:
    """Tell that a namespace was saved, which had the name ``old``."""
    _tell(services, context, "metadef_namespace.update", {**_namespace(namespace), "namespace_old": old})


def namespace_deleted(services: EventServices, context: RequestContext, namespace: Namespace) -> None:
    """Tell that a namespace is gone; ``namespace`` is as it was before."""
    _tell(services, context, "metadef_namespace.delete", _gone(_namespace(namespace)))


def namespace_emptied(
    services: EventServices, context: RequestContext, namespace: Namespace,
    what: Literal["delete_objects", "delete_properties", "delete_tags"],
) -> None:
    """Tell that all of one kind in a namespace is gone; the namespace itself stays."""
    _tell(services, context, f"metadef_namespace.{what}", _namespace(namespace))


def property_created(services: EventServices, context: RequestContext, namespace: str, made: Property) -> None:
    """Tell that a property was made."""
    _tell(services, context, "metadef_property.create", _property(namespace, made))


def property_updated(
    services: EventServices, context: RequestContext, namespace: str, changed: Property, old: str
) -> None:
    """Tell that a property was saved, which had the name ``old``."""
    _tell(services, context, "metadef_property.update", {**_property(namespace, changed), "name_old": old})


def property_deleted(services: EventServices, context: RequestContext, namespace: str, gone: Property) -> None:
    """Tell that a property is gone."""
    _tell(services, context, PROPERTY_DELETE, _gone(_property(namespace, gone)))


def object_created(services: EventServices, context: RequestContext, namespace: str, made: Object) -> None:
    """Tell that an object was made."""
    _tell(services, context, "metadef_object.create", _object(namespace, made))


def object_updated(services: EventServices, context: RequestContext, namespace: str, changed: Object, old: str) -> None:
    """Tell that an object was saved, which had the name ``old``."""
    _tell(services, context, "metadef_object.update", {**_object(namespace, changed), "name_old": old})


def object_deleted(services: EventServices, context: RequestContext, namespace: str, gone: Object) -> None:
    """Tell that an object is gone."""
    _tell(services, context, OBJECT_DELETE, _gone(_object(namespace, gone)))


def tag_created(services: EventServices, context: RequestContext, namespace: str, made: Tag) -> None:
    """Tell that a tag was made."""
    _tell(services, context, "metadef_tag.create", _named(namespace, made))


def tag_updated(services: EventServices, context: RequestContext, namespace: str, changed: Tag, old: str) -> None:
    """Tell that a tag was saved, which had the name ``old``."""
    _tell(services, context, "metadef_tag.update", {**_named(namespace, changed), "name_old": old})


def tag_deleted(services: EventServices, context: RequestContext, namespace: str, gone: Tag) -> None:
    """Tell that a tag is gone."""
    _tell(services, context, TAG_DELETE, _gone(_named(namespace, gone)))


def association_created(services: EventServices, context: RequestContext, namespace: str, made: Association) -> None:
    """Tell that a namespace was associated with a kind of resources."""
    _tell(services, context, "metadef_resource_type.create", _association(namespace, made))


def association_deleted(services: EventServices, context: RequestContext, namespace: str, gone: Association) -> None:
    """Tell that a namespace is no longer associated with a kind of resources."""
    _tell(services, context, "metadef_resource_type.delete", _gone(_association(namespace, gone)))


def _tell(services: EventServices, context: RequestContext, event_type: str, payload: dict[str, Any]) -> None:
    if services.notifications.wants(event_type):
        services.notifications.send(context, event_type, payload)


def _gone(payload: dict[str, Any]) -> dict[str, Any]:
    return {**payload, "deleted": True, "deleted_at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}


def _namespace(namespace: Namespace) -> dict[str, Any]:
    return {
        "namespace": namespace.namespace,
        "namespace_old": namespace.namespace,
        "display_name": namespace.display_name,
        "protected": namespace.protected,
        "visibility": namespace.visibility,
        "owner": namespace.owner,
        "description": namespace.description,
        "created_at": namespace.created_at,
        "updated_at": namespace.updated_at,
        "deleted": False,
        "deleted_at": None,
    }


def _named(namespace: str, thing: Property | Object | Tag | Association) -> dict[str, Any]:
    return {
        "namespace": namespace,
        "name": thing.name,
        "name_old": thing.name,
        "created_at": thing.created_at,
        "updated_at": thing.updated_at,
        "deleted": False,
        "deleted_at": None,
    }


def _property(namespace: str, each: Property) -> dict[str, Any]:
    return {**_named(namespace, each), **_definition(each.definition)}


def _definition(definition: Mapping[str, Any]) -> dict[str, Any]:
    return {word: definition.get(word) for word in _DEFINITION}


def _object(namespace: str, group: Object) -> dict[str, Any]:
    return {
        **_named(namespace, group),
        "description": group.description,
        "required": None if group.required is None else list(group.required),
        "properties": [{"name": name, **_definition(each)} for name, each in group.properties.items()],
    }


def _association(namespace: str, association: Association) -> dict[str, Any]:
    return {
        **_named(namespace, association),
        "prefix": association.prefix,
        "properties_target": association.properties_target,
    }
