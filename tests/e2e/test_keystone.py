"""Who may do what when Keystone says who is who."""

from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from tests.e2e.calls import MIB, Caller
from tests.e2e.people import People, keystone_options
from tests.servers.keystone import DEMO, Keystone
from tests.support.daemons import Services
from tests.support.raw_data import random_bytes
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(900)

FORGED = {
    "X-Identity-Status": "Confirmed",
    "X-User-Id": "root",
    "X-Project-Id": "forged",
    "X-Tenant-Id": "forged",
    "X-Roles": "admin",
    "X-Role": "admin",
    "X-Is-Admin-Project": "True",
    "X-Service-Identity-Status": "Confirmed",
    "X-Service-Roles": "service",
    "X-Service-Catalog": "[]",
}


@pytest.fixture(scope="module")
def services(deploy: Callable[..., Services], keystone: Keystone) -> Services:
    """A deployment that asks Keystone about every token."""
    return deploy(api=keystone_options(keystone))


@pytest.fixture(scope="module")
def people(services: Services, keystone: Keystone) -> People:
    """Its users."""
    return People(keystone, services.api.url)


def revoke(keystone: Keystone, token: str) -> None:
    """End a token before its time, as its owner may."""
    headers = {"X-Auth-Token": token, "X-Subject-Token": token}
    requests.delete(f"{keystone.url}/auth/tokens", headers=headers, timeout=60).raise_for_status()


@pytest.mark.parametrize("token", [None, "", "garbage", "gAAAAA" + "x" * 180], ids=["none", "empty", "short", "fernet"])
def test_a_call_without_a_good_token_is_401(people: People, token: str | None):
    stranger = Caller(people.url, {} if token is None else {"X-Auth-Token": token})
    for method, path in (("GET", "/v2/images"), ("POST", "/v2/images"), ("GET", "/v2/schemas/image")):
        answer = stranger.call(method, path, 401, headers={"Accept": "application/json"})
        assert "Traceback" not in answer.text
    stranger.call("GET", "/", 300)
    stranger.call("GET", "/healthcheck", 200)


def test_a_revoked_token_is_401(people: People, keystone: Keystone):
    token = keystone.token(DEMO)
    caller = Caller(people.url, {"X-Auth-Token": token})
    caller.call("GET", "/v2/images", 200)
    revoke(keystone, token)
    caller.call("GET", "/v2/images", 401)


def test_s16_an_upload_that_outlives_its_token_completes(people: People, keystone: Keystone):
    token = keystone.token(DEMO)
    caller = Caller(people.url, {"X-Auth-Token": token})
    image, data = caller.create()["id"], random_bytes(2 * MIB)
    with caller.begin_upload(image, length=len(data)) as wire:
        wire.send(data[:MIB])
        wait_for(lambda: people.demo.show(image)["status"] == "saving", "the upload's begin")
        revoke(keystone, token)
        caller.call("GET", f"/v2/images/{image}", 401)
        wire.send(data[MIB:])
        assert wire.answer() == (204, b"")
    assert people.demo.download(image) == data


def test_a_reader_sees_metadata_and_nothing_else(people: People):
    image = people.demo.uploaded(b"\x01data", name="for the reader")
    reader = people.reader
    assert reader.show(image)["name"] == "for the reader"
    reader.call("GET", f"/v2/images/{image}/file", 403)
    assert "for the reader" in reader.names()
    path = f"/v2/images/{image}"
    reader.call("POST", "/v2/images", 403, json={"name": "mine"})
    reader.patch(image, {"op": "replace", "path": "/name", "value": "mine"}, expected=403)
    reader.call("PUT", f"{path}/tags/mine", 403)
    reader.call("POST", f"{path}/members", 403, json={"member": "mine"})
    reader.call("POST", f"{path}/actions/deactivate", 403)
    reader.delete(image, 403)
    assert people.demo.show(image)["status"] == "active"


def test_s45_s46_a_member_owns_what_it_makes_and_no_more(people: People):
    demo = people.demo
    image = demo.create(name="by demo")
    assert image["owner"] == people.project("demo")
    demo.call("POST", "/v2/images", 403, json={"visibility": "public"})
    demo.call("POST", "/v2/images", 403, json={"owner": people.project("alt_demo")})
    demo.patch(image["id"], {"op": "replace", "path": "/visibility", "value": "public"}, expected=403)
    demo.patch(image["id"], {"op": "replace", "path": "/owner", "value": people.project("alt_demo")}, expected=403)
    demo.patch(image["id"], {"op": "replace", "path": "/visibility", "value": "community"})
    people.alt_demo.show(image["id"])
    assert "by demo" not in people.alt_demo.names()
    assert "by demo" in people.alt_demo.names(visibility="community")
    hidden = demo.create(name="kept by demo", visibility="private")["name"]
    assert hidden not in people.alt_demo.names(visibility="all")


def test_s01_a_stranger_deletes_nothing(people: People, services: Services):
    public = people.admin.uploaded(b"\x01public", visibility="public", name="public")
    private = people.demo.uploaded(b"\x01private", visibility="private", name="private")
    people.alt_demo.delete(public, 403)
    people.alt_demo.delete(private, 404)
    assert people.alt_demo.download(public) == b"\x01public"
    assert people.demo.download(private) == b"\x01private"
    assert {public, private} <= set(services.files())


def test_s43_what_is_invisible_is_like_what_does_not_exist(people: People):
    hidden = people.demo.uploaded(b"\x01hidden", visibility="private")
    missing = "11111111-2222-3333-4444-555555555555"
    stranger = people.alt_demo
    for method, path, how in (
        ("GET", "", {}),
        ("GET", "/file", {}),
        ("PUT", "/file", {"data": b"x", "headers": {"Content-Type": "application/octet-stream"}}),
        ("DELETE", "", {}),
        ("GET", "/members", {}),
        ("POST", "/members", {"json": {"member": "x"}}),
        ("PUT", "/tags/t", {}),
        ("DELETE", "/tags/t", {}),
        ("POST", "/actions/deactivate", {}),
        ("POST", "/actions/reactivate", {}),
    ):
        texts = [
            stranger.call(method, f"/v2/images/{image}{path}", 404, **how).text.replace(image, "ID")
            for image in (hidden, missing)
        ]
        assert texts[0] == texts[1], (method, path)


def test_s44_members_see_themselves_only_and_add_nobody(people: People):
    image = people.demo.create(visibility="shared")["id"]
    path, guest = f"/v2/images/{image}/members", people.project("alt_demo")
    for member in (guest, "third-project"):
        people.demo.call("POST", path, 200, json={"member": member})
    seen = people.alt_demo.call("GET", path, 200).json()["members"]
    assert [each["member_id"] for each in seen] == [guest]
    people.alt_demo.call("GET", f"{path}/third-project", 404)
    people.alt_demo.call("POST", path, 403, json={"member": "friend"})
    people.demo.call("PUT", f"{path}/{guest}", 403, json={"status": "accepted"})
    people.alt_demo.call("PUT", f"{path}/{guest}", 200, json={"status": "rejected"})
    assert image not in {each["id"] for each in people.alt_demo.call("GET", "/v2/images").json()["images"]}
    people.alt_demo.show(image)


def test_s49_deactivated_data_are_for_admins_only(people: People):
    image = people.demo.uploaded(b"\x01closed")
    people.demo.call("POST", f"/v2/images/{image}/actions/deactivate", 204)
    for how in ({}, {"Range": "bytes=0-1"}):
        people.demo.call("GET", f"/v2/images/{image}/file", 403, headers=how)
    assert people.admin.download(image) == b"\x01closed"


def test_s05_the_download_policy_holds_for_every_download(people: People, services: Services, tmp_path: Path):
    policy = tmp_path / "policy.yaml"
    policy.write_text('"download_image": "role:admin"\n')
    strict = services.new_api("strict-api", {"oslo_policy": {"policy_file": policy}})
    services.start(strict)
    image = people.demo.uploaded(b"\x01for admins")
    for how in ({}, {"Range": "bytes=0-1"}):
        Caller(strict.url, people.demo.headers).call("GET", f"/v2/images/{image}/file", 403, headers=how)
    assert Caller(strict.url, people.admin.headers).download(image) == b"\x01for admins"
    strict.stop()


def test_s23_nobody_acts_as_the_service_on_the_registry(people: People, services: Services):
    """The option with which the original made every user an administrator there is named at start, and does nothing."""
    api = services.new_api("without-user-token", {"DEFAULT": {"use_user_token": False}})
    services.start(api)
    assert "use_user_token has no effect" in api.said()
    hidden = people.demo.create(visibility="private")["id"]
    Caller(api.url, people.alt_demo.headers).delete(hidden, 404)
    api.stop()


def test_an_admin_sees_and_changes_everything(people: People):
    image = people.demo.create(visibility="private", name="seen by admin")["id"]
    assert "seen by admin" in people.admin.names()
    people.admin.patch(image, {"op": "replace", "path": "/owner", "value": people.project("alt_demo")})
    people.demo.call("GET", f"/v2/images/{image}", 404)
    people.alt_demo.delete(image)


def test_s42_identity_headers_of_clients_mean_nothing(people: People):
    Caller(people.url, FORGED).call("GET", "/v2/images", 401)
    Caller(people.url, {"X-Auth-Token": "garbage", **FORGED}).call("GET", "/v2/images", 401)
    forger = Caller(people.url, {**people.demo.headers, **FORGED})
    assert forger.create()["owner"] == people.project("demo")
    forger.call("POST", "/v2/images", 403, json={"visibility": "public"})
    # An underscore is another spelling of the same header for a CGI-like environment.
    spelled = {name.replace("-", "_"): value for name, value in FORGED.items()}
    Caller(people.url, spelled).call("GET", "/v2/images", 401)


def test_trusted_auth_believes_its_proxy(services: Services):
    behind_proxy = services.new_api("trusted-api", {"paste_deploy": {"flavor": "trusted-auth"}})
    services.start(behind_proxy)
    identity = {"X-Identity-Status": "Confirmed", "X-User-Id": "u", "X-Project-Id": "p", "X-Roles": "member,reader"}
    member = Caller(behind_proxy.url, identity)
    assert member.create()["owner"] == "p"
    member.call("POST", "/v2/images", 403, json={"visibility": "public"})
    Caller(behind_proxy.url).call("GET", "/v2/images", 401)
    Caller(behind_proxy.url, {**identity, "X-Identity-Status": "Invalid"}).call("GET", "/v2/images", 401)


def test_keystone_away_is_503_and_back_without_restart(people: People, keystone: Keystone):
    fresh = Caller(people.url, {"X-Auth-Token": keystone.token(DEMO)})
    keystone.stop()
    try:
        answer = fresh.call("GET", "/v2/images", 503)
        assert "Traceback" not in answer.text
    finally:
        keystone.start()
    fresh.call("GET", "/v2/images", 200)


def test_tokens_and_passwords_are_in_no_log(people: People, services: Services):
    people.demo.call("GET", "/v2/images", 200)
    said = services.api.said() + services.registry.said() + services.scrubber.said()
    for caller in (people.admin, people.demo, people.alt_demo):
        assert caller.headers["X-Auth-Token"] not in said
