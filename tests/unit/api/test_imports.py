"""POST import, its checks in their order, and what is written down for the workers (API sections 9, 11, 14.1)."""

from typing import Any

import pytest
import responses
from requests import ConnectTimeout
from requests.exceptions import ChunkedEncodingError
from tests.unit.api.fake_registry import MICROSECONDS, make_image

from glance_api.transfers.permits import TransferPermits
from glance_common.model.image import ImageLocation
from glance_common.model.status import ImageStatus

ID = "11111111-1111-4111-8111-111111111111"
IMPORT = f"/v2/images/{ID}/import"
OTHER = "22222222-2222-4222-8222-222222222222"
MULTI = {"enabled_backends": ["fast:file", "slow:file", "web:http"]}
ALL = ["glance-direct", "web-download", "copy-image", "glance-download"]
STATUSES = {"glance-direct": "uploading", "web-download": "queued", "glance-download": "queued", "copy-image": "active"}
WEB = {"name": "web-download", "uri": "http://example.org/image"}
CATALOG = (
    '[{"type": "image", "endpoints": [{"region": "north", "publicURL": "http://north:9292"}]}]'
)
REMOTE = {"name": "glance-download", "glance_region": "north", "glance_image_id": OTHER}


def image_for(method: str, **values: Any) -> Any:
    """Return an image in the status that the method needs."""
    located = (ImageLocation("l", "fast", ID, {}),) if method == "copy-image" else ()
    size = 4 if method in ("glance-direct", "copy-image") else None
    return make_image(**{
        "status": ImageStatus(STATUSES[method]), "disk_format": "raw", "container_format": "bare", "size": size,
        "locations": located, **values,
    })


@pytest.fixture
def api(make_api):
    return make_api(**MULTI, enabled_import_methods=ALL)


def ask(api: Any, body: Any, image: Any = None, headers: dict[str, str] | None = None, roles: str = "admin") -> Any:
    if image is not None:
        api.registry.images.rows[ID] = image
    return api.call("POST", IMPORT, json=body, headers=headers, roles=roles)


def made(api: Any) -> dict[str, Any]:
    """Return the one operation that was made."""
    (values,) = api.registry.operations.made
    return values


@pytest.mark.parametrize("method", STATUSES)
def test_an_import_becomes_an_operation(api, method):
    arguments = {"web-download": WEB, "glance-download": REMOTE}.get(method, {"name": method})
    body = {"method": arguments, "stores": ["slow"]}
    response = ask(api, body, image_for(method), {"X-Service-Catalog": CATALOG, "X-Auth-Token": "token"})
    assert (response.status_code, response.data) == (202, b"")
    operation = made(api)
    assert operation["input"]["import_req"] == body
    assert operation["input"]["backend"] == ["slow"]
    assert operation["stores"] == ("slow",)
    assert operation["allowed"] == [STATUSES[method]]
    assert operation["image_status"] == (None if method == "copy-image" else "importing")
    assert api.app.extensions["glance"].work.event.is_set()


def test_a_token_stays_in_this_process(api):
    ask(api, {"method": REMOTE}, image_for("glance-download"), {"X-Service-Catalog": CATALOG, "X-Auth-Token": "secret"})
    work = api.app.extensions["glance"].work
    assert made(api)["host"] == work.process
    assert "secret" not in repr(made(api))
    (operation,) = api.registry.operations.rows
    assert work.kept(operation).token == "secret"
    assert "secret" not in repr(work.kept(operation))


@pytest.mark.parametrize(
    "body",
    [
        [], {}, {"method": "glance-direct"}, {"method": {}}, {"method": {"name": "teleport"}}, {"method": {"name": 1}},
        {"method": {"name": "web-download", "uri": 7}}, {"method": WEB, "all_stores": "yes"},
        {"method": WEB, "all_stores_must_succeed": 1}, {"method": WEB, "stores": "slow"},
        {"method": WEB, "stores": [1]},
    ],
)
def test_s54_malformed_bodies(api, body):
    """Check 1 comes before the image is looked for."""
    response = ask(api, body)
    assert response.status_code == 400
    assert api.registry.operations.made == []


def test_methods_that_are_not_enabled(make_api):
    api = make_api()
    assert api.call("GET", "/v2/info/import").json["import-methods"] == {
        "description": "Import methods available.", "type": "array",
        "value": ["glance-direct", "web-download", "copy-image"],
    }
    assert ask(api, {"method": REMOTE}, image_for("glance-download")).status_code == 400
    created = api.call("POST", "/v2/images", json={})
    assert created.headers["OpenStack-image-import-methods"] == "glance-direct,web-download,copy-image"


def test_an_unknown_image(api):
    assert ask(api, {"method": WEB}).status_code == 404


@pytest.mark.parametrize("method", STATUSES)
@pytest.mark.parametrize("status", ["queued", "saving", "uploading", "importing", "active", "deactivated"])
def test_the_status_that_a_method_needs(api, method, status):
    arguments = {"web-download": WEB, "glance-download": REMOTE}.get(method, {"name": method})
    image = image_for(method, status=ImageStatus(status))
    response = ask(
        api, {"method": arguments, "stores": ["slow"]}, image, {"X-Service-Catalog": CATALOG, "X-Auth-Token": "t"}
    )
    assert response.status_code == (202 if status == STATUSES[method] else 409)


def test_s49_a_closed_image_is_not_copied(api):
    image = image_for("copy-image", status=ImageStatus.DEACTIVATED)
    assert ask(api, {"method": {"name": "copy-image"}, "stores": ["slow"]}, image).status_code == 409


@pytest.mark.parametrize("field", ["disk_format", "container_format"])
def test_formats_must_be_set(api, field):
    refused = ask(api, {"method": WEB}, image_for("web-download", **{field: None}))
    assert refused.status_code == 409
    assert field in refused.text
    headers = {"X-Service-Catalog": CATALOG, "X-Auth-Token": "t"}
    assert ask(api, {"method": REMOTE}, image_for("glance-download", **{field: None}), headers).status_code == 202


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"glance_region": ""}, "method.glance_region is required"),
        ({"glance_image_id": ""}, "method.glance_image_id is required"),
        ({"glance_image_id": "foo"}, "method.glance_image_id: the remote image id does not look like a UUID"),
    ],
)
def test_arguments_of_glance_download(api, change, reason):
    headers = {"X-Service-Catalog": CATALOG, "X-Auth-Token": "t"}
    refused = ask(api, {"method": {**REMOTE, **change}}, image_for("glance-download"), headers)
    assert (refused.status_code, reason in refused.text) == (400, True)
    assert api.registry.operations.made == []


@pytest.mark.parametrize("change", [{"glance_service_interface": "not one"}, {"glance_region": "not a region"}])
@pytest.mark.parametrize("catalog", [CATALOG, ""])
def test_where_the_other_region_is_the_worker_finds_out(api, change, catalog):
    headers = {"X-Service-Catalog": catalog, "X-Auth-Token": "t"}
    assert ask(api, {"method": {**REMOTE, **change}}, image_for("glance-download"), headers).status_code == 202
    assert made(api)["input"]["import_req"]["method"] == {**REMOTE, **change}


def test_who_may(api):
    copy = {"method": {"name": "copy-image"}, "stores": ["slow"]}
    assert ask(api, copy, image_for("copy-image"), roles="member,reader").status_code == 403
    assert ask(api, {"method": WEB}, image_for("web-download"), roles="member,reader").status_code == 202
    reader = ask(api, {"method": WEB}, image_for("web-download"), roles="reader")
    assert reader.status_code == 403
    stranger = api.call("POST", IMPORT, json={"method": WEB}, project="stranger")
    assert stranger.status_code == 404


def test_s43_a_state_is_told_to_nobody_who_may_not_see_the_image(api):
    api.registry.images.rows[ID] = image_for("copy-image", visibility="public")
    assert api.call("POST", IMPORT, json={"method": WEB}, project="stranger", roles="").status_code == 404


@pytest.mark.parametrize(
    ("body", "header", "expected"),
    [
        ({"all_stores": True, "stores": ["slow"]}, None, 400), ({"all_stores": True}, "slow", 400),
        ({"stores": ["slow"]}, "slow", 400), ({"stores": ["moon"]}, None, 409), ({}, "moon", 409),
        ({"stores": ["web"]}, None, 409),
    ],
)
def test_stores_that_cannot_be(api, body, header, expected):
    headers = {"X-Image-Meta-Store": header} if header else None
    assert ask(api, {"method": WEB, **body}, image_for("web-download"), headers).status_code == expected
    assert api.registry.operations.made == []


@pytest.mark.parametrize(
    ("body", "header", "stores"),
    [({}, None, ["fast"]), ({}, "slow", ["slow"]), ({"stores": ["slow", "fast", "slow"]}, None, ["slow", "fast"]),
     ({"all_stores": True}, None, ["fast", "slow"])],
)
def test_the_choice_of_stores(api, body, header, stores):
    headers = {"X-Image-Meta-Store": header} if header else None
    assert ask(api, {"method": WEB, **body}, image_for("web-download"), headers).status_code == 202
    assert made(api)["input"]["backend"] == stores


def test_one_store_has_no_choice(make_api):
    api = make_api()
    refused = ask(api, {"method": WEB, "all_stores_must_succeed": False}, image_for("web-download"))
    assert refused.status_code == 400
    assert ask(api, {"method": WEB, "stores": ["moon"]}, headers={"X-Image-Meta-Store": "moon"}).status_code == 202
    assert made(api)["input"]["backend"] == ["fast"]


def test_copies_go_where_the_image_is_not(api):
    copy: dict[str, Any] = {"method": {"name": "copy-image"}}
    assert ask(api, {**copy, "stores": ["slow", "fast"]}, image_for("copy-image")).status_code == 400
    assert ask(api, {**copy, "all_stores": True}, image_for("copy-image")).status_code == 202
    assert made(api)["input"]["backend"] == ["slow"]
    full = image_for("copy-image", locations=(ImageLocation("a", "fast", ID, {}), ImageLocation("b", "slow", ID, {})))
    assert ask(api, {**copy, "all_stores": True}, full).status_code == 202
    assert len(api.registry.operations.made) == 1


@pytest.mark.parametrize(
    "uri",
    ["", "file:///etc/passwd", "http://127.0.0.1/", "http://2130706433/", "http://user:secret@example.org/",
     "http://example.org:22/", "nonsense"],
)
def test_s22_urls_that_are_not_fetched(api, uri):
    response = ask(api, {"method": {"name": "web-download", "uri": uri}}, image_for("web-download"))
    assert response.status_code == 400
    assert "secret" not in response.text
    assert api.registry.operations.made == []


def test_a_second_import_finds_the_lock(api):
    ask(api, {"method": {"name": "copy-image"}, "stores": ["slow"]}, image_for("copy-image"))
    again = ask(api, {"method": {"name": "copy-image"}, "stores": ["slow"]})
    assert again.status_code == 409


def test_tasks_of_an_image(api):
    ask(api, {"method": WEB}, image_for("web-download"))
    (task,) = api.call("GET", f"/v2/images/{ID}/tasks", roles="reader").json["tasks"]
    assert set(task) == {
        "id", "type", "status", "owner", "expires_at", "created_at", "updated_at", "deleted_at", "deleted", "image_id",
        "request_id", "user_id", "input", "result", "message",
    }
    assert (task["type"], task["status"], task["image_id"]) == ("api_image_import", "pending", ID)
    assert task["created_at"] == MICROSECONDS
    assert api.call("GET", f"/v2/images/{ID}/tasks", project="stranger").status_code == 404


class TestForwarding:
    """The node that holds the staged data is asked (API section 11.2)."""

    NODE = "http://node-2:9292"
    BODY = {"method": {"name": "glance-direct"}, "stores": ["slow"]}

    @pytest.fixture
    def api(self, make_api):
        return make_api(**MULTI, worker_self_reference_url="http://node-1:9292/")

    def image(self, host: str) -> Any:
        return image_for("glance-direct", properties={"os_glance_stage_host": host})

    ELSEWHERE = f"there {NODE}"

    @responses.activate
    def test_the_request_goes_to_the_node(self, api):
        answer = responses.post(f"{self.NODE}{IMPORT}", status=202)
        headers = {"X-Auth-Token": "token", "X-Roles": "admin", "Cookie": "mine"}
        assert ask(api, self.BODY, self.image(self.ELSEWHERE), headers).status_code == 202
        sent = answer.calls[0].request
        assert sent.headers["X-Auth-Token"] == "token"
        assert "Cookie" not in sent.headers
        assert api.registry.operations.made == []

    @responses.activate
    def test_its_refusal_is_ours(self, api):
        responses.post(f"{self.NODE}{IMPORT}", status=409, json={"message": "busy"})
        refused = ask(api, self.BODY, self.image(self.ELSEWHERE))
        assert refused.status_code == 409
        assert "busy" in refused.text

    @responses.activate
    @pytest.mark.parametrize(
        ("error", "expected"), [(ConnectTimeout("away"), 504), (ChunkedEncodingError("cut"), 502)]
    )
    def test_a_node_that_is_away(self, api, error, expected):
        responses.post(f"{self.NODE}{IMPORT}", body=error)
        refused = ask(api, self.BODY, self.image(self.ELSEWHERE))
        assert refused.status_code == expected
        assert "node-2" not in refused.text

    def test_what_was_forwarded_stays(self, api):
        """Nodes that do not agree about their names cannot send a request in circles."""
        assert ask(api, self.BODY, self.image(self.ELSEWHERE), {"X-Glance-Forwarded": "1"}).status_code == 202
        assert made(api)["host"] == "there"

    @pytest.mark.parametrize("place", ["here http://node-1:9292", f"here {NODE}", "there http://node-1:9292", "there"])
    def test_own_data_and_data_of_a_node_that_cannot_be_asked(self, api, place):
        """The operation is for the nodes with that staging store, wherever the request was answered."""
        assert ask(api, self.BODY, self.image(place)).status_code == 202
        assert made(api)["host"] == place.partition(" ")[0]


def test_stage_needs_its_method_and_its_type(make_api):
    path = f"/v2/images/{ID}/stage"
    closed = make_api(enabled_import_methods=["web-download"])
    closed.registry.images.rows[ID] = make_image()
    object.__setattr__(closed.app.extensions["glance_http"], "permits", TransferPermits(1))
    assert closed.call("PUT", path, data=b"x", headers={"Content-Type": "application/octet-stream"}).status_code == 404
    assert closed.call("PUT", path, data=b"x", headers={"Content-Type": "text/plain"}).status_code == 415


def test_nobody_sees_where_data_are_staged(api):
    image = image_for("glance-direct", properties={"os_glance_stage_host": "http://node-2:9292"})
    api.registry.images.rows[ID] = image._replace()
    assert "node-2" not in api.call("GET", f"/v2/images/{ID}").text
