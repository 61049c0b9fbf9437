"""Members, tags and actions over HTTP (API sections 12 and 13)."""

import json
from typing import Any

import pytest
from tests.unit.api.fake_registry import TIME, make_image

from glance_common.model.image import Member
from glance_common.model.status import ImageStatus

ID = "11111111-1111-4111-8111-111111111111"
IMAGE = f"/v2/images/{ID}"


@pytest.fixture
def shared(api):
    """An image of project ``own``, shared with project ``friend``."""
    api.registry.images.rows[ID] = make_image(tags=["t"])
    api.registry.images.members[ID, "friend"] = Member(ID, "friend", "pending", TIME, TIME)
    return api


def send(api: Any, method: str, path: str, document: Any, **kwargs: Any) -> Any:
    return api.call(method, IMAGE + path, data=json.dumps(document), **kwargs)


def test_share_and_accept(shared):
    added = send(shared, "POST", "/members", {"member": "other"})
    assert (added.status_code, added.json) == (200, {
        "member_id": "other", "image_id": ID, "status": "pending", "created_at": TIME, "updated_at": TIME,
        "schema": "/v2/schemas/member",
    })
    accepted = send(shared, "PUT", "/members/other", {"status": "accepted"}, project="other")
    assert (accepted.status_code, accepted.json["status"]) == (200, "accepted")
    listed = shared.call("GET", f"{IMAGE}/members").json
    assert [member["member_id"] for member in listed["members"]] == ["friend", "other"]
    assert listed["schema"] == "/v2/schemas/members"
    assert shared.call("DELETE", f"{IMAGE}/members/other").status_code == 204
    assert shared.call("DELETE", f"{IMAGE}/members/other").status_code == 404


@pytest.mark.parametrize(
    "document", [{}, {"member": ""}, {"member": 5}, {"member": None}, {"member": "m" * 256}, [], "x"]
)
def test_s44_bad_members(shared, document):
    assert send(shared, "POST", "/members", document).status_code == 400


@pytest.mark.parametrize("document", [{}, {"status": "maybe"}, {"status": 5}, {"status": ""}, []])
def test_bad_member_status(shared, document):
    assert send(shared, "PUT", "/members/friend", document, project="friend").status_code == 400


def test_twice_is_a_conflict(shared):
    assert send(shared, "POST", "/members", {"member": "friend"}).status_code == 409


def test_s44_what_a_member_may(shared):
    own = shared.call("GET", f"{IMAGE}/members", project="friend").json["members"]
    assert [member["member_id"] for member in own] == ["friend"]
    assert shared.call("GET", f"{IMAGE}/members/friend", project="friend").status_code == 200
    shared.registry.images.members[ID, "third"] = Member(ID, "third", "pending", TIME, TIME)
    assert shared.call("GET", f"{IMAGE}/members/third", project="friend").status_code == 404
    assert send(shared, "POST", "/members", {"member": "x"}, project="friend").status_code == 403
    assert shared.call("DELETE", f"{IMAGE}/members/friend", project="friend").status_code == 403
    assert shared.call("DELETE", IMAGE, project="friend").status_code == 403
    assert shared.registry.images.writes == []


def test_the_owner_cannot_accept_for_the_member(shared):
    assert send(shared, "PUT", "/members/friend", {"status": "accepted"}).status_code == 403
    assert send(shared, "PUT", "/members/friend", {"status": "accepted"}, roles="admin").status_code == 200
    assert send(shared, "PUT", "/members/nobody", {"status": "accepted"}, project="friend").status_code == 404


@pytest.mark.parametrize("visibility", ["public", "private", "community"])
def test_only_shared_images_have_members(shared, visibility):
    shared.registry.images.rows[ID] = make_image(visibility=visibility)
    assert shared.call("GET", f"{IMAGE}/members").status_code == 403
    assert send(shared, "POST", "/members", {"member": "x"}).status_code == 403
    assert shared.call("DELETE", f"{IMAGE}/members/friend").status_code == 403


def test_tags(shared):
    assert shared.call("PUT", f"{IMAGE}/tags/new").status_code == 204
    assert shared.call("PUT", f"{IMAGE}/tags/new").status_code == 204
    assert shared.call("PUT", f"{IMAGE}/tags/a%2Fb%20🏷").status_code == 204
    assert shared.registry.images.rows[ID].tags == ["t", "new", "a/b 🏷"]
    assert shared.call("DELETE", f"{IMAGE}/tags/new").status_code == 204
    assert shared.call("DELETE", f"{IMAGE}/tags/new").status_code == 404
    assert shared.call("PUT", f"{IMAGE}/tags/{'x' * 256}").status_code == 400
    assert shared.call("PUT", f"{IMAGE}/tags/x", project="friend").status_code == 403
    assert shared.call("PUT", f"{IMAGE}/tags/x", project="stranger").status_code == 404


def test_tag_quota(make_api):
    api = make_api(image_tag_quota=1)
    api.registry.images.rows[ID] = make_image(tags=["t"])
    assert api.call("PUT", f"{IMAGE}/tags/t").status_code == 204
    assert api.call("PUT", f"{IMAGE}/tags/u").status_code == 413


def test_actions(shared):
    images = shared.registry.images
    for action, before, after in (
        ("deactivate", ImageStatus.ACTIVE, ImageStatus.DEACTIVATED), ("deactivate", ImageStatus.DEACTIVATED, None),
        ("reactivate", ImageStatus.DEACTIVATED, ImageStatus.ACTIVE), ("reactivate", ImageStatus.ACTIVE, None),
    ):
        images.rows[ID] = make_image(status=before)
        writes = len(images.writes)
        assert shared.call("POST", f"{IMAGE}/actions/{action}").status_code == 204
        assert images.rows[ID].status == (after or before)
        assert len(images.writes) == writes + (after is not None)


@pytest.mark.parametrize("status", [ImageStatus.QUEUED, ImageStatus.SAVING, ImageStatus.KILLED, ImageStatus.IMPORTING])
@pytest.mark.parametrize("action", ["deactivate", "reactivate"])
def test_actions_on_other_statuses(shared, action, status):
    shared.registry.images.rows[ID] = make_image(status=status)
    assert shared.call("POST", f"{IMAGE}/actions/{action}").status_code == 403


def test_actions_of_others(shared):
    shared.registry.images.rows[ID] = make_image(status=ImageStatus.ACTIVE, visibility="public")
    assert shared.call("POST", f"{IMAGE}/actions/deactivate", project="stranger").status_code == 403
    assert shared.call("POST", f"{IMAGE}/actions/deactivate", roles="reader").status_code == 403


def test_an_action_that_came_second(shared):
    """Another request changed the status between the read and the write."""
    images = shared.registry.images
    images.rows[ID] = make_image(status=ImageStatus.ACTIVE)
    stale = images.get
    for meanwhile, answer in ((ImageStatus.DEACTIVATED, 204), (ImageStatus.QUEUED, 403)):
        images.get = lambda context, image_id, **kw: make_image(status=ImageStatus.ACTIVE)
        images.rows[ID] = make_image(status=meanwhile)
        assert shared.call("POST", f"{IMAGE}/actions/deactivate").status_code == answer
    images.get = stale
