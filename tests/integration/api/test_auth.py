"""Flavors in front of the real thing."""

import pytest
from tests.servers.keystone import ADMIN, ALT_DEMO, DEMO, DEMO_READER


def test_noauth_callers_may_do_everything(make_api):
    client = make_api(paste_deploy__flavor="", noauth_project_id="home").app.test_client()
    created = client.post("/v2/images", json={"visibility": "public"})
    assert created.status_code == 201
    assert created.json["owner"] == "home"
    assert len(client.get("/v2/images").json["images"]) == 1


def test_anonymous_callers_may_only_read(make_api, tmp_path):
    (tmp_path / "open.yaml").write_text("get_images: '@'\nget_image: '@'\n")
    api = make_api(allow_anonymous_access=True, oslo_policy__policy_file=tmp_path / "open.yaml")
    api.create(name="public", visibility="public", roles="admin")
    api.create(name="private", visibility="private")
    client = api.app.test_client()
    assert [image["name"] for image in client.get("/v2/images").json["images"]] == ["public"]
    refused = client.post("/v2/images", json={})
    assert refused.status_code == 403
    assert "Read-only access" in refused.text


@pytest.fixture
def behind_keystone(make_api, keystone):
    """A function that makes an API whose callers are checked by a real Keystone."""
    account = {f"keystone_authtoken__{name}": value for name, value in keystone.middleware_options().items()}
    return lambda **options: make_api(paste_deploy__flavor="keystone", **account, **options)


@pytest.fixture
def protected(behind_keystone):
    """That API with the default of every other option."""
    return behind_keystone()


@pytest.mark.parametrize("headers", [{}, {"X-Auth-Token": "forged"}, {"X-Roles": "admin", "X-Project-Id": "own"}])
def test_pol05_who_has_no_good_token_may_read_when_the_operator_allows_it(behind_keystone, keystone, tmp_path, headers):
    (tmp_path / "open.yaml").write_text("get_images: '@'\nget_image: '@'\n")
    api = behind_keystone(allow_anonymous_access=True, oslo_policy__policy_file=tmp_path / "open.yaml")
    client, owner = api.app.test_client(), {"X-Auth-Token": keystone.token(DEMO)}
    for name, visibility in (("found", "shared"), ("hidden", "private")):
        made = client.post("/v2/images", json={"name": name, "visibility": visibility}, headers=owner)
        assert made.status_code == 201
    public = client.post(
        "/v2/images", json={"name": "public", "visibility": "public"}, headers={"X-Auth-Token": keystone.token(ADMIN)}
    ).json["id"]
    assert [image["name"] for image in client.get("/v2/images", headers=headers).json["images"]] == ["public"]
    assert client.post("/v2/images", json={}, headers=headers).status_code == 403
    assert client.delete(f"/v2/images/{public}", headers=headers).status_code == 403


def test_keystone_tokens(protected, keystone):
    client = protected.app.test_client()
    owner, reader, other = ({"X-Auth-Token": keystone.token(user)} for user in (DEMO, DEMO_READER, ALT_DEMO))
    created = client.post("/v2/images", json={"name": "mine"}, headers=owner)
    assert created.status_code == 201, created.text
    assert created.json["owner"] == keystone.project_ids["demo"]
    path = f"/v2/images/{created.json['id']}"
    assert client.get(path, headers=reader).status_code == 200
    assert client.delete(path, headers=reader).status_code == 403
    assert client.get(path, headers=other).status_code == 404
    assert client.delete(path, headers=owner).status_code == 204


@pytest.mark.parametrize("headers", [{}, {"X-Auth-Token": "forged"}])
def test_s42_without_a_valid_token(protected, keystone, headers):
    forged = {"X-Identity-Status": "Confirmed", "X-Roles": "admin", "X-Project-Id": "p", "X-User-Id": "u"}
    response = protected.app.test_client().get("/v2/images", headers={**forged, **headers})
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == f'Keystone uri="{keystone.url}"'
    assert protected.app.test_client().get("/").status_code == 300
    assert protected.app.test_client().get("/healthcheck").status_code == 200


def test_s53_tokens_are_not_logged(protected, keystone, caplog):
    caplog.set_level("DEBUG")
    token = keystone.token(DEMO)
    assert protected.app.test_client().get("/v2/images", headers={"X-Auth-Token": token}).status_code == 200
    assert caplog.records
    assert token not in caplog.text
