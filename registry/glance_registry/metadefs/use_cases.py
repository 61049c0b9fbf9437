"""What a caller can ask about metadata definitions: each function is one request, in a transaction of its own.

A write is done at most once for its ``attempt``; a repeated call gets the answer of the first one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from glance_common.failpoints import failpoint
from glance_common.model.context import RequestContext
from glance_common.model.metadef import NamespaceQuery, TagQuery
from glance_registry.db.replica import maybe_old
from glance_registry.db.session import read, run_transaction
from glance_registry.images.listing import Page
from glance_registry.metadefs import content, listing, namespaces
from glance_registry.metadefs.attempts import once
from glance_registry.metadefs.content import TAGS, Kind, Row
from glance_registry.records.documents import join


@dataclass(frozen=True, slots=True)
class Thing:
    """One thing in a namespace: its kind and the name by which it is there."""

    kind: Kind
    name: str


def list_resource_types(engine: sa.Engine) -> Sequence[str]:
    """Return the documents of all resource types."""
    return maybe_old(engine, lambda chosen: read(chosen, listing.list_resource_types))


def list_namespaces(engine: sa.Engine, context: RequestContext, query: NamespaceQuery, largest: int) -> Page:
    """Return a page of namespaces of at most ``largest`` bytes; raises as ``listing.list_namespaces``."""
    return maybe_old(engine, lambda chosen: read(chosen, listing.list_namespaces, context, query, largest))


def show_namespace(engine: sa.Engine, context: RequestContext, namespace: str, *, whole: bool) -> str:
    """Return the document of a namespace; raises as ``namespaces.get``."""
    return read(engine, namespaces.get, context, namespace, whole=whole)


def create_namespace(
    engine: sa.Engine, attempt: str, values: Mapping[str, Any], things: Mapping[Kind, Sequence[Row]]
) -> str:
    """Make a namespace with its content and return its document; raises as ``namespaces.create``."""
    return _write(engine, attempt, lambda connection: namespaces.create(connection, values, things))


def update_namespace(
    engine: sa.Engine, context: RequestContext, attempt: str, namespace: str, values: Mapping[str, Any]
) -> str:
    """Replace the base fields of a namespace and return its document; raises as ``namespaces.update``."""
    return _write(engine, attempt, lambda connection: namespaces.update(connection, context, namespace, values))


def remove_namespace(engine: sa.Engine, context: RequestContext, attempt: str, namespace: str) -> None:
    """Remove a namespace with its content; raises as ``namespaces.delete``."""
    _write(engine, attempt, lambda connection: namespaces.delete(connection, context, namespace))


def list_tags(engine: sa.Engine, context: RequestContext, namespace: str, query: TagQuery) -> Sequence[str]:
    """Return the documents of a page of tags; raises as ``listing.list_tags``."""
    return maybe_old(engine, lambda chosen: read(chosen, listing.list_tags, context, namespace, query))


def list_content(engine: sa.Engine, context: RequestContext, namespace: str, kind: Kind) -> str:
    """Return the JSON array of all of one kind; raises as ``content.list_all``."""
    return read(engine, content.list_all, context, namespace, kind)


def show_content(
    engine: sa.Engine, context: RequestContext, namespace: str, thing: Thing, resource_type: str | None
) -> str:
    """Return the document of one thing: with ``resource_type`` a property, by the name that such resources know it by.

    Raises as ``content.get`` and ``content.get_property_of``.
    """
    if resource_type is not None:
        return read(engine, content.get_property_of, context, namespace, thing.name, resource_type)
    return read(engine, content.get, context, namespace, thing.kind, thing.name)


def create_content(
    engine: sa.Engine, context: RequestContext, attempt: str, namespace: str, kind: Kind, row: Row
) -> str:
    """Make one thing in a namespace and return its document; raises as ``content.add``."""

    def work(connection: sa.Connection) -> str:
        holder = namespaces.lock(connection, context, namespace)
        content.add(connection, holder, kind, [row])
        return content.shown(connection, holder, kind, [row])[0]

    return _write(engine, attempt, work)


def put_tags(
    engine: sa.Engine, context: RequestContext, attempt: str, namespace: str, rows: list[Row], append: bool
) -> str:
    """Replace all tags, or add some, and return the array of those; raises as ``content.put_tags``."""

    def work(connection: sa.Connection) -> str:
        holder = namespaces.lock(connection, context, namespace)
        content.put_tags(connection, holder, rows, append=append)
        return join(content.shown(connection, holder, TAGS, rows))

    return _write(engine, attempt, work)


def clear_content(engine: sa.Engine, context: RequestContext, attempt: str, namespace: str, kind: Kind) -> None:
    """Remove all of one kind from a namespace; raises as ``content.delete_all``."""

    def work(connection: sa.Connection) -> str:
        content.delete_all(connection, namespaces.lock(connection, context, namespace), kind)
        return ""

    _write(engine, attempt, work)


def replace_content(
    engine: sa.Engine, context: RequestContext, attempt: str, namespace: str, thing: Thing, row: Row
) -> str:
    """Write ``row`` over a thing and return its document; raises as ``content.replace``."""

    def work(connection: sa.Connection) -> str:
        holder = namespaces.lock(connection, context, namespace)
        content.replace(connection, holder, thing.kind, thing.name, row)
        return content.shown(connection, holder, thing.kind, [row])[0]

    return _write(engine, attempt, work)


def remove_content(engine: sa.Engine, context: RequestContext, attempt: str, namespace: str, thing: Thing) -> None:
    """Remove a thing from a namespace; raises as ``content.delete``."""

    def work(connection: sa.Connection) -> str:
        content.delete(connection, namespaces.lock(connection, context, namespace), thing.kind, thing.name)
        return ""

    _write(engine, attempt, work)


def _write(engine: sa.Engine, attempt: str, work: Callable[[sa.Connection], str]) -> str:
    """Do ``work`` at most once for ``attempt`` and return its answer."""
    answer = run_transaction(engine, once, attempt, work)
    failpoint("registry.metadefs.after-commit")
    return answer
