"""The catalogue of metadata definitions over HTTP (docs/registry-protocol.md)."""

from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa
from flask import Blueprint, Response, request

from glance_common.failpoints import failpoint
from glance_common.model import errors
from glance_common.model.json_text import refuse_nul
from glance_common.model.metadef import NamespaceQuery, TagQuery
from glance_registry.db.session import read, run_transaction
from glance_registry.metadefs import content, listing, namespaces, schema
from glance_registry.metadefs.attempts import once
from glance_registry.metadefs.content import KINDS, PROPERTIES, TAGS, Kind, Row
from glance_registry.records.documents import join
from glance_registry.views import parsing
from glance_registry.views.parsing import Fields

blueprint = Blueprint("metadefs", __name__)

MAX_LIMIT = 10_000
MAX_MARKER = 100_000
_KINDS = {kind.key: kind for kind in KINDS}


@blueprint.get("/v1/metadefs/resource_types")
def resource_types() -> Response:
    """Answer all resource types."""
    return _list("resource_types", read(parsing.engine(), listing.list_resource_types))


@blueprint.get("/v1/metadefs/namespaces")
def index() -> Response:
    """Answer a page of namespaces."""
    q = Fields.parse(request.args.get("q", "{}"), "q")
    q.only("limit", "marker", "sort_key", "sort_dir", "visibility", "resource_types")
    query = NamespaceQuery(
        limit=q.integer("limit", maximum=MAX_LIMIT),
        visibility=q.optional_text("visibility"),
        resource_types=tuple(q.optional_texts("resource_types") or ()),
        **_page_fields(q),
    )
    page = read(parsing.engine(), listing.list_namespaces, parsing.caller(), query, parsing.bounds().page)
    more = "true" if page.has_more else "false"
    return parsing.raw_answer(f'{{"namespaces":{join(page.rows)},"more":{more}}}')


@blueprint.post("/v1/metadefs/namespaces")
def create() -> Response:
    """Make a namespace with its content."""
    body = _body("namespace")
    given, things = schema.whole_namespace(body.mapping("namespace"))
    values = schema.with_defaults(given)
    return _write("namespace", body, lambda connection: namespaces.create(connection, values, things))


@blueprint.get("/v1/metadefs/namespaces/<namespace>")
def show(namespace: str) -> Response:
    """Answer a namespace, with its content unless that is not wanted."""
    whole = request.args.get("content") != "0"
    document = read(parsing.engine(), namespaces.get, parsing.caller(), namespace, whole=whole)
    return parsing.raw_answer(f'{{"namespace":{document}}}')


@blueprint.put("/v1/metadefs/namespaces/<namespace>")
def update(namespace: str) -> Response:
    """Replace the base fields of a namespace."""
    body = _body("namespace")
    values = schema.base_fields(body.mapping("namespace"))
    caller = parsing.caller()
    return _write("namespace", body, lambda connection: namespaces.update(connection, caller, namespace, values))


@blueprint.delete("/v1/metadefs/namespaces/<namespace>")
def remove(namespace: str) -> Response:
    """Remove a namespace with its content."""
    caller = parsing.caller()
    return _write(None, _body(), lambda connection: namespaces.delete(connection, caller, namespace))


@blueprint.get("/v1/metadefs/namespaces/<namespace>/<key>")
def content_index(namespace: str, key: str) -> Response:
    """Answer all of one kind; of tags a page when a query asks for one."""
    kind = _kind(key)
    if kind is TAGS and "q" in request.args:
        query = _tag_query(Fields.parse(request.args["q"], "q"))
        return _list("items", read(parsing.engine(), listing.list_tags, parsing.caller(), namespace, query))
    array = read(parsing.engine(), content.list_all, parsing.caller(), namespace, kind)
    return parsing.raw_answer(f'{{"items":{array}}}')


@blueprint.post("/v1/metadefs/namespaces/<namespace>/<key>")
def content_create(namespace: str, key: str) -> Response:
    """Make one thing in a namespace."""
    kind, body = _kind(key), _body("item")
    row = schema.row(kind, body.mapping("item"))

    def work(connection: sa.Connection) -> str:
        holder = namespaces.lock(connection, parsing.caller(), namespace)
        content.add(connection, holder, kind, [row])
        return content.shown(connection, holder, kind, [row])[0]

    return _write("item", body, work)


@blueprint.put("/v1/metadefs/namespaces/<namespace>/tags")
def put_tags(namespace: str) -> Response:
    """Replace all tags, or add some."""
    body = _body("items", "append")
    rows: list[Row] = [schema.row(TAGS, item.values) for item in body.objects("items")]
    append = body.boolean("append", default=False)

    def work(connection: sa.Connection) -> str:
        holder = namespaces.lock(connection, parsing.caller(), namespace)
        content.put_tags(connection, holder, rows, append=append)
        return join(content.shown(connection, holder, TAGS, rows))

    return _write("items", body, work)


@blueprint.delete("/v1/metadefs/namespaces/<namespace>/<key>")
def content_clear(namespace: str, key: str) -> Response:
    """Remove all of one kind from a namespace."""
    kind = _kind(key)

    def work(connection: sa.Connection) -> str:
        content.delete_all(connection, namespaces.lock(connection, parsing.caller(), namespace), kind)
        return ""

    return _write(None, _body(), work)


@blueprint.get("/v1/metadefs/namespaces/<namespace>/<key>/<rest:name>")
def content_show(namespace: str, key: str, name: str) -> Response:
    """Answer one thing; a property also by the name that resources of some type know it by."""
    kind, resource_type = _kind(key), request.args.get("resource_type")
    if kind is PROPERTIES and resource_type is not None:
        refuse_nul(resource_type, "resource_type")
        document = read(
            parsing.engine(), content.get_property_of, parsing.caller(), namespace, name, resource_type
        )
    else:
        document = read(parsing.engine(), content.get, parsing.caller(), namespace, kind, name)
    return parsing.raw_answer(f'{{"item":{document}}}')


@blueprint.put("/v1/metadefs/namespaces/<namespace>/<key>/<rest:name>")
def content_replace(namespace: str, key: str, name: str) -> Response:
    """Write over one thing, its name included."""
    kind, body = _kind(key), _body("item")
    row = schema.row(kind, body.mapping("item"))

    def work(connection: sa.Connection) -> str:
        holder = namespaces.lock(connection, parsing.caller(), namespace)
        content.replace(connection, holder, kind, name, row)
        return content.shown(connection, holder, kind, [row])[0]

    return _write("item", body, work)


@blueprint.delete("/v1/metadefs/namespaces/<namespace>/<key>/<rest:name>")
def content_delete(namespace: str, key: str, name: str) -> Response:
    """Remove one thing from a namespace."""
    kind = _kind(key)

    def work(connection: sa.Connection) -> str:
        content.delete(connection, namespaces.lock(connection, parsing.caller(), namespace), kind, name)
        return ""

    return _write(None, _body(), work)


def _write(key: str | None, body: Fields, work: Callable[[sa.Connection], str]) -> Response:
    """Do a write at most once, and answer what it returned under ``key``; without key 204."""
    document = run_transaction(parsing.engine(), once, body.uuid("attempt"), work)
    failpoint("registry.metadefs.after-commit")
    return parsing.no_content() if key is None else parsing.raw_answer(f'{{"{key}":{document}}}')


def _list(key: str, documents: Sequence[str]) -> Response:
    return parsing.raw_answer(f'{{"{key}":{join(documents)}}}')


def _body(*names: str) -> Fields:
    body = parsing.body()
    body.only("attempt", *names)
    return body


def _kind(key: str) -> Kind:
    if key not in _KINDS:
        raise errors.NotFound(f"a namespace has no {key}")
    return _KINDS[key]


def _tag_query(q: Fields) -> TagQuery:
    q.only("limit", "marker", "sort_key", "sort_dir")
    return TagQuery(limit=q.optional_integer("limit", maximum=MAX_LIMIT), **_page_fields(q))


def _page_fields(q: Fields) -> dict[str, Any]:
    """Return what both lists have in common, as far as it is given."""
    given = {name: q.text(name) for name in ("sort_key", "sort_dir") if q.values.get(name) is not None}
    # Of any length: a name that cannot be is one that is not found.
    return {**given, "marker": q.optional_text("marker", maximum=MAX_MARKER)}
