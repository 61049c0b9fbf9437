"""Members of a project list its deleted images and restore one, when policy lets them (lifecycle section 4)."""

from uuid import uuid4

import pytest
import sqlalchemy as sa

RULE = "role:member and project_id:%(project_id)s"
OCTETS = {"Content-Type": "application/octet-stream"}
LIST = "status=pending_delete"


@pytest.fixture
def make_open(make_api, tmp_path):
    """A function that builds an API which delays deletes and has this rule."""

    def make(rule=RULE, delayed=True, **options):
        path = tmp_path / "policy.yaml"
        path.write_text(f'"restore_image": "{rule}"\n' if rule is not None else "{}\n")
        return make_api(delayed_delete=delayed, scrub_time=3600, oslo_policy__policy_file=path, **options)

    return make


@pytest.fixture
def open_api(make_open):
    return make_open()


def active(api, **document):
    image = api.create(**{"name": "x", "disk_format": "raw", "container_format": "bare", **document})["id"]
    assert api.call("PUT", f"/v2/images/{image}/file", data=b"0123456789", headers=OCTETS).status_code == 204
    return image


def gone(api, **document):
    """Return the id of an image that was deleted."""
    image = active(api, **document)
    assert api.call("DELETE", f"/v2/images/{image}").status_code == 204
    return image


def restore(api, image, **caller):
    return api.call("POST", f"/v2/images/{image}/actions/restore", **caller)


def test_an_owner_finds_and_restores_an_image(open_api):
    kept = active(open_api, name="kept")
    image = active(open_api, name="lost", tags=["blue"], os_distro="debian")
    assert open_api.call("POST", f"/v2/images/{image}/members", json={"member": "friend"}).status_code == 200
    assert open_api.call("POST", f"/v2/images/{image}/actions/deactivate").status_code == 204
    before = open_api.call("GET", f"/v2/images/{image}").json
    assert open_api.call("DELETE", f"/v2/images/{image}").status_code == 204
    answer = open_api.call("GET", f"/v2/images?{LIST}").json
    [shown] = answer["images"]
    assert (shown["id"], shown["name"], shown["status"]) == (image, "lost", "pending_delete")
    assert shown["deleted_at"] == shown["updated_at"] < shown["os_glance_restorable_until"]
    assert answer["first"] == f"/v2/images?{LIST}"
    assert open_api.names() == ["kept"]
    assert open_api.call("GET", f"/v2/images/{image}").status_code == 404
    restored = restore(open_api, image)
    assert (restored.status_code, restored.data) == (204, b"")
    after = open_api.call("GET", f"/v2/images/{image}").json
    assert {**after, "updated_at": None} == {**before, "updated_at": None}
    assert after["status"] == "deactivated"
    members = open_api.call("GET", f"/v2/images/{image}/members").json["members"]
    assert [member["member_id"] for member in members] == ["friend"]
    assert open_api.call("POST", f"/v2/images/{image}/actions/reactivate").status_code == 204
    assert open_api.call("GET", f"/v2/images/{image}/file").data == b"0123456789"
    assert open_api.names(LIST) == []
    assert sorted(open_api.names()) == ["kept", "lost"]
    assert kept


def test_a_rule_may_name_the_owner_instead_of_the_project(make_open):
    api = make_open("role:member and project_id:%(owner)s")
    image = gone(api, name="lost")
    assert api.names(LIST) == ["lost"]
    assert restore(api, image).status_code == 204


@pytest.mark.parametrize("roles", ["member,reader", "admin"])
@pytest.mark.parametrize("rule", [None, "!", "role:member and project_id:%(project_id)s and user_id:other"])
def test_off_changes_nothing(make_open, roles, rule):
    api = make_open(rule)
    image, kept = gone(api), active(api)
    caller = {"roles": roles}
    for query in (LIST, f"{LIST}&limit=1", f"status=in:active,pending_delete&id={image}", f"id={image}"):
        assert api.names(query, **caller) == []
    unknown = api.call("GET", f"/v2/images?{LIST}&marker={image}", **caller)
    assert (unknown.status_code, image in unknown.text) == (400, True)
    missing = str(uuid4())
    answers = [restore(api, one, **caller) for one in (image, missing)]
    assert [answer.status_code for answer in answers] == [404, 404]
    assert answers[0].text.replace(image, missing) == answers[1].text
    refused = restore(api, kept, **caller)
    assert (refused.status_code, "restore_image" in refused.text) == (403, True)


@pytest.mark.parametrize("caller", [
    {"project": "other"}, {"project": "friend"}, {"roles": "reader"}, {"project": "cloud", "roles": "admin,member"},
    {"project": None},
], ids=["other", "member", "reader", "administrator", "no project"])
def test_s43_others_neither_see_nor_restore_what_was_deleted(open_api, caller):
    images = [gone(open_api, name=name, visibility=visibility)
              for name, visibility in (("a", "private"), ("b", "shared"), ("c", "community"))]
    for image in images:
        listed = open_api.call("GET", f"/v2/images?{LIST}&visibility=all&member_status=all", **caller)
        assert listed.status_code == 403 or listed.json["images"] == []
        answers = [restore(open_api, one, **caller) for one in (image, "99999999-9999-4999-8999-999999999999")]
        assert answers[0].status_code == 404
        assert answers[0].text == answers[1].text.replace("99999999-9999-4999-8999-999999999999", image)
    assert sorted(open_api.names(LIST)) == ["a", "b", "c"]


def test_an_administrator_restores_for_all_projects_if_the_rule_says_so(make_open, engine):
    api = make_open("rule:context_is_admin or (role:member and project_id:%(project_id)s)")
    image = gone(api, name="theirs")
    admin = {"project": "cloud", "roles": "admin"}
    assert api.names(LIST, **admin) == ["theirs"]
    assert api.names(f"{LIST}&owner=cloud", **admin) == []
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE locations SET not_before = now() WHERE image_id = :id"), {"id": image})
    late = restore(api, image)
    assert (late.status_code, "the time to restore" in late.text) == (409, True)
    [shown] = api.call("GET", f"/v2/images?{LIST}").json["images"]
    assert "os_glance_restorable_until" not in shown
    assert restore(api, image, **admin).status_code == 204
    assert api.call("GET", f"/v2/images/{image}/file").data == b"0123456789"


def test_a_rule_without_a_project_opens_no_images_of_others(make_open):
    api = make_open("role:member")
    image = gone(api, visibility="community")
    assert api.names(LIST, project="other") == []
    assert restore(api, image, project="other").status_code == 404
    assert restore(api, image).status_code == 204


def test_what_cannot_be_restored_says_why(open_api, make_open, engine):
    kept = active(open_api)
    queued = open_api.create(name="queued")["id"]
    for image, status in ((kept, "active"), (queued, "queued")):
        answer = restore(open_api, image)
        assert (answer.status_code, f"is {status}" in answer.text) == (409, True)
    assert open_api.call("DELETE", f"/v2/images/{queued}").status_code == 204
    answer = restore(open_api, queued)
    assert (answer.status_code, "is deleted" in answer.text) == (409, True)
    claimed = gone(open_api)
    with engine.begin() as connection:
        statement = sa.text("UPDATE locations SET status = 'deleting' WHERE image_id = :id")
        connection.execute(statement, {"id": claimed})
    answer = restore(open_api, claimed)
    assert (answer.status_code, "are deleting" in answer.text) == (409, True)
    undelayed = gone(make_open(delayed=False))
    answer = restore(open_api, undelayed)
    assert (answer.status_code, "not kept" in answer.text) == (409, True)


def test_a_second_restore_is_told_that_the_image_is_there(open_api):
    image = gone(open_api)
    assert [restore(open_api, image).status_code for _ in range(2)] == [204, 409]
    assert open_api.call("GET", f"/v2/images/{image}/file").data == b"0123456789"


def test_a_call_to_the_registry_that_is_repeated_restores_once(open_api, engine):
    image = gone(open_api)
    images = open_api.services.registry.images
    first = images.restore

    def twice(context, image_id, attempt, *, limits=None):
        first(context, image_id, attempt, limits=limits)
        return first(context, image_id, attempt, limits=limits)

    images.restore = twice
    try:
        assert restore(open_api, image).status_code == 204
    finally:
        images.restore = first
    with engine.connect() as connection:
        row = connection.execute(sa.text("SELECT status, deleted_at, delayed FROM images")).one()
    assert tuple(row) == ("active", None, False)


@pytest.mark.parametrize(("path", "body", "code"), [
    ("99999999-9999-4999-8999-999999999999", None, 404), ("no-uuid", None, 404), ("%00", None, 400),
    ("ID", b"{}", 400), ("ID", b"x", 400),
])
def test_bad_input(open_api, path, body, code):
    image = gone(open_api)
    answer = open_api.call("POST", f"/v2/images/{path.replace('ID', image)}/actions/restore", data=body)
    assert answer.status_code == code, answer.text
    assert open_api.names(LIST) == ["x"]


def test_the_quota_of_the_owner_is_kept(make_open):
    api = make_open(user_storage_quota="15")
    image = gone(api)
    active(api, name="new")
    refused = restore(api, image)
    assert (refused.status_code, "user_storage_quota" in refused.text) == (413, True)
    assert api.names(LIST) == ["x"]
    [new] = [one["id"] for one in api.call("GET", "/v2/images").json["images"]]
    assert api.call("DELETE", f"/v2/images/{new}").status_code == 204
    assert restore(api, image).status_code == 204


def test_pages_have_the_filter_in_their_links(open_api):
    for name in "abc":
        gone(open_api, name=name)
    found, path = [], f"/v2/images?{LIST}&limit=1&sort=name:asc"
    while path:
        answer = open_api.call("GET", path).json
        found += [image["name"] for image in answer["images"]]
        path = answer.get("next")
    assert found == ["a", "b", "c"]


def test_events_tell_it(open_api):
    sent = []
    open_api.services.notifications.wants = lambda event: True
    image = gone(open_api)
    open_api.services.notifications.send = lambda context, event, payload, *rest: sent.append((event, payload))
    assert restore(open_api, image).status_code == 204
    assert [event for event, _ in sent] == ["image.restore", "image.update"]
    for _, payload in sent:
        assert (payload["id"], payload["status"], payload["deleted"]) == (image, "active", False)
        assert (payload["size"], payload["deleted_at"]) == (10, None)


def test_v1_lists_are_as_before(open_api):
    gone(open_api)
    assert open_api.call("GET", "/v1/images/detail?status=pending_delete").json["images"] == []
    seen = open_api.call("GET", "/v1/images/detail?status=pending_delete&deleted=true", roles="admin").json["images"]
    assert [(image["status"], "restorable" in str(image)) for image in seen] == [("pending_delete", False)]
