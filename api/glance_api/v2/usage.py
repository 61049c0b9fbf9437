"""View of a project's usage (API section 14.1)."""

from flask import Blueprint, Response

from glance_api.http.request import answer, context, services, without_body, without_policy
from glance_api.services import quotas
from glance_api.v2.operations import json_of, operation

blueprint = Blueprint("v2_usage", __name__)

_USED = {
    "type": "object",
    "properties": {"usage": {"type": "integer"}, "limit": {"type": "integer", "description": "-1 = unlimited"}},
}
_USAGE = {
    "type": "object",
    "properties": {"usage": {"type": "object", "description": "by the limit's name", "additionalProperties": _USED}},
}


@blueprint.get("/v2/info/usage")
@without_policy("a caller may know what its own project uses, and of no other one")
@without_body
@operation(answers={200: json_of(_USAGE)})
def show() -> Response:
    """Answer what the caller's project uses of its limits."""
    return answer({"usage": quotas.usage(services(), context())})
