"""PATCH: both dialects and every row of the table in API section 7."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.api.conftest import make_conf
from tests.unit.api.fake_registry import make_image

from glance_api.services import retries
from glance_api.services.image_changes import ImageChanges
from glance_api.settings import Settings
from glance_api.v2 import fields, patch
from glance_api.v2.schemas import CustomProperties, ImageSchema
from glance_common.model.errors import BadRequest, Conflict, Forbidden
from glance_common.model.status import ImageStatus

ID = "11111111-1111-4111-8111-111111111111"
PATH = f"/v2/images/{ID}"


SCHEMA = ImageSchema(Settings.from_conf(make_conf()), CustomProperties({}))


def change(api: Any, operations: Any, dialect: str = patch.V21, **kwargs: Any) -> Any:
    return api.call("PATCH", PATH, data=json.dumps(operations), headers={"Content-Type": dialect}, **kwargs)


def op(kind: str, path: str, value: Any = ...) -> dict[str, Any]:
    return {"op": kind, "path": path} if value is ... else {"op": kind, "path": path, "value": value}


@pytest.fixture
def owned(api):
    api.registry.images.rows[ID] = make_image(properties={"old": "1"}, tags=["t"])
    return api


def test_operations_in_order(owned):
    response = change(owned, [
        op("replace", "/name", "new"), op("add", "/a~1b~0c", "x"), op("replace", "/a~1b~0c", "y"), op("remove", "/old"),
        op("add", "/old", "2"), op("replace", "/tags", ["u", "v", "u"]), op("add", "/min_disk", 3),
    ])
    assert response.status_code == 200
    document = response.json
    assert (document["name"], document["a/b~c"], document["old"], document["min_disk"]) == ("new", "y", "2", 3)
    assert document["tags"] == ["u", "v"]


def test_the_older_dialect(owned):
    response = change(owned, [
        {"replace": "/name", "value": "new"}, {"add": "/x", "value": "1"}, {"remove": "/old"},
    ], patch.V20)
    assert (response.status_code, response.json["name"], response.json["x"]) == (200, "new", "1")
    assert "old" not in response.json
    assert change(owned, [{"add": "/x", "value": "2"}], patch.V20).status_code == 409
    assert change(owned, [{"add": "/name", "value": "2"}], patch.V20).status_code == 409
    assert change(owned, [op("add", "/x", "2")]).json["x"] == "2"


@pytest.mark.parametrize("media_type", ["", "application/json", "application/json-patch+json"])
def test_other_media_types(owned, media_type):
    response = change(owned, [], media_type)
    assert response.status_code == 415
    assert response.headers["Accept-Patch"] == f"{patch.V20}, {patch.V21}"


def test_nothing_to_do(owned):
    response = change(owned, [])
    assert (response.status_code, response.json["id"]) == (200, ID)
    assert owned.registry.images.writes == []


@pytest.mark.parametrize(
    ("operation", "status"),
    [
        ("x", 400), (["add"], 400), ({}, 400), ({"op": "add"}, 400), ({"path": "/name"}, 400),
        (op("test", "/name", "x"), 400), (op("move", "/name", "x"), 400), (op("copy", "/name", "x"), 400),
        (op("add", "/name"), 400), (op("replace", "/name"), 400), ({"op": 5, "path": "/name"}, 400),
        ({"op": "add", "path": 5, "value": "x"}, 400),
        (op("add", "name", "x"), 400), (op("add", "", "x"), 400), (op("add", "//name", "x"), 400),
        (op("add", "/name/", "x"), 400), (op("add", "/na~2me", "x"), 400), (op("add", "/name~", "x"), 400),
        (op("add", "/name/deep", "x"), 400), (op("add", "/", "x"), 400),
        *((op(kind, f"/{name}", "x"), 403) for kind in ("add", "replace", "remove") for name in (
            "created_at", "updated_at", "status", "checksum", "size", "virtual_size", "direct_url", "self", "file",
            "schema", "id", "os_hash_algo", "os_hash_value", "stores", "location", "deleted", "deleted_at",
            "os_glance_import_task", "os_glancex",
        )),
        (op("add", "/locations/-", {"url": "http://x/", "metadata": {}}), 403),
        (op("add", "/locations/0", {}), 403), (op("replace", "/locations", []), 403),
        (op("remove", "/locations/0"), 403),
        (op("add", "/name", 5), 400), (op("add", "/extra", None), 400), (op("add", "/extra", {}), 400),
        (op("add", "/protected", "yes"), 400), (op("replace", "/tags", "x"), 400),
        (op("replace", "/tags", ["t" * 256]), 400), (op("add", "/" + "p" * 256, "x"), 400),
        (op("add", "/extra", "x" * 65537), 400), (op("add", "/extra", "a\0"), 400), (op("add", "/a\0", "x"), 400),
        (op("replace", "/min_ram", -1), 400), (op("replace", "/min_disk", 2**31), 400),
        (op("replace", "/owner", "own"), 403), (op("add", "/owner", "other"), 403),
        (op("replace", "/visibility", "public"), 403),
        (op("replace", "/missing", "x"), 409), (op("remove", "/missing"), 409),
        (op("remove", "/name"), 403), (op("remove", "/tags"), 403), (op("remove", "/owner"), 403),
    ],
)
def test_refused_and_unchanged(owned, operation, status):
    response = change(owned, [op("add", "/fine", "x"), operation])
    assert response.status_code == status, response.text
    assert owned.registry.images.writes == []


@pytest.mark.parametrize(
    "operation",
    [
        {}, {"add": "/a", "remove": "/b", "value": "x"}, {"add": "/a"}, {"test": "/a", "value": "x"},
        {"add": 5, "value": "x"},
    ],
)
def test_refused_in_the_older_dialect(owned, operation):
    assert change(owned, [operation], patch.V20).status_code == 400


@pytest.mark.parametrize("body", ["{}", "", "null", '"x"', "[", "5"])
def test_bodies_that_are_no_array(owned, body):
    response = owned.call("PATCH", PATH, data=body, headers={"Content-Type": patch.V21})
    assert response.status_code == 400


def test_formats_are_settled_once_there_is_data(owned):
    assert change(owned, [op("replace", "/disk_format", "raw")]).status_code == 200
    owned.registry.images.rows[ID] = make_image(status=ImageStatus.ACTIVE, disk_format="raw")
    assert change(owned, [op("replace", "/disk_format", "raw")]).status_code == 200
    for name, value in (("disk_format", "qcow2"), ("container_format", "bare")):
        assert change(owned, [op("replace", f"/{name}", value)]).status_code == 403


def test_formats_of_machine_images_go_with_every_container(owned):
    """IMG-29: deployed tools upload kernels in bare."""
    def formats(*values):
        return [{"op": "replace", "path": f"/{name}", "value": value}
                for name, value in zip(("disk_format", "container_format"), values, strict=False)]

    for mixed in (("ami",), ("aki", "bare"), ("raw", "aki"), ("ami", "ami"), ("ari", "docker")):
        assert change(owned, formats(*mixed)).status_code == 200


def test_s15_status_is_never_the_clients(owned):
    assert change(owned, [op("replace", "/status", "active")], roles="admin").status_code == 403
    assert owned.registry.images.rows[ID].status == "queued"


def test_s46_only_admins_change_the_owner(owned):
    response = change(owned, [op("replace", "/owner", "other")], roles="admin")
    assert (response.status_code, response.json["owner"]) == (200, "other")


def test_visibility_needs_its_own_rule(owned):
    assert change(owned, [op("replace", "/visibility", "community")]).status_code == 200
    assert change(owned, [op("replace", "/visibility", "public")]).status_code == 403
    assert change(owned, [op("replace", "/visibility", "public")], roles="admin").status_code == 200
    assert change(owned, [op("replace", "/visibility", "public")]).status_code == 200
    assert change(owned, [op("replace", "/visibility", "private")]).status_code == 200


def test_who_may_change_an_image(owned):
    assert change(owned, [], project="stranger").status_code == 404
    assert change(owned, [], roles="reader").status_code == 403
    owned.registry.images.rows[ID] = make_image(visibility="public")
    assert change(owned, [], project="stranger").status_code == 403


def test_quotas(make_api):
    api = make_api(image_property_quota=2, image_tag_quota=2)
    api.registry.images.rows[ID] = make_image(properties={"a": "1", "b": "2", "c": "3", "os_glance_x": "y"})
    over = change(api, [op("add", "/d", "4")])
    assert over.status_code == 413
    assert "413" in over.text
    # Nothing new comes: an image that is above a quota that was lowered can still be changed.
    assert change(api, [op("replace", "/a", "4")]).status_code == 200
    assert change(api, [op("remove", "/a"), op("remove", "/b"), op("add", "/d", "4")]).status_code == 200
    assert change(api, [op("replace", "/tags", ["1", "2", "3"])]).status_code == 413
    assert change(api, [op("replace", "/tags", ["1", "2", "1"])]).status_code == 200


def test_s59_number_of_operations(owned):
    assert change(owned, [op("replace", "/name", "x")] * 1001).status_code == 400


def test_conflicts_are_repeated_three_times_and_then_for_some_seconds(owned, monkeypatch):
    owned.registry.images.conflicts = 30
    assert change(owned, [op("replace", "/name", "early")]).status_code == 200
    monkeypatch.setattr(retries, "PATIENCE", 0)
    owned.registry.images.conflicts = 3
    assert change(owned, [op("replace", "/name", "new")]).status_code == 200
    owned.registry.images.conflicts = 4
    assert change(owned, [op("replace", "/name", "newer")]).status_code == 409


names = st.sampled_from(["name", "tags", "os_hidden", "a", "b", "status", "locations", "owner", "", "x/y", "z~"])
values: st.SearchStrategy[Any] = st.sampled_from(["text", True, None, ["t"], 5, {}])
operations = st.lists(
    st.fixed_dictionaries(
        {"op": st.sampled_from(["add", "replace", "remove"])}, optional={"value": values}
    ).flatmap(lambda base: names.map(lambda name: {**base, "path": "/" + name.replace("~", "~0").replace("/", "~1")})),
    max_size=5,
)


@given(operations)
def test_a_patch_changes_what_it_says_or_raises(document):
    """Whatever comes in is refused, or becomes changes that hold only what a client may write."""
    image = make_image(properties={"a": "1"})
    try:
        changes = patch.apply(image, patch.parse(document, patch.V21, SCHEMA, locations=True), SCHEMA)
    except (BadRequest, Forbidden, Conflict):
        return
    assert set(changes.fields) <= set(fields.WRITABLE) - {"id", "tags"}
    expected = {"a": "1"}
    for operation in document:
        name = operation["path"][1:].replace("~1", "/").replace("~0", "~")
        if SCHEMA.is_base(name):
            continue
        if operation["op"] == "remove":
            del expected[name]
        else:
            expected[name] = operation["value"]
    assert (changes.properties if changes.properties is not None else {"a": "1"}) == expected


leaves = st.none() | st.booleans() | st.text() | st.integers()


@given(st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_any_json_is_answered(document):
    """Whatever a document holds, it is parsed or refused."""
    for dialect in (patch.V20, patch.V21):
        with suppress(BadRequest, Forbidden):
            patch.parse(document if isinstance(document, list) else [document], dialect, SCHEMA, locations=True)


def test_no_change_is_an_empty_document():
    assert ImageChanges().document() == {}


@pytest.mark.parametrize("field", ["checksum", "os_hash_algo", "os_hash_value", "size", "virtual_size"])
@pytest.mark.parametrize("kind", ["add", "replace", "remove"])
def test_s64_what_the_service_computes_is_never_written_by_a_client(owned, field, kind):
    operation = op(kind, f"/{field}") if kind == "remove" else op(kind, f"/{field}", "0" * 32)
    assert change(owned, [operation], roles="admin").status_code == 403
    assert owned.call("POST", "/v2/images", json={field: 1 if "size" in field else "0" * 32}).status_code == 403
