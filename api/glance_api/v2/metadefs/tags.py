"""Views of the tags of a namespace (metadefs section 8)."""

from flask import Blueprint, Response, request

from glance_api.http import query_string
from glance_api.http.request import answer, context, json_object, services, without_body
from glance_api.services.metadefs import tags as service
from glance_api.v2.metadefs import queries, wire
from glance_api.v2.operations import Parameter, json_of, operation
from glance_common.model.errors import BadRequest

blueprint = Blueprint("v2_metadef_tags", __name__)

APPEND = "X-Openstack-Append"

_TAGS = "/v2/metadefs/namespaces/<namespace>/tags"
_TAG = f"{_TAGS}/<rest:tag_name>"


@blueprint.post(_TAGS)
@operation(
    body=json_of("metadefs/new_tags"), answers={201: json_of("metadefs/tags")}, errors=(409,),
    parameters=(Parameter(
        APPEND, "True adds to the tags that are there, otherwise all are replaced",
        {"type": "string", "enum": ["True", "False", "true", "false"]}, where="header",
    ),),
)
def create_all(namespace: str) -> Response:
    """Replace all tags, or add some."""
    given = json_object()
    made = service.create_all(services(), context(), namespace, lambda: wire.new_tags(given), append=_appends())
    return answer({"tags": [{"name": tag.name} for tag in made]}, 201)


@blueprint.get(_TAGS)
@operation(parameters=queries.TAG_PARAMETERS, answers={200: json_of("metadefs/tags")})
def index(namespace: str) -> Response:
    """List tags."""
    asked = dict(query_string.pairs_of(request.environ.get("QUERY_STRING", "")))
    query = queries.tags(asked, services().settings.api_limit_max)
    found = service.list_tags(services(), context(), namespace, query)
    return answer({"tags": [{"name": tag.name} for tag in found]})


@blueprint.delete(_TAGS)
@without_body
@operation(answers={204: None})
def delete_all(namespace: str) -> Response:
    """Delete all tags."""
    service.delete_all(services(), context(), namespace)
    return Response(status=204)


@blueprint.post(_TAG)
@without_body
@operation(answers={201: json_of("metadefs/tag")}, errors=(409,))
def create(namespace: str, tag_name: str) -> Response:
    """Make a tag."""
    made = service.create(services(), context(), namespace, wire.check_name(tag_name))
    return answer(wire.tag_document(made), 201)


@blueprint.get(_TAG)
@without_body
@operation(answers={200: json_of("metadefs/tag")})
def show(namespace: str, tag_name: str) -> Response:
    """Show a tag."""
    return answer(wire.tag_document(service.show(services(), context(), namespace, tag_name)))


@blueprint.put(_TAG)
@operation(body=json_of("metadefs/new_tag"), answers={200: json_of("metadefs/tag")}, errors=(409,))
def update(namespace: str, tag_name: str) -> Response:
    """Give a tag another name."""
    given = json_object()
    renamed = service.rename(services(), context(), namespace, tag_name, lambda: wire.new_tag(given))
    return answer(wire.tag_document(renamed))


@blueprint.delete(_TAG)
@without_body
@operation(answers={204: None})
def delete(namespace: str, tag_name: str) -> Response:
    """Delete a tag."""
    service.delete(services(), context(), namespace, tag_name)
    return Response(status=204)


def _appends() -> bool:
    """Say whether the header asks for adding. Raises BadRequest: a typing error must not replace all tags."""
    text = request.headers.get(APPEND, "false").strip().lower()
    if text not in ("true", "false"):
        raise BadRequest(f"{APPEND}: must be True or False")
    return text == "true"
