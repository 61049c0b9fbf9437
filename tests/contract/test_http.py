"""What becomes of calls whose answer is late, lost or wrong, and of calls that nobody signed."""

from __future__ import annotations

import time
from typing import Any
from uuid import uuid4

import orjson
import pytest
import sqlalchemy as sa
from tests.contract.conftest import SIGNER, Clock
from tests.support.registry_rows import OWNER, insert_image
from tests.support.wsgi_adapter import LOST, REFUSED, WsgiAdapter

from glance_common.model import errors
from glance_common.model.context import HEADER, ContextSigner
from glance_common.registry_client import RegistryClient, over
from glance_common.registry_client.http import RegistryHttp, Timeouts, connect_to


def new_image() -> dict[str, Any]:
    return {"id": str(uuid4()), "owner": "own", "visibility": "private"}


def create(client: RegistryClient, document: dict[str, Any] | None = None) -> Any:
    return client.images.create(OWNER, str(uuid4()), document or new_image())


@pytest.mark.parametrize("fault", [LOST, REFUSED, 502, 503, 504])
def test_a_write_is_repeated_with_the_same_attempt(
    client: RegistryClient, adapter: WsgiAdapter, fault: str | int
) -> None:
    adapter.faults = [fault]
    assert create(client).row_version == 1
    first, second = adapter.sent
    assert first.body == second.body
    assert first.target == second.target


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("fault", [LOST, 500, 502, 503, 504])
def test_a_write_without_a_clear_answer_is_unknown_and_never_failed(
    client: RegistryClient, adapter: WsgiAdapter, fault: str | int
) -> None:
    adapter.faults = [fault] * 20
    with pytest.raises(errors.OutcomeUnknown):
        create(client)


@pytest.mark.usefixtures("clock")
def test_one_unclear_answer_makes_the_whole_call_unclear(client: RegistryClient, adapter: WsgiAdapter) -> None:
    adapter.faults = [LOST, *[REFUSED] * 20]
    with pytest.raises(errors.OutcomeUnknown):
        create(client)


@pytest.mark.usefixtures("clock")
def test_a_write_that_was_never_sent_did_not_happen(client: RegistryClient, adapter: WsgiAdapter) -> None:
    adapter.faults = [REFUSED] * 20
    with pytest.raises(errors.Unavailable) as caught:
        create(client)
    assert type(caught.value) is errors.Unavailable


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("fault", [LOST, REFUSED, 502, 503])
def test_a_read_is_repeated_and_then_unavailable(
    client: RegistryClient, adapter: WsgiAdapter, engine: sa.Engine, fault: str | int
) -> None:
    image_id = insert_image(engine)
    adapter.faults = [fault]
    assert client.images.get(OWNER, image_id).id == image_id
    adapter.faults = [fault] * 20
    with pytest.raises(errors.Unavailable) as caught:
        client.images.get(OWNER, image_id)
    assert type(caught.value) is errors.Unavailable
    assert "does not answer" in caught.value.message


@pytest.mark.parametrize("code", [400, 404, 409, 500])
def test_a_clear_answer_ends_a_read_at_once(client: RegistryClient, adapter: WsgiAdapter, code: int) -> None:
    adapter.faults = [code] * 20
    with pytest.raises(errors.InternalError):
        client.images.get(OWNER, str(uuid4()))
    assert len(adapter.sent) == 1


def test_nothing_is_repeated_after_the_deadline(adapter: WsgiAdapter, clock: Clock) -> None:
    adapter.faults = [REFUSED] * 50
    with pytest.raises(errors.Unavailable):
        create(over(RegistryHttp(adapter, SIGNER, timeouts=Timeouts(write_deadline=0.25))))
    assert clock.now <= 0.25
    assert len(adapter.sent) == 3, "the first, one at once, one after a pause; the next pause is too long"


def test_the_registrys_own_errors_come_back_as_they_are(client: RegistryClient, adapter: WsgiAdapter) -> None:
    image = new_image()
    create(client, image)
    adapter.sent.clear()
    with pytest.raises(errors.Duplicate) as caught:
        create(client, image)
    assert image["id"] in caught.value.message
    assert len(adapter.sent) == 1


def test_a_client_with_another_secret_is_refused(adapter: WsgiAdapter) -> None:
    with pytest.raises(errors.NotAuthenticated):
        over(RegistryHttp(adapter, ContextSigner([b"x" * 32]))).images.get(OWNER, str(uuid4()))


def test_a_captured_signature_opens_no_other_door(adapter: WsgiAdapter, engine: sa.Engine) -> None:
    image_id = insert_image(engine)
    path = f"/v1/images/{image_id}"
    signature = SIGNER.sign(OWNER, "GET", path)
    web = adapter.app.test_client()
    assert web.get(path, headers={HEADER: signature}).status_code == 200
    for method, other in (
        ("DELETE", path), ("PATCH", path), ("GET", path + "?locations=1"), ("GET", path + "/members"),
        ("GET", f"/v1/images/{uuid4()}"), ("POST", "/v1/images/search"),
    ):
        response = web.open(other, method=method, headers={HEADER: signature})
        assert (response.status_code, response.json["error"]["title"]) == (401, "NotAuthenticated"), (method, other)


def test_a_captured_signature_brings_no_other_body(adapter: WsgiAdapter, engine: sa.Engine) -> None:
    image_id = insert_image(engine)
    path, web = f"/v1/images/{image_id}/members", adapter.app.test_client()
    signed = orjson.dumps({"attempt": str(uuid4()), "member": "friend", "quota": 128})
    changed = signed.replace(b"friend", b"thief!")
    headers = {HEADER: SIGNER.sign(OWNER, "POST", path, signed), "Content-Type": "application/json"}
    response = web.post(path, data=changed, headers=headers)
    assert (response.status_code, response.json["error"]["title"]) == (401, "NotAuthenticated")
    assert web.post(path, data=signed, headers=headers).status_code == 200
    with engine.connect() as connection:
        assert list(connection.execute(sa.text("SELECT member FROM members")).scalars()) == ["friend"]


@pytest.mark.parametrize("path", ["/", "/v1/images", "/v1/nothing", "/v1/deletions", "/v1/images/x/members"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
def test_every_route_but_the_health_check_needs_a_signature(adapter: WsgiAdapter, method: str, path: str) -> None:
    response = adapter.app.test_client().open(path, method=method, json={})
    assert response.status_code == 401
    assert response.json["error"]["title"] == "NotAuthenticated"


def test_every_rule_of_the_application_needs_a_signature(adapter: WsgiAdapter) -> None:
    rules = [rule for rule in adapter.app.url_map.iter_rules() if rule.rule != "/healthcheck"]
    assert len(rules) > 15
    for rule in rules:
        built = rule.build({name: str(uuid4()) for name in rule.arguments}, append_unknown=False)
        assert built is not None
        path = built[1]
        for method in rule.methods or ():
            assert adapter.app.test_client().open(path, method=method).status_code == 401, (method, path)


def test_the_health_check_tells_up_or_down_and_nothing_else(adapter: WsgiAdapter) -> None:
    response = adapter.app.test_client().get("/healthcheck")
    assert (response.status_code, response.text) == (200, "OK")


@pytest.mark.parametrize("body", [b"", b"[]", b"5", b"null", b"{", b'"x"', b'{"attempt": "\xff"}', b'{"a": "\\ud800"}'])
def test_s54_a_body_must_be_a_json_object(adapter: WsgiAdapter, body: bytes) -> None:
    signature = SIGNER.sign(OWNER, "POST", "/v1/images", body)
    response = adapter.app.test_client().post("/v1/images", data=body, headers={HEADER: signature})
    assert (response.status_code, response.json["error"]["title"]) == (400, "BadRequest")
    assert "body" in response.json["error"]["message"]


def test_a_body_beyond_the_cap_is_refused(adapter: WsgiAdapter) -> None:
    signature = SIGNER.sign(OWNER, "POST", "/v1/images")
    response = adapter.app.test_client().post("/v1/images", data=b" " * (17 * 2**20), headers={HEADER: signature})
    assert (response.status_code, response.json["error"]["title"]) == (413, "TooLarge")


def test_unknown_routes_and_methods_are_answered_in_the_protocols_words(adapter: WsgiAdapter) -> None:
    web = adapter.app.test_client()
    for method, path, code in (("GET", "/v1/nothing", 404), ("PUT", "/v1/images", 400)):
        response = web.open(path, method=method, headers={HEADER: SIGNER.sign(OWNER, method, path)})
        assert response.status_code == response.json["error"]["code"] == code


def test_the_request_id_comes_back_and_is_no_way_into_the_log(
    client: RegistryClient, adapter: WsgiAdapter, engine: sa.Engine, caplog: pytest.LogCaptureFixture
) -> None:
    image_id = insert_image(engine)
    client.images.get(OWNER, image_id)  # the first use of a connection prepares the statement
    caplog.clear()
    with caplog.at_level("INFO", logger="glance_registry.request"):
        client.images.get(OWNER, image_id)
        adapter.app.test_client().get("/v1/images", headers={"X-Openstack-Request-ID": "req\x1b[31m"})
    lines = [record.getMessage() for record in caplog.records if record.name == "glance_registry.request"]
    first, second = lines
    assert first.startswith(f"GET /v1/images/{image_id} 200 ")
    assert " 1 statements" in first
    assert "\x1b" not in second
    assert " 401 " in second


def test_a_defect_tells_nothing_of_the_inside(
    adapter: WsgiAdapter, engine: sa.Engine, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_args: object, **_kwargs: object) -> str:
        raise RuntimeError("password=secret")

    monkeypatch.setattr("glance_registry.images.crud.get", broken)
    path = f"/v1/images/{uuid4()}"
    response = adapter.app.test_client().get(path, headers={HEADER: SIGNER.sign(OWNER, "GET", path)})
    assert (response.status_code, response.json["error"]["title"]) == (500, "InternalError")
    assert "secret" not in response.text
    assert "RuntimeError" in caplog.text


def test_a_read_that_defects_is_an_internal_error_and_a_write_is_unknown(
    client: RegistryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_args: object, **_kwargs: object) -> str:
        raise RuntimeError("broken")

    monkeypatch.setattr("glance_registry.images.crud.get", broken)
    monkeypatch.setattr("glance_registry.images.crud.create", broken)
    with pytest.raises(errors.InternalError):
        client.images.get(OWNER, str(uuid4()))
    with pytest.raises(errors.OutcomeUnknown):
        create(client)


def test_a_registry_that_is_not_there_is_told_quickly(clock: Clock) -> None:
    http = connect_to("http://127.0.0.1:1", SIGNER, timeouts=Timeouts(read_deadline=0.3, write_deadline=0.3))
    client = over(http)
    started = time.monotonic()
    with pytest.raises(errors.Unavailable, match="the registry does not answer"):
        client.images.get(OWNER, str(uuid4()))
    with pytest.raises(errors.Unavailable) as caught:
        create(client)
    assert type(caught.value) is errors.Unavailable
    assert clock.now <= 2 * 0.3, "the pauses"
    assert time.monotonic() - started < 8, "a connection that is refused is not waited for as a silent one, for 10 s"
    client.close()
