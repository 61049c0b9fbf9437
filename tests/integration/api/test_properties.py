"""Property protections over HTTP: a property that the caller may not read is not there, for anything."""

import json

import pytest
import sqlalchemy as sa

from glance_registry.db.tables import images

V20 = "application/openstack-images-v2.0-json-patch"
V21 = "application/openstack-images-v2.1-json-patch"
RULES = """
[^hidden]
create = admin
read = admin
update = admin
delete = admin

[^fixed]
create = @
read = @
update = admin
delete = admin

[^blind]
create = @
read = !
update = !
delete = @

[.*]
create = @
read = @
update = @
delete = @
"""
ADMIN = {"roles": "admin,member,reader"}


@pytest.fixture
def protected(make_api, tmp_path):
    (tmp_path / "protections.conf").write_text(RULES)
    return make_api(property_protection_file=tmp_path / "protections.conf")


def change(api, image, *operations, dialect=V21, **caller):
    return api.call(
        "PATCH", f"/v2/images/{image['id']}", data=json.dumps(operations), headers={"Content-Type": dialect}, **caller
    )


def show(api, image, **caller):
    return api.call("GET", f"/v2/images/{image['id']}", **caller).json


def test_s47_a_hidden_property_is_not_there(protected):
    image = protected.create(name="one", hidden_key="x", colour="red", **ADMIN)
    assert show(protected, image, **ADMIN)["hidden_key"] == "x"
    assert "hidden_key" not in show(protected, image)
    (listed,) = protected.call("GET", "/v2/images").json["images"]
    assert "hidden_key" not in listed
    assert protected.names("hidden_key=x", **ADMIN) == ["one"]
    for query in ("hidden_key=x", "hidden_key=y", "colour=red&hidden_key=x", "hidden_other=x"):
        assert protected.names(query) == []
    assert protected.names("colour=red") == ["one"]
    absent = "00000000-0000-4000-8000-000000000000"
    assert protected.call("GET", f"/v2/images?hidden_key=x&marker={absent}").status_code == 400


def test_s47_a_hidden_property_cannot_be_changed_and_is_not_lost(protected):
    image = protected.create(name="one", hidden_key="x", colour="red", **ADMIN)
    replaced = change(protected, image, {"op": "replace", "path": "/hidden_key", "value": "y"})
    removed = change(protected, image, {"op": "remove", "path": "/hidden_key"})
    absent = change(protected, image, {"op": "remove", "path": "/absent"})
    assert replaced.status_code == removed.status_code == absent.status_code == 409
    assert removed.text == absent.text.replace("absent", "hidden_key")
    for dialect, added in ((V21, {"op": "add", "path": "/hidden_key", "value": "y"}),
                           (V20, {"add": "/hidden_key", "value": "y"})):
        assert change(protected, image, added, dialect=dialect).status_code == 403
    changed = change(protected, image, {"op": "replace", "path": "/colour", "value": "blue"})
    assert (changed.status_code, changed.json["colour"], "hidden_key" in changed.json) == (200, "blue", False)
    assert change(protected, image, {"op": "remove", "path": "/colour"}).status_code == 200
    assert show(protected, image, **ADMIN)["hidden_key"] == "x"


def test_s47_create_update_and_delete_are_checked_each(protected):
    denied = protected.call("POST", "/v2/images", json={"hidden_key": "x"})
    assert (denied.status_code, "hidden_key" in denied.text) == (403, True)
    image = protected.create(name="one", fixed_key="x")
    for operation in ({"op": "replace", "path": "/fixed_key", "value": "y"},
                      {"op": "replace", "path": "/fixed_key", "value": "x"},
                      {"op": "remove", "path": "/fixed_key"}):
        assert change(protected, image, operation).status_code == 403
    assert change(protected, image, {"op": "add", "path": "/fixed_more", "value": "x"}).status_code == 200
    assert change(protected, image, {"op": "remove", "path": "/fixed_key"}, **ADMIN).status_code == 200
    assert change(protected, image, {"op": "add", "path": "/hidden", "value": "1"},
                  {"op": "remove", "path": "/hidden"}).status_code == 403


def test_s47_who_may_only_create_does_not_overwrite(protected):
    image = protected.create(name="one", blind_key="x")
    assert "blind_key" not in image
    assert change(protected, image, {"op": "add", "path": "/blind_key", "value": "y"}).status_code == 403
    assert change(protected, image, {"op": "add", "path": "/blind_more", "value": "y"}).status_code == 200


def test_s47_what_the_service_keeps_for_itself_is_neither_shown_nor_found(api, engine):
    image = api.create(name="staged", os_distro="x")["id"]
    values = {"os_distro": "x", "os_glance_stage_host": "http://10.0.0.7:9292", "os_glance_hash_op_host": "inside"}
    with engine.begin() as connection:
        connection.execute(sa.update(images).where(images.c.id == image).values(properties=values))
    assert api.names("os_distro=x") == ["staged"]
    for caller in ({}, {"roles": "admin"}):
        shown = api.call("GET", f"/v2/images/{image}", **caller).text + api.call("GET", "/v2/images", **caller).text
        assert "10.0.0.7" not in shown
        assert "inside" not in shown
        for name in ("os_glance_stage_host", "os_glance_hash_op_host"):
            assert api.names(f"{name}={values[name]}", **caller) == []
