"""Reserved names of properties, by every way into the database (S-47, S-60, S-68)."""

import hashlib
import json

import pytest
import sqlalchemy as sa
from tests.integration.api.imports_kit import working
from tests.integration.api.test_v1 import create, head, put
from tests.servers.web import Page

DATA = bytes(range(256)) * 40
PATCH = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
OLD_PATCH = {"Content-Type": "application/openstack-images-v2.0-json-patch"}
NAMES = ["os_glance", "os_glancefoo", "os_glance_import_task", "OS-Glance-X", "os_hash_x", "deleted_at"]


def stored(engine, image):
    """Return the properties in the row of an image."""
    with engine.connect() as connection:
        return connection.execute(sa.text("SELECT properties FROM images WHERE id = :id"), {"id": image}).scalar_one()


def put_in(engine, image, properties):
    """Write properties into the row, past all rules."""
    with engine.begin() as connection:
        statement = "UPDATE images SET properties = properties || CAST(:more AS jsonb) WHERE id = :id"
        connection.execute(sa.text(statement), {"id": image, "more": json.dumps(properties)})


@pytest.mark.parametrize("name", NAMES)
def test_s47_s60_no_version_takes_a_reserved_name(api, engine, name):
    assert api.call("POST", "/v2/images", json={name: "x"}).status_code == 403
    image = api.create(own="1")["id"]
    path = f"/v2/images/{image}"
    for operation in ("add", "replace", "remove"):
        new, old = {"op": operation, "path": f"/{name}", "value": "x"}, {operation: f"/{name}", "value": "x"}
        assert api.call("PATCH", path, json=[new], headers=PATCH).status_code == 403
        assert api.call("PATCH", path, json=[old], headers=OLD_PATCH).status_code == 403
    create(api, 403, properties={name: "x"})
    put(api, image, 403, properties={name: "x"})
    put(api, image, 403, properties={name: "x"}, headers={"x-glance-registry-purge-props": "false"})
    assert stored(engine, image) == {"own": "1"}


def test_s60_a_name_that_is_empty_or_too_long(api):
    for name in ("", "x" * 256):
        assert api.call("POST", "/v2/images", json={name: "x"}).status_code == 400
    image = api.create()["id"]
    for path in ("/", "/" + "x" * 256):
        operation = {"op": "add", "path": path, "value": "x"}
        assert api.call("PATCH", f"/v2/images/{image}", json=[operation], headers=PATCH).status_code == 400
    create(api, 400, properties={"x" * 256: "x"})


@pytest.mark.parametrize("name", NAMES)
def test_s47_a_task_makes_no_image_with_a_reserved_name(api, engine, name):
    properties = {"disk_format": "raw", "container_format": "bare", name: "x"}
    task = {"type": "import", "input": {"import_from": "http://example.org/x", "import_from_format": "raw",
                                        "image_properties": properties}}
    assert api.call("POST", "/v2/tasks", json=task, roles="admin").status_code == 403
    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM operations")).scalar_one() == 0


def test_s47_s68_no_other_cloud_sets_a_reserved_name(make_node, web, engine):
    node = make_node(glance_download_properties__extra_properties="os_,hw_")
    other = "33333333-3333-4333-8333-333333333333"
    document = {
        "id": other, "status": "active", "disk_format": "raw", "container_format": "bare", "size": len(DATA),
        "os_hash_algo": "sha512", "os_hash_value": hashlib.sha512(DATA).hexdigest(), "os_glancefoo": "x",
        "os_glance_import_task": "x", "os_hash_foo": "x", "os_distro": "ours", "hw_" + "x" * 255: "y", "hw_ok": "1",
    }
    web.pages[f"/v2/images/{other}"] = Page(json.dumps(document).encode(), headers={"Content-Type": "application/json"})
    web.pages[f"/v2/images/{other}/file"] = Page(DATA)
    with working(node):
        image = node.api.create()["id"]
        catalog = [{"type": "image", "endpoints": [{"region": "r", "publicURL": web.url("")}]}]
        headers = {"X-Auth-Token": "t", "X-Service-Catalog": json.dumps(catalog)}
        method = {"name": "glance-download", "glance_region": "r", "glance_image_id": other}
        node.call("POST", f"/v2/images/{image}/import", 202, json={"method": method}, headers=headers)
        assert node.finished(image)["status"] == "success"
    assert stored(engine, image).keys() - {"os_glance_importing_to_stores", "os_glance_failed_import"} == {
        "os_distro", "hw_ok",
    }


def test_s47_a_reserved_name_that_stands_there_goes_with_the_next_change(api, engine):
    own = {"os_glance_failed_import": "slow"}
    image = api.create(mine="1")["id"]
    put_in(engine, image, {"os_glancefoo": "x", "os_hash_foo": "x", **own})
    change = [{"op": "replace", "path": "/mine", "value": "2"}]
    assert api.call("PATCH", f"/v2/images/{image}", json=change, headers=PATCH).status_code == 200
    assert stored(engine, image) == {"mine": "2", **own}


def test_s47_v1_shows_and_purges_all_but_what_the_service_wrote(api, engine):
    own = {"os_glance_failed_import": "slow", "os_glance_stage_host": "http://inside"}
    image = api.create(mine="1")["id"]
    put_in(engine, image, {"os_glancefoo": "x", **own})
    shown = head(api, image)
    assert "property-os_glancefoo" in shown
    assert not [name for name in shown if "os_glance_" in name]
    put(api, image, properties={"new": "3"})
    assert stored(engine, image) == {"new": "3", **own}


def test_s47_quotas_count_what_is_not_the_services(make_api, engine):
    api = make_api(image_property_quota=2)
    image = api.create(a="1")["id"]
    put_in(engine, image, {"os_glancefoo": "x", "os_glance_failed_import": "slow", "os_glance_import_task": "t"})
    change = [{"op": "add", "path": "/b", "value": "2"}]
    assert api.call("PATCH", f"/v2/images/{image}", json=change, headers=PATCH).status_code == 413
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE images SET properties = properties - 'os_glancefoo'"))
    assert api.call("PATCH", f"/v2/images/{image}", json=change, headers=PATCH).status_code == 200


def test_s47_protections_hold_for_names_that_only_begin_like_the_services(make_api, tmp_path, engine):
    rules = tmp_path / "protections.ini"
    rules.write_text("[.*]\ncreate=admin\nread=admin\nupdate=admin\ndelete=admin\n")
    api = make_api(property_protection_file=rules)
    image = api.create()["id"]
    put_in(engine, image, {"os_glancefoo": "x", "os_glance_failed_import": "slow"})
    shown = api.call("GET", f"/v2/images/{image}").json
    assert "os_glancefoo" not in shown
    assert shown["os_glance_failed_import"] == "slow"
