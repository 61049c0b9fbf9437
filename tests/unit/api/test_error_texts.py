"""Error texts are for users: they name the field and the rule, and never show how Python writes a value."""

import json
import re
from itertools import product
from typing import Any

import pytest
from tests.unit.api.fake_registry import make_image

ID = "11111111-1111-4111-8111-111111111111"
IMAGE = f"/v2/images/{ID}"
NAMESPACES = "/v2/metadefs/namespaces"
V20, V21 = (f"application/openstack-images-v2.{n}-json-patch" for n in (0, 1))

PYTHON = re.compile(
    r"<[A-Za-z_.]+[ .:(]| object at 0x|\bNone\b|\bTrue\b|\bFalse\b|\bdict_|frozenset|\bset\(|\[['<]|\{'|"
    r"ValidationError|KeyError|Traceback|\bUUID\(|deque\("
)
"""Signs of an object as Python shows it; JSON has other quotes. No caller sends any of them here."""

WRONG: tuple[Any, ...] = (
    None, True, False, 0, -1, 10**30, 1.5, "", "x", "é\u200b'\"", "x" * 300, [], [None], ["a", "a"], [{"a": None}], {},
    {"a": None}, {"a": [True]}, {"name": False},
)
FIELDS = (
    "id", "name", "visibility", "protected", "os_hidden", "owner", "disk_format", "container_format", "min_ram",
    "min_disk", "tags", "status", "size", "checksum", "locations", "custom", "os_glance_x", "self", "",
)
NAMESPACE_FIELDS = (
    "namespace", "display_name", "description", "visibility", "protected", "owner", "properties", "objects", "tags",
    "resource_type_associations", "self", "created_at", "unknown",
)
DEFINITION_FIELDS = (
    "name", "title", "description", "type", "operators", "enum", "minimum", "maxLength", "pattern", "readonly", "items",
    "uniqueItems", "required", "properties", "prefix", "properties_target", "tags", "unknown",
)


def definitions():
    """Yield such requests for metadata definitions."""
    for name, value in product(NAMESPACE_FIELDS, WRONG):
        yield "POST", NAMESPACES, "application/json", {"namespace": "N", name: value}
    for name, value, kind in product(DEFINITION_FIELDS, WRONG, ("properties", "objects", "tags", "resource_types")):
        document = {"name": "n", "title": "t", "type": "string", name: value}
        yield "POST", f"{NAMESPACES}/N/{kind}", "application/json", document


def bodies():
    """Yield requests with one wrong value each: method, path, media type, document."""
    plain = "application/json"
    yield from definitions()
    for name in FIELDS:
        for value in WRONG:
            yield "POST", "/v2/images", plain, {name: value}
            yield "PATCH", IMAGE, V21, [{"op": "replace", "path": f"/{name}", "value": value}]
            yield "PATCH", IMAGE, V20, [{"add": f"/{name}", "value": value}]
    for value in WRONG:
        yield "POST", "/v2/images", plain, value
        for operation in (value, {"op": value}, {"op": "add", "path": value}, {"op": "add", "path": "/locations/-",
                          "value": value}, {"op": "add", "path": "/locations/-", "value": {"url": value}}):
            yield "PATCH", IMAGE, V21, [operation]
        yield "POST", f"{IMAGE}/members", plain, {"member": value}
        yield "PUT", f"{IMAGE}/members/m", plain, {"status": value}
        yield "POST", f"{IMAGE}/import", plain, {"method": value}
        yield "POST", f"{IMAGE}/import", plain, {"method": {"name": value}}
        yield "POST", f"{IMAGE}/import", plain, {"method": {"name": "web-download", "uri": value}}
        for name in ("stores", "all_stores", "all_stores_must_succeed"):
            yield "POST", f"{IMAGE}/import", plain, {"method": {"name": "glance-direct"}, name: value}
        for document in ({"type": value}, {"type": "import", "input": value}, *(
            {"type": "import", "input": {"import_from": "http://example.org/x", "import_from_format": "raw",
             "image_properties": {}, name: value}}
            for name in ("import_from", "import_from_format", "image_properties")
        )):
            yield "POST", "/v2/tasks", plain, document
        for document in ({"url": value}, {"url": "http://example.org/x", "validation_data": value},
                         {"url": "http://example.org/x", "validation_data": {"os_hash_algo": value}}):
            yield "POST", f"{IMAGE}/locations", plain, document


QUERIES = [
    f"{path}?{name}={value}"
    for path in ("/v2/images", "/v2/tasks", NAMESPACES, f"{NAMESPACES}/N/objects", "/v1/images", "/v1/images/detail")
    for name in (
        "limit", "marker", "sort_key", "sort_dir", "sort", "visibility", "status", "member_status", "protected", "type",
        "os_hidden", "size_min", "size", "created_at", "id", "is_public", "min_ram", "tag", "changes-since",
        "resource_types", "deleted",
    )
    for value in ("%27", "-1", "in:%27a", "gt:x", "x" * 300, "a:b:c")
]
DISKS = "'' is not one of null, 'ami', 'ari', 'aki', 'vhd', 'vhdx', 'vmdk', 'raw', 'qcow2', 'vdi', 'iso', 'ploop'"
V1 = ("id", "size", "min_ram", "disk_format", "container_format", "status", "checksum", "created_at", "is_public",
      "owner", "protected", "property-a", "unknown")


@pytest.fixture
def api(make_api):
    api = make_api(show_multiple_locations=True, enabled_import_methods=["glance-direct", "web-download"])
    api.registry.images.rows[ID] = make_image(owner="own")
    assert api.call("POST", NAMESPACES, json={"namespace": "N"}, roles="admin").status_code == 201
    return api


def said(answer):
    """Return the message of an error."""
    document = json.loads(answer.text)
    assert set(document) == {"code", "title", "message"}
    assert document["code"].startswith(f"{answer.status_code} ")
    return document["message"]


def test_no_text_shows_an_object_of_python(api):
    seen = set()
    for method, path, kind, document in bodies():
        headers = {"Content-Type": kind, "Accept": "application/json"}
        answer = api.call(method, path, data=json.dumps(document), headers=headers, roles="admin")
        assert answer.status_code < 500, (method, path, document, answer.text)
        if answer.status_code >= 400:
            seen.add(said(answer))
        api.registry.images.rows[ID] = make_image(owner="own")
    for path in QUERIES:
        answer = api.call("GET", path, headers={"Accept": "application/json"}, roles="admin")
        assert answer.status_code < 500, (path, answer.text)
        if answer.status_code >= 400:
            seen.add(said(answer))
    for name in V1:
        for value in ("", "x", "-1", "é", "x" * 300):
            headers = {f"x-image-meta-{name}": value, "Accept": "application/json"}
            answer = api.call("POST", "/v1/images", headers=headers, roles="admin")
            assert answer.status_code < 500, (name, value, answer.text)
            if answer.status_code >= 400:
                seen.add(said(answer))
    assert len(seen) > 100
    assert sorted(text for text in seen if PYTHON.search(text)) == []


@pytest.mark.parametrize(
    ("method", "path", "document", "message"),
    [
        ("POST", "/v2/images", {"visibility": "x"},
         "visibility: 'x' is not one of 'public', 'private', 'shared', 'community'"),
        ("POST", "/v2/images", {"disk_format": ""}, f"disk_format: {DISKS}"),
        ("POST", "/v2/images", {"min_ram": True}, "min_ram: must be integer"),
        ("POST", "/v2/images", {"min_disk": -1}, "min_disk: -1 is less than the minimum of 0"),
        ("POST", "/v2/images", {"tags": ["a", None]}, "tags.1: must be string"),
        ("POST", "/v2/images", {"id": "x"}, None),
        ("POST", NAMESPACES, {"description": "x"}, "'namespace' is a required property"),
        ("POST", NAMESPACES, {"namespace": "M", "x": 1, "y": 2}, "additional properties are not allowed: x, y"),
        ("POST", NAMESPACES, {"namespace": "M", "visibility": None}, None),
        ("POST", f"{NAMESPACES}/N/objects", {"name": "o", "required": ["a", "a"]}, "required: has equal elements"),
    ],
)
def test_the_field_and_the_rule_are_named(api, method, path, document, message):
    headers = {"Accept": "application/json"}
    answer = api.call(method, path, json=document, headers=headers, roles="admin")
    assert answer.status_code == 400
    assert answer.json["message"] == message or (message is None and next(reversed(document)) in answer.json["message"])
