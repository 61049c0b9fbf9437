"""glance-manage adopt: tasks and metadata definitions, from databases of old releases on both servers."""

from __future__ import annotations

import json
from datetime import timedelta

from tests.integration.registry.adopting import Adopting
from tests.support.old_database import YEAR, now

from glance_registry.manage.adopt import LEFT_OUT


def test_tasks(adopting: Adopting):
    old = adopting.old
    given = {"import_from": "http://example.org/x", "import_from_format": "raw", "image_properties": {}}
    image = old.image()
    done = old.task("success", task_input=given, result={"image_id": image})
    failed = old.task("failure", message="no such host")
    running = old.task("processing")
    old.task("success", expires_at=YEAR)
    strange = old.task("success", type="export")
    old.task("success", deleted=True, deleted_at=now())
    report = adopting.run(expected=LEFT_OUT)
    found = {str(row.id): row for row in adopting.rows("SELECT * FROM operations")}
    assert found.keys() == {done, failed, running}
    assert (found[done].status, found[done].input, str(found[done].image_id)) == ("success", given, image)
    assert (found[failed].message, found[failed].owner) == ("no such host", "project")
    assert (found[running].status, found[running].lease_until) == ("failure", None)
    assert strange in report
    assert "the task is processing there" in report


def test_metadata_definitions(adopting: Adopting):
    old, times = adopting.old, {"created_at": YEAR, "updated_at": YEAR}
    definition = {"type": "string", "title": "Z first", "enum": ["b", "a"]}
    old.insert("metadef_namespaces", id=4, namespace="OS::Test", display_name="Test", description="d",
               visibility="public", protected=True, owner="admin", **times)
    old.insert("metadef_resource_types", id=9, name="OS::Glance::Image", protected=True, **times)
    old.insert("metadef_namespace_resource_types", namespace_id=4, resource_type_id=9, prefix="hw_", **times)
    old.insert("metadef_properties", id=1, namespace_id=4, name="p", json_schema=json.dumps(definition), **times)
    old.insert("metadef_objects", id=1, namespace_id=4, name="o", required="a,b",
               json_schema=json.dumps({"a": definition}), **times)
    old.insert("metadef_tags", id=1, namespace_id=4, name="t", **times)
    adopting.run()
    (namespace,) = adopting.rows("SELECT * FROM metadef_namespaces")
    assert (namespace.namespace, namespace.visibility, namespace.protected) == ("OS::Test", "public", True)
    assert [tuple(row) for row in adopting.rows("SELECT name, prefix FROM metadef_namespace_resource_types")] == [
        ("OS::Glance::Image", "hw_")
    ]
    assert list(adopting.rows("SELECT definition FROM metadef_properties")[0].definition.items()) == list(
        definition.items()
    )
    (group,) = adopting.rows("SELECT * FROM metadef_objects")
    assert (group.required, group.properties) == (["a", "b"], {"a": definition})
    assert [row.name for row in adopting.rows("SELECT name FROM metadef_tags")] == ["t"]
    assert "no difference" in adopting.run("--verify")
    old.update("metadef_properties", "id = 1", json_schema=json.dumps({"type": "integer", "title": "n"}),
               updated_at=YEAR + timedelta(days=1))
    assert "1 difference." in adopting.run("--verify", expected=1)
    adopting.run()
    assert "no difference" in adopting.run("--verify")
    columns = "namespace, visibility, protected"
    adopting.execute(f"INSERT INTO metadef_namespaces ({columns}) VALUES ('mine', 'public', false)")
    assert "namespace mine" in adopting.run("--verify", expected=1)
