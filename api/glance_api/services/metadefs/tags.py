"""The tags of a namespace (metadefs section 8)."""

from collections.abc import Sequence
from uuid import uuid4

from glance_api.services.collaborators import Glance
from glance_api.services.events import metadefs
from glance_api.services.metadefs.access import Read, readable, writable
from glance_common.model.context import RequestContext
from glance_common.model.metadef import Tag, TagQuery


def create(glance: Glance, context: RequestContext, namespace: str, name: str) -> Tag:
    """Make a tag. Raises NotFound, Forbidden, Duplicate."""
    writable(glance, context, namespace, "add_metadef_tag")
    made = glance.registry.metadefs.create_tag(context, namespace, str(uuid4()), name)
    metadefs.tag_created(glance, context, namespace, made)
    return made


def create_all(
    glance: Glance, context: RequestContext, namespace: str, read: Read[Sequence[str]], *, append: bool
) -> list[Tag]:
    """Put the tags in the place of all that are there, or add them, all or none; return those that were made.

    Raises NotFound, Forbidden, Duplicate.
    """
    writable(glance, context, namespace, "add_metadef_tags")
    made = glance.registry.metadefs.create_tags(context, namespace, str(uuid4()), read(), append=append)
    for tag in made:
        metadefs.tag_created(glance, context, namespace, tag)
    return made


def list_tags(glance: Glance, context: RequestContext, namespace: str, query: TagQuery) -> list[Tag]:
    """Return a page of tags. Raises NotFound, also for an unknown marker, PolicyDenied."""
    readable(glance, context, namespace, "get_metadef_tags")
    return [] if query.limit == 0 else glance.registry.metadefs.list_tags(context, namespace, query)


def show(glance: Glance, context: RequestContext, namespace: str, name: str) -> Tag:
    """Return a tag. Raises NotFound, PolicyDenied."""
    readable(glance, context, namespace, "get_metadef_tag")
    return glance.registry.metadefs.get_tag(context, namespace, name)


def rename(glance: Glance, context: RequestContext, namespace: str, name: str, read: Read[str]) -> Tag:
    """Give a tag another name. Raises NotFound, Forbidden, Duplicate."""
    writable(glance, context, namespace, "modify_metadef_tag")
    changed = glance.registry.metadefs.rename_tag(context, namespace, name, str(uuid4()), read())
    metadefs.tag_updated(glance, context, namespace, changed, name)
    return changed


def delete(glance: Glance, context: RequestContext, namespace: str, name: str) -> None:
    """Remove a tag. Raises NotFound, Forbidden."""
    writable(glance, context, namespace, "delete_metadef_tag")
    told = glance.notifications.wants(metadefs.TAG_DELETE)
    gone = glance.registry.metadefs.get_tag(context, namespace, name) if told else None
    glance.registry.metadefs.delete_tag(context, namespace, name, str(uuid4()))
    if gone is not None:
        metadefs.tag_deleted(glance, context, namespace, gone)


def delete_all(glance: Glance, context: RequestContext, namespace: str) -> None:
    """Remove all tags of a namespace. Raises NotFound, Forbidden."""
    about = writable(glance, context, namespace, "delete_metadef_tags")
    glance.registry.metadefs.delete_tags(context, namespace, str(uuid4()))
    metadefs.namespace_deleted(glance, context, about, "delete_tags")
