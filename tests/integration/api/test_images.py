"""The life of an image over HTTP, down to the database."""

import pytest

ID = "11111111-1111-4111-8111-111111111111"


def test_create_show_and_delete(api):
    created = api.create(name="📦 first", os_distro="debian", tags=["b", "a", "b"], min_disk=3, id=ID.upper())
    assert created["id"] == ID
    shown = api.call("GET", f"/v2/images/{ID}")
    assert (shown.status_code, shown.json) == (200, created)
    assert (created["name"], created["os_distro"], sorted(created["tags"])) == ("📦 first", "debian", ["a", "b"])
    assert (created["status"], created["visibility"], created["owner"]) == ("queued", "shared", "own")
    assert api.call("GET", f"/v2/images/{ID.upper()}").json == created
    assert api.call("DELETE", f"/v2/images/{ID}").status_code == 204
    assert api.call("GET", f"/v2/images/{ID}").status_code == 404
    assert api.call("DELETE", f"/v2/images/{ID}").status_code == 404


def test_s25_the_id_of_a_deleted_image_stays_taken(api):
    api.create(id=ID)
    assert api.call("POST", "/v2/images", json={"id": ID}).status_code == 409
    assert api.call("DELETE", f"/v2/images/{ID}").status_code == 204
    for roles in ("member,reader", "admin"):
        assert api.call("POST", "/v2/images", json={"id": ID}, roles=roles, project="other").status_code == 409


@pytest.mark.parametrize("image_id", ["x", "0" * 36, "1" * 400, ID + "0", "..", "%2e%2e", "a%2Fb", "ÿ"])
def test_ids_that_are_none(api, image_id):
    for method in ("GET", "DELETE"):
        assert api.call(method, f"/v2/images/{image_id}").status_code == 404


def test_s01_s43_strangers(api):
    """A stranger's delete of a public image is 403, of an invisible one 404, and both stay as they are."""
    public = api.create(visibility="public", roles="admin")
    private = api.create(visibility="private")
    for image, status in ((public, 403), (private, 404)):
        path = f"/v2/images/{image['id']}"
        assert api.call("DELETE", path, project="stranger").status_code == status
        patch = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
        assert api.call("PATCH", path, project="stranger", data="[]", headers=patch).status_code == status
        assert api.call("PUT", f"{path}/tags/x", project="stranger").status_code == status
        assert api.call("GET", path, project="own", roles="admin").json == image


def test_s43_invisible_and_missing_are_answered_in_the_same_words(api):
    private = api.create(visibility="private")["id"]
    missing = "99999999-9999-4999-8999-999999999999"
    for method, rest, body in (
        ("GET", "", None), ("DELETE", "", None), ("GET", "/file", None), ("PUT", "/file", b"x"),
        ("GET", "/members", None),
        ("POST", "/members", b'{"member": "m"}'), ("GET", "/members/m", None), ("DELETE", "/members/m", None),
        ("PUT", "/members/m", b'{"status": "accepted"}'), ("PUT", "/tags/t", None), ("DELETE", "/tags/t", None),
        ("POST", "/actions/deactivate", None), ("POST", "/actions/reactivate", None), ("PATCH", "", b"[]"),
    ):
        content_type = "application/octet-stream" if rest == "/file" else "application/openstack-images-v2.1-json-patch"
        headers = {"Content-Type": content_type} if body is not None else {}
        texts = []
        for image_id in (private, missing):
            path = f"/v2/images/{image_id}{rest}"
            response = api.call(method, path, data=body, headers=headers, project="stranger")
            assert response.status_code == 404, (method, rest, response.text)
            texts.append(response.text.replace(image_id, "ID"))
        assert texts[0] == texts[1], (method, rest)


def test_protected(api):
    image = api.create(protected=True)
    assert api.call("DELETE", f"/v2/images/{image['id']}").status_code == 403
    assert api.call("GET", f"/v2/images/{image['id']}").status_code == 200


def test_s46_owners(api):
    assert api.call("POST", "/v2/images", json={"owner": "other"}).status_code == 403
    foreign = api.create(owner="other", roles="admin")
    assert foreign["owner"] == "other"
    nobodys = api.create(owner=None, roles="admin")
    assert nobodys["owner"] is None
    assert api.call("DELETE", f"/v2/images/{nobodys['id']}").status_code == 403


def test_s45_community_images_are_found_only_when_asked_for(api):
    api.create(name="c", visibility="community")
    assert api.names(project="other") == []
    assert api.names("visibility=community", project="other") == ["c"]
    assert api.names("visibility=all", project="other") == ["c"]
    assert api.names() == ["c"]


def test_hidden_images(api):
    api.create(name="h", os_hidden=True)
    api.create(name="v")
    assert api.names() == ["v"]
    assert api.names("os_hidden=True") == ["h"]


@pytest.mark.parametrize(
    "value", [{"min_disk": 2**31 - 1}, {"min_ram": 0}, {"name": "n" * 255}, {"p" * 255: "v" * 65536}]
)
def test_s56_the_largest_values_are_kept(api, value):
    image = api.create(**value)
    shown = api.call("GET", f"/v2/images/{image['id']}").json
    assert {key: shown[key] for key in value} == value


def test_actions_on_a_queued_image(api):
    image = api.create()
    assert api.call("POST", f"/v2/images/{image['id']}/actions/deactivate").status_code == 403


def test_a_registry_that_is_away(make_api):
    api = make_api(registry_port=1)
    response = api.call("GET", f"/v2/images/{ID}", headers={"Accept": "application/json"})
    assert response.status_code == 503
    assert response.json["message"] == "the registry does not answer"
