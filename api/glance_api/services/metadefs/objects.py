"""The objects of a namespace: named groups of properties (metadefs section 7)."""

from collections.abc import Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Literal
from uuid import uuid4

from glance_api.services.collaborators import RecordServices
from glance_api.services.events import metadefs
from glance_api.services.metadefs.access import Read, readable, writable
from glance_common.model.context import RequestContext
from glance_common.model.errors import NotFound
from glance_common.model.metadef import MAX_NAME, Object


@dataclass(frozen=True, slots=True)
class ObjectQuery:
    """A list request; ``marker`` is a name, no ``limit`` means all, no ``sort_key`` the order of their making."""

    limit: int | None = None
    marker: str | None = None
    sort_key: Literal["name", "created_at", "updated_at"] | None = None
    sort_dir: Literal["asc", "desc"] = "desc"


@dataclass(frozen=True, slots=True)
class ObjectPage:
    """One page; ``next_marker`` is the name after which the next one begins, None on the last."""

    objects: list[Object]
    next_marker: str | None = None


def create(services: RecordServices, context: RequestContext, namespace: str, read: Read[Mapping[str, Any]]) -> Object:
    """Make an object. Raises NotFound, Forbidden, Duplicate."""
    writable(services, context, namespace, "add_metadef_object")
    made = services.registry.metadefs.create_object(context, namespace, str(uuid4()), read())
    metadefs.object_created(services, context, namespace, made)
    return made


def list_objects(services: RecordServices, context: RequestContext, namespace: str, query: ObjectQuery) -> ObjectPage:
    """Return a page of objects. Raises NotFound, also for an unknown marker, PolicyDenied."""
    readable(services, context, namespace, "get_metadef_objects")
    return page_of(services.registry.metadefs.list_objects(context, namespace), query)


def page_of(found: list[Object], query: ObjectQuery) -> ObjectPage:
    """Return the page of ``found``, which come in the order in which they were made. Raises NotFound.

    A namespace has a few dozen objects at most: the registry gives them all, and what is wanted is taken here.
    """
    if query.sort_key is not None:
        falls = query.sort_dir == "desc"
        # Sorting keeps the order of equals: turned round first, the latest of them comes first.
        found = sorted(found[::-1] if falls else found, key=attrgetter(query.sort_key), reverse=falls)
    if query.marker is not None:
        names = [each.name for each in found]
        if query.marker not in names:
            raise NotFound(f"marker: there is no object {query.marker[:MAX_NAME]}")
        found = found[names.index(query.marker) + 1 :]
    if query.limit is None or len(found) <= query.limit:
        return ObjectPage(found)
    return ObjectPage(found[: query.limit], found[query.limit - 1].name)


def show(services: RecordServices, context: RequestContext, namespace: str, name: str) -> Object:
    """Return an object. Raises NotFound, PolicyDenied."""
    readable(services, context, namespace, "get_metadef_object")
    return services.registry.metadefs.get_object(context, namespace, name)


def update(
    services: RecordServices, context: RequestContext, namespace: str, name: str, read: Read[Mapping[str, Any]]
) -> Object:
    """Replace an object, its name too. Raises NotFound, Forbidden, Duplicate."""
    writable(services, context, namespace, "modify_metadef_object")
    changed = services.registry.metadefs.update_object(context, namespace, name, str(uuid4()), read())
    metadefs.object_updated(services, context, namespace, changed, name)
    return changed


def delete(services: RecordServices, context: RequestContext, namespace: str, name: str) -> None:
    """Remove an object. Raises NotFound, Forbidden."""
    writable(services, context, namespace, "delete_metadef_object")
    told = services.notifications.wants(metadefs.OBJECT_DELETE)
    gone = services.registry.metadefs.get_object(context, namespace, name) if told else None
    services.registry.metadefs.delete_object(context, namespace, name, str(uuid4()))
    if gone is not None:
        metadefs.object_deleted(services, context, namespace, gone)


def delete_all(services: RecordServices, context: RequestContext, namespace: str) -> None:
    """Remove all objects of a namespace. Raises NotFound, Forbidden."""
    about = writable(services, context, namespace, "delete_metadef_namespace")
    services.registry.metadefs.delete_objects(context, namespace, str(uuid4()))
    metadefs.namespace_emptied(services, context, about, "delete_objects")
