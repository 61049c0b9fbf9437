"""The catalogue of metadata definitions over HTTP (docs/registry-protocol.md)."""

from collections.abc import Sequence
from typing import Any

from flask import Blueprint, Response, request

from glance_common.model import errors
from glance_common.model.json_text import refuse_nul
from glance_common.model.metadef import NamespaceQuery, TagQuery
from glance_common.model.pages import MAX_PAGE_ROWS
from glance_registry.metadefs import schema, use_cases
from glance_registry.metadefs.content import KINDS, PROPERTIES, TAGS, Kind, Row
from glance_registry.metadefs.use_cases import Thing
from glance_registry.records.documents import join
from glance_registry.views import parsing
from glance_registry.views.parsing import Fields

blueprint = Blueprint("metadefs", __name__)

MAX_MARKER = 100_000
_KINDS = {kind.key: kind for kind in KINDS}


@blueprint.get("/v1/metadefs/resource_types")
def resource_types() -> Response:
    """Answer all resource types."""
    return _list("resource_types", use_cases.list_resource_types(parsing.engine()))


@blueprint.get("/v1/metadefs/namespaces")
def index() -> Response:
    """Answer a page of namespaces."""
    q = Fields.parse(request.args.get("q", "{}"), "q")
    q.only("limit", "marker", "sort_key", "sort_dir", "visibility", "resource_types")
    query = NamespaceQuery(
        limit=parsing.page_rows(q),
        visibility=q.optional_text("visibility"),
        resource_types=tuple(q.optional_texts("resource_types") or ()),
        **_page_fields(q),
    )
    page = use_cases.list_namespaces(parsing.engine(), parsing.caller(), query, parsing.bounds().page)
    more = "true" if page.has_more else "false"
    return parsing.raw_answer(f'{{"namespaces":{join(page.rows)},"more":{more}}}')


@blueprint.post("/v1/metadefs/namespaces")
def create() -> Response:
    """Make a namespace with its content."""
    body = _body("namespace")
    given, things = schema.whole_namespace(body.mapping("namespace"))
    values = schema.with_defaults(given)
    document = use_cases.create_namespace(parsing.engine(), body.uuid("attempt"), values, things)
    return parsing.raw_answer(f'{{"namespace":{document}}}')


@blueprint.get("/v1/metadefs/namespaces/<namespace>")
def show(namespace: str) -> Response:
    """Answer a namespace, with its content unless that is not wanted."""
    whole = request.args.get("content") != "0"
    document = use_cases.show_namespace(parsing.engine(), parsing.caller(), namespace, whole=whole)
    return parsing.raw_answer(f'{{"namespace":{document}}}')


@blueprint.put("/v1/metadefs/namespaces/<namespace>")
def update(namespace: str) -> Response:
    """Replace the base fields of a namespace."""
    body = _body("namespace")
    values = schema.base_fields(body.mapping("namespace"))
    document = use_cases.update_namespace(
        parsing.engine(), parsing.caller(), body.uuid("attempt"), namespace, values
    )
    return parsing.raw_answer(f'{{"namespace":{document}}}')


@blueprint.delete("/v1/metadefs/namespaces/<namespace>")
def remove(namespace: str) -> Response:
    """Remove a namespace with its content."""
    use_cases.remove_namespace(parsing.engine(), parsing.caller(), _body().uuid("attempt"), namespace)
    return parsing.no_content()


@blueprint.get("/v1/metadefs/namespaces/<namespace>/<key>")
def content_index(namespace: str, key: str) -> Response:
    """Answer all of one kind; of tags a page when a query asks for one."""
    kind = _kind(key)
    if kind is TAGS and "q" in request.args:
        query = _tag_query(Fields.parse(request.args["q"], "q"))
        return _list("items", use_cases.list_tags(parsing.engine(), parsing.caller(), namespace, query))
    array = use_cases.list_content(parsing.engine(), parsing.caller(), namespace, kind)
    return parsing.raw_answer(f'{{"items":{array}}}')


@blueprint.post("/v1/metadefs/namespaces/<namespace>/<key>")
def content_create(namespace: str, key: str) -> Response:
    """Make one thing in a namespace."""
    kind, body = _kind(key), _body("item")
    row = schema.row(kind, body.mapping("item"))
    document = use_cases.create_content(
        parsing.engine(), parsing.caller(), body.uuid("attempt"), namespace, kind, row
    )
    return parsing.raw_answer(f'{{"item":{document}}}')


@blueprint.put("/v1/metadefs/namespaces/<namespace>/tags")
def put_tags(namespace: str) -> Response:
    """Replace all tags, or add some."""
    body = _body("items", "append")
    rows: list[Row] = [schema.row(TAGS, item.values) for item in body.objects("items")]
    append = body.boolean("append", default=False)
    array = use_cases.put_tags(
        parsing.engine(), parsing.caller(), body.uuid("attempt"), namespace, rows, append
    )
    return parsing.raw_answer(f'{{"items":{array}}}')


@blueprint.delete("/v1/metadefs/namespaces/<namespace>/<key>")
def content_clear(namespace: str, key: str) -> Response:
    """Remove all of one kind from a namespace."""
    kind = _kind(key)
    use_cases.clear_content(parsing.engine(), parsing.caller(), _body().uuid("attempt"), namespace, kind)
    return parsing.no_content()


@blueprint.get("/v1/metadefs/namespaces/<namespace>/<key>/<rest:name>")
def content_show(namespace: str, key: str, name: str) -> Response:
    """Answer one thing; a property also by the name that resources of some type know it by."""
    kind = _kind(key)
    resource_type = request.args.get("resource_type") if kind is PROPERTIES else None
    if resource_type is not None:
        refuse_nul(resource_type, "resource_type")
    document = use_cases.show_content(
        parsing.engine(), parsing.caller(), namespace, Thing(kind, name), resource_type
    )
    return parsing.raw_answer(f'{{"item":{document}}}')


@blueprint.put("/v1/metadefs/namespaces/<namespace>/<key>/<rest:name>")
def content_replace(namespace: str, key: str, name: str) -> Response:
    """Write over one thing, its name included."""
    kind, body = _kind(key), _body("item")
    row = schema.row(kind, body.mapping("item"))
    document = use_cases.replace_content(
        parsing.engine(), parsing.caller(), body.uuid("attempt"), namespace, Thing(kind, name), row
    )
    return parsing.raw_answer(f'{{"item":{document}}}')


@blueprint.delete("/v1/metadefs/namespaces/<namespace>/<key>/<rest:name>")
def content_delete(namespace: str, key: str, name: str) -> Response:
    """Remove one thing from a namespace."""
    thing = Thing(_kind(key), name)
    use_cases.remove_content(parsing.engine(), parsing.caller(), _body().uuid("attempt"), namespace, thing)
    return parsing.no_content()


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
    return TagQuery(limit=q.optional_integer("limit", maximum=MAX_PAGE_ROWS), **_page_fields(q))


def _page_fields(q: Fields) -> dict[str, Any]:
    """Return what both lists have in common, as far as it is given."""
    given = {name: q.text(name) for name in ("sort_key", "sort_dir") if q.values.get(name) is not None}
    # Of any length: a name that cannot be is one that is not found.
    return {**given, "marker": q.optional_text("marker", maximum=MAX_MARKER)}
