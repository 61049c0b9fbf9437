"""Every route, called by those who may not: no answer but 401, 403 or 404, and nothing happens.

New routes are found by themselves: one without a policy rule fails here.
"""

from types import SimpleNamespace
from typing import Any

import pytest
from tests.unit.api.conftest import FakeStores
from tests.unit.api.fake_registry import TIME, make_image

from glance_common.model.context import RequestContext
from glance_common.model.image import ImageLocation, Member
from glance_common.model.status import ImageStatus

ID = "11111111-1111-4111-8111-111111111111"
VARIABLES = {
    "<image_id>": ID, "<uuid:image_id>": ID, "<rest:tag>": "t", "<rest:member_id>": "m", "<rest:member>": "m",
    "<store_id>": "fast", "<task_id>": ID,
    "<namespace>": "N", "<rest:property_name>": "p", "<rest:object_name>": "o", "<rest:tag_name>": "t",
    "<rest:resource_type>": "r", "<metadef>": "tag",
}
NAMESPACES = "/v2/metadefs/namespaces"
NAMESPACE = f"{NAMESPACES}/<namespace>"
PROPERTY = '{"name": "q", "title": "Q", "type": "string"}'
BODIES: dict[tuple[str, str], tuple[str, str]] = {
    ("POST", "/v2/images"): ("application/json", "{}"),
    ("PATCH", "/v2/images/<image_id>"): ("application/openstack-images-v2.1-json-patch", "[]"),
    ("PUT", "/v2/images/<image_id>/file"): ("application/octet-stream", "data"),
    ("PUT", "/v2/images/<image_id>/stage"): ("application/octet-stream", "data"),
    ("POST", "/v2/images/<image_id>/import"): ("application/json", '{"method": {"name": "copy-image"}}'),
    ("POST", "/v2/tasks"): (
        "application/json",
        '{"type": "import", "input": {"import_from": "http://h/", "import_from_format": "x", "image_properties": {}}}',
    ),
    ("POST", "/v2/images/<image_id>/locations"): ("application/json", '{"url": "http://mirror.example.org/x"}'),
    ("POST", "/v2/images/<image_id>/members"): ("application/json", '{"member": "m"}'),
    ("PUT", "/v2/images/<image_id>/members/<rest:member_id>"): ("application/json", '{"status": "accepted"}'),
    ("PUT", "/v1/images/<image_id>/members"): ("application/json", '{"memberships": []}'),
    ("POST", NAMESPACES): ("application/json", '{"namespace": "M", "tags": [{"name": "t"}]}'),
    ("PUT", NAMESPACE): ("application/json", '{"namespace": "M"}'),
    ("POST", f"{NAMESPACE}/properties"): ("application/json", PROPERTY),
    ("PUT", f"{NAMESPACE}/properties/<rest:property_name>"): ("application/json", PROPERTY),
    ("POST", f"{NAMESPACE}/objects"): ("application/json", '{"name": "q"}'),
    ("PUT", f"{NAMESPACE}/objects/<rest:object_name>"): ("application/json", '{"name": "q"}'),
    ("POST", f"{NAMESPACE}/tags"): ("application/json", '{"tags": []}'),
    ("PUT", f"{NAMESPACE}/tags/<rest:tag_name>"): ("application/json", '{"name": "q"}'),
    ("POST", f"{NAMESPACE}/resource_types"): ("application/json", '{"name": "q"}'),
}
"""Requests that need a body to be well-formed, with its Content-Type."""


class GuardedStores(FakeStores):
    """Stores that note what is done to them."""

    def __init__(self, taken: list[str]) -> None:
        self._taken = taken

    def get(self, name: str) -> Any:
        store: Any = super().get(name)
        store.capabilities = SimpleNamespace(add=True)
        store.add = lambda *_: self._taken.append("add")
        store.open = lambda *_: self._taken.append("open")
        return store


@pytest.fixture(params=["private", "shared", "public", "community"])
def guarded(request, make_api, tmp_path):
    """An API with one active image of project ``own``, whose permits and stores count what is taken from them.

    A copy of the image is in the cache, where only an administrator may see it.
    """
    api = make_api(
        enabled_backends=["fast:file", "slow:file"], image_cache_dir=str(tmp_path / "cache"),
        paste_deploy__flavor="trusted-auth+cachemanagement",
    )
    api.copy = tmp_path / "cache" / ID
    api.copy.write_bytes(b"data")
    taken: list[str] = []
    services, http = api.app.extensions["glance"], api.app.extensions["glance_http"]
    object.__setattr__(http, "permits", SimpleNamespace(take=lambda _project: lambda: None))
    object.__setattr__(services, "stores", GuardedStores(taken))
    api.registry.images.rows[ID] = make_image(
        visibility=request.param, status=ImageStatus.ACTIVE, size=4, locations=(ImageLocation("l", "fast", ID, {}),),
        tags=["t"], disk_format="raw", container_format="bare",
    )
    api.registry.images.members[ID, "m"] = Member(ID, "m", "pending", TIME, TIME)
    api.registry.metadefs.create_namespace(RequestContext("request"), "attempt", {
        "namespace": "N", "owner": "own", "visibility": "public" if request.param == "public" else "private",
        "properties": {"p": {"title": "P", "type": "string"}}, "objects": [{"name": "o"}], "tags": [{"name": "t"}],
        "resource_type_associations": [{"name": "r"}],
    })
    api.registry.images.writes.clear()
    api.taken = taken
    return api


def calls(app: Any) -> list[tuple[str, str, str]]:
    """Return (method, rule, path) of every route that is not marked as asking no policy."""
    found = []
    for rule in app.url_map.iter_rules():
        view = app.view_functions[rule.endpoint]
        path = rule.rule
        for name, value in VARIABLES.items():
            path = path.replace(name, value)
        assert "<" not in path, f"say what stands for the variable parts of {rule.rule}"
        if not hasattr(view, "without_policy"):
            found += [(method, rule.rule, path) for method in sorted(rule.methods)]
    return found


LISTS_OF_V1 = ("/v1", "/v1/", "/v1/images", "/v1/images/detail")
STRANGERS = {
    "a project without roles": {"project": "stranger", "roles": ""},
    "the owner without roles": {"project": "own", "roles": ""},
    "nobody's token": {"project": "own", "roles": "member,reader", "headers": {"X-Identity-Status": "Invalid"}},
}


@pytest.mark.parametrize("stranger", STRANGERS)
def test_no_route_opens_for(stranger, guarded):
    walked = calls(guarded.app)
    assert len(walked) > 15
    for method, rule, path in walked:
        content_type, body = BODIES.get((method, rule), ("", ""))
        caller = dict(STRANGERS[stranger])
        headers = {"Content-Type": content_type, **caller.pop("headers", {})}
        response = guarded.call(method, path, data=body, headers=headers, **caller)
        expected = (401,) if stranger == "nobody's token" else (403, 404)
        # v1 lists answer GET alone.
        expected += (405,) if method == "HEAD" and rule in LISTS_OF_V1 else ()
        assert response.status_code in expected, (method, rule, response.status_code, response.text)
    assert guarded.registry.images.writes == []
    assert guarded.published == []
    assert guarded.taken == []
    assert guarded.copy.exists()
    assert guarded.registry.images.rows[ID].status == "active"


def test_who_owns_it_does_get_through(guarded):
    """The counter-proof: with the right roles the same walk is answered otherwise."""
    answers = set()
    for method, rule, path in calls(guarded.app):
        if rule.endswith(("/file", "/stage")):
            continue
        content_type, body = BODIES.get((method, rule), ("", ""))
        answers.add(guarded.call(method, path, data=body, headers={"Content-Type": content_type}).status_code)
    assert answers >= {200, 201, 204}


def test_routes_without_a_rule_are_few_and_have_a_reason(api):
    reasons = {
        rule.rule: getattr(api.app.view_functions[rule.endpoint], "without_policy", None)
        for rule in api.app.url_map.iter_rules()
    }
    assert {rule for rule, reason in reasons.items() if reason} == {
        "/healthcheck", "/v2/openapi.json", "/v2/info/stores", "/v2/info/usage", "/v2/info/import", "/v2/schemas/task",
        "/v2/schemas/tasks",
        "/v2/schemas/image", "/v2/schemas/images", "/v2/schemas/member", "/v2/schemas/members",
        "/v2/schemas/metadefs/<metadef>",
    }
