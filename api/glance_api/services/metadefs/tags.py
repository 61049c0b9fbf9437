"""The tags of a namespace (metadefs section 8)."""

from collections.abc import Sequence
from uuid import uuid4

from glance_api.services.collaborators import RecordServices
from glance_api.services.events import metadefs
from glance_api.services.metadefs.access import Read, readable, writable
from glance_common.model.context import RequestContext
from glance_common.model.metadef import Tag, TagQuery


def create(services: RecordServices, context: RequestContext, namespace: str, name: str) -> Tag:
    """Make a tag. Raises NotFound, Forbidden, Duplicate."""
    writable(services, context, namespace, "add_metadef_tag")
    made = services.registry.metadefs.create_tag(context, namespace, str(uuid4()), name)
    metadefs.tag_created(services, context, namespace, made)
    return made


def create_all(
    services: RecordServices, context: RequestContext, namespace: str, read: Read[Sequence[str]], *, append: bool
) -> list[Tag]:
    """Put the tags in the place of all that are there, or add them, all or none; return those that were made.

    Raises NotFound, Forbidden, Duplicate.
    """
    writable(services, context, namespace, "add_metadef_tags")
    made = services.registry.metadefs.create_tags(context, namespace, str(uuid4()), read(), append=append)
    for tag in made:
        metadefs.tag_created(services, context, namespace, tag)
    return made


def list_tags(services: RecordServices, context: RequestContext, namespace: str, query: TagQuery) -> list[Tag]:
    """Return a page of tags. Raises NotFound, also for an unknown marker, PolicyDenied."""
    readable(services, context, namespace, "get_metadef_tags")
    return [] if query.limit == 0 else services.registry.metadefs.list_tags(context, namespace, query)


def show(services: RecordServices, context: RequestContext, namespace: str, name: str) -> Tag:
    """Return a tag. Raises NotFound, PolicyDenied."""
    readable(services, context, namespace, "get_metadef_tag")
    return services.registry.metadefs.get_tag(context, namespace, name)


def rename(services: RecordServices, context: RequestContext, namespace: str, name: str, read: Read[str]) -> Tag:
    """Give a tag another name. Raises NotFound, Forbidden, Duplicate."""
    writable(services, context, namespace, "modify_metadef_tag")
    changed = services.registry.metadefs.rename_tag(context, namespace, name, str(uuid4()), read())
    metadefs.tag_updated(services, context, namespace, changed, name)
    return changed


def delete(services: RecordServices, context: RequestContext, namespace: str, name: str) -> None:
    """Remove a tag. Raises NotFound, Forbidden."""
    writable(services, context, namespace, "delete_metadef_tag")
    told = services.notifications.wants(metadefs.TAG_DELETE)
    gone = services.registry.metadefs.get_tag(context, namespace, name) if told else None
    services.registry.metadefs.delete_tag(context, namespace, name, str(uuid4()))
    if gone is not None:
        metadefs.tag_deleted(services, context, namespace, gone)


def delete_all(services: RecordServices, context: RequestContext, namespace: str) -> None:
    """Remove all tags of a namespace. Raises NotFound, Forbidden."""
    about = writable(services, context, namespace, "delete_metadef_tags")
    services.registry.metadefs.delete_tags(context, namespace, str(uuid4()))
    metadefs.namespace_emptied(services, context, about, "delete_tags")
