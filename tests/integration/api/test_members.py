"""Sharing between projects, down to the database (API section 13, lifecycle section 8)."""

import pytest


@pytest.fixture
def image(api):
    return api.create(name="shared one")


def share(api, image, member, **caller):
    return api.call("POST", f"/v2/images/{image['id']}/members", json={"member": member}, **caller)


def accept(api, image, member, status="accepted", **caller):
    path = f"/v2/images/{image['id']}/members/{member}"
    return api.call("PUT", path, json={"status": status}, **{"project": member, **caller})


def test_sharing(api, image):
    path = f"/v2/images/{image['id']}"
    assert api.call("GET", path, project="friend").status_code == 404
    added = share(api, image, "friend")
    assert (added.status_code, added.json["status"]) == (200, "pending")
    assert api.call("GET", path, project="friend").status_code == 200
    assert api.names(project="friend") == []
    assert api.names("member_status=pending&visibility=shared", project="friend") == ["shared one"]
    assert accept(api, image, "friend").json["status"] == "accepted"
    assert api.names(project="friend") == ["shared one"]
    assert accept(api, image, "friend", "rejected").status_code == 200
    assert api.names(project="friend") == []
    assert api.call("DELETE", f"{path}/members/friend").status_code == 204
    assert api.call("GET", path, project="friend").status_code == 404
    again = share(api, image, "friend")
    assert (again.status_code, again.json["status"]) == (200, "pending")


def test_s44_members_see_only_themselves(api, image):
    for member in ("friend", "third", "🙂/x"):
        assert share(api, image, member).status_code == 200
    path = f"/v2/images/{image['id']}/members"

    def members(**caller):
        return sorted(member["member_id"] for member in api.call("GET", path, **caller).json["members"])

    assert members() == members(roles="admin", project="x") == ["friend", "third", "🙂/x"]
    assert members(project="friend") == ["friend"]
    assert api.call("GET", f"{path}/friend", project="third").status_code == 404
    assert api.call("GET", f"{path}/third", project="third").status_code == 200
    assert api.call("GET", path, project="stranger").status_code == 404
    assert share(api, image, "more", project="friend").status_code == 403
    assert api.call("DELETE", f"{path}/third", project="friend").status_code == 403


def test_who_accepts(api, image):
    share(api, image, "friend")
    assert accept(api, image, "friend", project="own").status_code == 403
    assert accept(api, image, "friend", project="third").status_code == 404
    assert accept(api, image, "friend", roles="admin", project="x").status_code == 200
    assert accept(api, image, "nobody", project="friend").status_code == 404
    assert accept(api, image, "friend", "maybe").status_code == 400


def test_quota_and_doubles(make_api):
    api = make_api(image_member_quota=1)
    image = api.create()
    assert share(api, image, "friend").status_code == 200
    assert share(api, image, "friend").status_code == 409
    assert share(api, image, "third").status_code == 413


def test_members_of_images_that_are_not_shared(api):
    image = api.create(visibility="private")
    assert share(api, image, "friend").status_code == 403
    assert api.call("GET", f"/v2/images/{image['id']}/members").status_code == 403


@pytest.mark.parametrize("visibility", ["private", "community", "public"])
def test_memberships_have_no_effect_until_the_image_is_shared_again(api, image, visibility):
    """They are kept, but not listed, shown or answered by any caller (lifecycle section 8)."""

    def become(kind):
        operation = f'[{{"op": "replace", "path": "/visibility", "value": "{kind}"}}]'
        patch = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
        answer = api.call("PATCH", f"/v2/images/{image['id']}", data=operation, headers=patch, roles="admin")
        assert answer.status_code == 200, answer.text

    share(api, image, "friend")
    become(visibility)
    path = f"/v2/images/{image['id']}/members"
    unseen = 404 if visibility == "private" else 403
    for caller, refusal in (({"roles": "admin", "project": "x"}, 403), ({"project": "friend"}, unseen)):
        assert api.call("GET", path, **caller).status_code == refusal
        assert api.call("GET", f"{path}/friend", **caller).status_code == 404
        assert accept(api, image, "friend", **caller).status_code == refusal
    assert api.call("GET", f"{path}/friend").status_code == 404
    become("shared")
    assert api.call("GET", f"{path}/friend").json["status"] == "pending"
    assert accept(api, image, "friend").status_code == 200
