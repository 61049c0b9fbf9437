"""Kinds of resources, and which of them a namespace is meant for (metadefs section 9)."""

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from glance_api.policy.targets import project_target
from glance_api.services.collaborators import RecordServices
from glance_api.services.events import metadefs
from glance_api.services.metadefs.access import Read, readable, writable
from glance_common.model.context import RequestContext
from glance_common.model.metadef import Association, ResourceType


def list_types(services: RecordServices, context: RequestContext) -> list[ResourceType]:
    """Return every kind of resources that any namespace was ever associated with. Raises PolicyDenied."""
    services.policy.check(context, "list_metadef_resource_types", project_target(context))
    return services.registry.metadefs.list_resource_types(context)


def list_associations(services: RecordServices, context: RequestContext, namespace: str) -> list[Association]:
    """Return what a namespace is meant for. Raises NotFound, PolicyDenied."""
    readable(services, context, namespace, "get_metadef_resource_type")
    return services.registry.metadefs.list_associations(context, namespace)


def associate(
    services: RecordServices, context: RequestContext, namespace: str, read: Read[Mapping[str, Any]]
) -> Association:
    """Associate a namespace with a kind of resources, which is made when it is new.

    Raises NotFound, Forbidden, Duplicate.
    """
    writable(services, context, namespace, "add_metadef_resource_type_association")
    made = services.registry.metadefs.create_association(context, namespace, str(uuid4()), read())
    metadefs.association_created(services, context, namespace, made)
    return made


def dissociate(services: RecordServices, context: RequestContext, namespace: str, name: str) -> None:
    """End an association; the kind of resources stays. Raises NotFound, Forbidden."""
    about = writable(services, context, namespace, "remove_metadef_resource_type_association")
    services.registry.metadefs.delete_association(context, namespace, name, str(uuid4()))
    for gone in about.associations:
        if gone.name == name:
            metadefs.association_deleted(services, context, namespace, gone)
