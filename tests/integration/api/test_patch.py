"""PATCH down to the database, also when two of them meet."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from glance_api.services import retries

V21 = {"Content-Type": "application/openstack-images-v2.1-json-patch"}


def change(api, image, *operations, **caller):
    return api.call("PATCH", f"/v2/images/{image['id']}", data=json.dumps(operations), headers=V21, **caller)


def test_changes_are_kept(api):
    image = api.create(a="1", b="2", tags=["t"])
    response = change(
        api, image,
        {"op": "replace", "path": "/name", "value": "🙂"}, {"op": "remove", "path": "/a"},
        {"op": "add", "path": "/c~1d", "value": ""}, {"op": "replace", "path": "/tags", "value": ["x", "y", "x"]},
        {"op": "replace", "path": "/os_hidden", "value": True},
        {"op": "replace", "path": "/disk_format", "value": "raw"},
    )
    assert response.status_code == 200
    shown = api.call("GET", f"/v2/images/{image['id']}").json
    assert shown == response.json
    assert "a" not in shown
    assert (shown["b"], shown["c/d"], sorted(shown["tags"])) == ("2", "", ["x", "y"])
    assert (shown["name"], shown["os_hidden"], shown["disk_format"]) == ("🙂", True, "raw")


def test_a_failure_changes_nothing(api):
    image = api.create(a="1")
    assert change(
        api, image, {"op": "replace", "path": "/a", "value": "2"}, {"op": "remove", "path": "/missing"}
    ).status_code == 409
    assert api.call("GET", f"/v2/images/{image['id']}").json == image


WRITERS, CHANGES = 8, 25


def together(*writers):
    """Return what each writer answers; all of them write at the same time."""
    with ThreadPoolExecutor(len(writers)) as pool:
        return [future.result() for future in [pool.submit(writer) for writer in writers]]


def show(api, image):
    return api.call("GET", f"/v2/images/{image['id']}").json


def test_many_writers_of_one_image_lose_nothing(make_api):
    """Changes of different properties, attributes and tags at the same time all succeed and all stay."""
    api = make_api(image_property_quota=-1)
    image = api.create()

    def properties(writer):
        return [
            change(api, image, {"op": "add", "path": f"/p{writer}_{number}", "value": f"{number}"}).status_code
            for number in range(CHANGES)
        ]

    def attributes():
        paths = ("/name", "/min_ram", "/min_disk", "/os_hidden")
        values = ("last", 25, 26, True)
        return [
            change(api, image, {"op": "replace", "path": path, "value": value}).status_code
            for path, value in zip(paths, values, strict=True)
        ]

    def tags():
        return [api.call("PUT", f"/v2/images/{image['id']}/tags/t{number}").status_code for number in range(10)]

    writers = [lambda writer=writer: properties(writer) for writer in range(WRITERS)]
    statuses = together(*writers, attributes, tags)
    assert [set(each) for each in statuses] == [{200}] * (WRITERS + 1) + [{204}]
    shown = show(api, image)
    expected = {f"p{writer}_{number}": f"{number}" for writer in range(WRITERS) for number in range(CHANGES)}
    assert {name: shown.get(name) for name in expected} == expected
    assert [shown[name] for name in ("name", "min_ram", "min_disk", "os_hidden")] == ["last", 25, 26, True]
    assert sorted(shown["tags"]) == sorted(f"t{number}" for number in range(10))


def test_the_last_of_two_writers_of_a_property_wins(api):
    """Pairs that are written together stay together: as if the changes came one after another."""
    image = api.create(a="-", b="-")

    def write(writer):
        pairs = [
            [{"op": "replace", "path": path, "value": f"{writer}.{number}"} for path in ("/a", "/b", "/name")]
            for number in range(CHANGES)
        ]
        return [change(api, image, *pair).status_code for pair in pairs]

    statuses = together(*[lambda writer=writer: write(writer) for writer in range(4)])
    assert {status for each in statuses for status in each} == {200}
    shown = show(api, image)
    assert shown["a"] == shown["b"] == shown["name"]
    assert shown["a"].endswith(f".{CHANGES - 1}")


def test_one_of_several_removers_finds_the_property(api):
    image = api.create(a="1")
    statuses = together(*[lambda: change(api, image, {"op": "remove", "path": "/a"}).status_code] * 4)
    assert sorted(statuses) == [200, 409, 409, 409]
    v20 = {"Content-Type": "application/openstack-images-v2.0-json-patch"}
    data = json.dumps([{"add": "/b", "value": "1"}])

    def add():
        return api.call("PATCH", f"/v2/images/{image['id']}", data=data, headers=v20).status_code

    assert sorted(together(*[add] * 4)) == [200, 409, 409, 409]


def test_the_property_quota_holds_when_many_add_at_once(make_api):
    api = make_api(image_property_quota=5)
    image = api.create()

    def add(number):
        return change(api, image, {"op": "add", "path": f"/p{number}", "value": "x"}).status_code

    statuses = together(*[lambda number=number: add(number) for number in range(10)])
    assert sorted(statuses) == [200] * 5 + [413] * 5
    shown = show(api, image)
    assert [f"p{number}" in shown for number in range(10)] == [status == 200 for status in statuses]


def test_rights_are_those_of_the_image_as_it_is_changed(api):
    """Between the checks and the write another request gives the image away: the change is refused."""
    image = api.create()
    merge = api.services.registry.images.merge

    def give_away_first(*args):
        api.services.registry.images.merge = merge
        given = change(api, image, {"op": "replace", "path": "/owner", "value": "other"}, roles="admin")
        assert given.status_code == 200
        return merge(*args)

    api.services.registry.images.merge = give_away_first
    assert change(api, image, {"op": "add", "path": "/a", "value": "1"}).status_code == 404
    assert "a" not in api.call("GET", f"/v2/images/{image['id']}", project="other").json


def test_a_rule_about_a_property_sees_what_others_write(make_api, tmp_path):
    """With a rule that looks at properties, each change is checked against all of them."""
    (tmp_path / "policy.yaml").write_text('"modify_image": "not \'closed\':%(state)s"\n')
    api = make_api(oslo_policy__policy_file=tmp_path / "policy.yaml")
    image = api.create(state="open")
    update = api.services.registry.images.update

    def close_first(*args, **kwargs):
        api.services.registry.images.update = update
        assert change(api, image, {"op": "replace", "path": "/state", "value": "closed"}).status_code == 200
        return update(*args, **kwargs)

    api.services.registry.images.update = close_first
    assert change(api, image, {"op": "add", "path": "/a", "value": "1"}).status_code == 403
    assert "a" not in show(api, image)


def test_calls_of_v1_lose_nothing(api, monkeypatch):
    """v1 writes properties as a whole: each call is repeated until it met no other."""
    # A machine that stands still must not end the patience.
    monkeypatch.setattr(retries, "PATIENCE", 60)
    image = api.create()
    keep = {"x-glance-registry-purge-props": "false"}

    def add(writer):
        return [
            api.call("PUT", f"/v1/images/{image['id']}", headers={f"x-image-meta-property-p{writer}{n}": "x", **keep})
            .status_code for n in range(5)
        ]

    statuses = together(*[lambda writer=writer: add(writer) for writer in range(4)])
    assert {status for each in statuses for status in each} == {200}
    shown = show(api, image)
    assert all(shown.get(f"p{writer}{n}") == "x" for writer in range(4) for n in range(5))


def test_members_cannot_change_anything(api):
    image = api.create()
    assert api.call("POST", f"/v2/images/{image['id']}/members", json={"member": "friend"}).status_code == 200
    assert change(api, image, {"op": "replace", "path": "/name", "value": "x"}, project="friend").status_code == 403


@pytest.mark.parametrize("path", ["/locations/-", "/locations/0", "/locations"])
def test_s17_s24_locations_are_not_changed_unless_an_operator_opens_them(api, path):
    image = api.create()
    operation = {"op": "remove" if path.endswith("0") else "replace", "path": path, "value": []}
    assert change(api, image, operation, roles="admin").status_code == 403
