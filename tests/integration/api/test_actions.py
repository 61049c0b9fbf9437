"""Deactivate and reactivate on images that really have data (API section 12)."""

import pytest


@pytest.fixture
def active(api):
    image = api.create(name="x", disk_format="raw", container_format="bare")
    path = f"/v2/images/{image['id']}"
    headers = {"Content-Type": "application/octet-stream"}
    assert api.call("PUT", f"{path}/file", data=b"0123456789", headers=headers).status_code == 204
    return path


def test_a_closed_image(api, active):
    assert api.call("POST", f"{active}/actions/deactivate").status_code == 204
    assert api.call("POST", f"{active}/actions/deactivate").status_code == 204
    assert api.call("GET", active).json["status"] == "deactivated"
    assert api.call("GET", f"{active}/file").status_code == 403
    assert api.call("GET", f"{active}/file", roles="admin").data == b"0123456789"
    assert api.call("POST", f"{active}/actions/reactivate").status_code == 204
    assert api.call("POST", f"{active}/actions/reactivate").status_code == 204
    assert api.call("GET", f"{active}/file").data == b"0123456789"


def test_s17_an_active_image_never_goes_back(api, active):
    headers = {"Content-Type": "application/octet-stream"}
    assert api.call("PUT", f"{active}/file", data=b"other", headers=headers).status_code == 409
    assert api.call("GET", f"{active}/file").data == b"0123456789"


def test_a_snapshot_of_an_instance_is_a_template_that_never_changes(api):
    """IMG-37, IMG-38: as Nova makes it, with its properties; once it is active nobody changes its data."""
    properties = {"base_image_ref": "1", "image_type": "snapshot", "instance_uuid": "2", "user_id": "u"}
    image = api.create(name="snap", disk_format="raw", container_format="bare", visibility="private", **properties)
    path = f"/v2/images/{image['id']}"
    upload = {"data": b"0123456789", "headers": {"Content-Type": "application/octet-stream"}}
    assert api.call("PUT", f"{path}/file", **upload).status_code == 204
    active = api.call("GET", path).json
    assert (active["status"], active["size"], properties.items() <= active.items()) == ("active", 10, True)
    assert api.names("image_type=snapshot&instance_uuid=2") == ["snap"]
    assert api.call("PUT", f"{path}/file", **upload, roles="admin").status_code == 409
    change = '[{"op": "replace", "path": "/disk_format", "value": "qcow2"}]'
    patched = api.call("PATCH", path, data=change, roles="admin",
                       headers={"Content-Type": "application/openstack-images-v2.1-json-patch"})
    assert patched.status_code == 403
    assert api.call("GET", path).json == active


def test_s49_locations_of_a_closed_image(make_api):
    api = make_api(show_multiple_locations=True, show_image_direct_url=True)
    image = api.create(disk_format="raw", container_format="bare")
    path = f"/v2/images/{image['id']}"
    headers = {"Content-Type": "application/octet-stream"}
    assert api.call("PUT", f"{path}/file", data=b"x", headers=headers).status_code == 204
    shown = api.call("GET", path).json
    assert [location["url"] for location in shown["locations"]] == [shown["direct_url"]]
    assert shown["direct_url"].startswith("file:///")
    assert api.call("POST", f"{path}/actions/deactivate").status_code == 204
    hidden = api.call("GET", path).json
    assert hidden["locations"] == []
    assert "direct_url" not in hidden
    assert api.call("GET", path, roles="admin").json["locations"] == shown["locations"]


def test_delete_announces_what_is_due(api, active):
    announced = []
    api.services.deletes.publish = lambda ids, request_id: announced.extend(ids)
    assert api.call("DELETE", active).status_code == 204
    assert len(announced) == 1
