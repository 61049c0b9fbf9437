"""PATCH down to the database, also when two of them meet."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

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


def test_two_writers_lose_nothing(api):
    """Concurrent changes of different properties all arrive, or say 409."""
    image = api.create()

    def add(number):
        return change(api, image, {"op": "add", "path": f"/p{number}", "value": "x"}).status_code

    with ThreadPoolExecutor(4) as pool:
        statuses = list(pool.map(add, range(24)))
    assert set(statuses) <= {200, 409}
    shown = api.call("GET", f"/v2/images/{image['id']}").json
    assert [f"p{number}" in shown for number in range(24)] == [status == 200 for status in statuses]
    assert statuses.count(200) > 1


def test_members_cannot_change_anything(api):
    image = api.create()
    assert api.call("POST", f"/v2/images/{image['id']}/members", json={"member": "friend"}).status_code == 200
    assert change(api, image, {"op": "replace", "path": "/name", "value": "x"}, project="friend").status_code == 403


@pytest.mark.parametrize("path", ["/locations/-", "/locations/0", "/locations"])
def test_s17_s24_locations_are_not_changed_unless_an_operator_opens_them(api, path):
    image = api.create()
    operation = {"op": "remove" if path.endswith("0") else "replace", "path": path, "value": []}
    assert change(api, image, operation, roles="admin").status_code == 403
