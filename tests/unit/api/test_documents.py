"""Documents of clients: what may take no time, and what is asked before anything that takes time (S-59)."""

import time

import orjson
import pytest
from tests.unit.api.fake_registry import make_image

from glance_api.http import documents
from glance_api.v2.location_patch import MAX_LOCATIONS
from glance_api.v2.metadefs.wire import MAX_VALUES
from glance_common.model.errors import BadRequest

ID = "11111111-1111-4111-8111-111111111111"
IMAGE = f"/v2/images/{ID}"
NAMESPACES = "/v2/metadefs/namespaces"
PATCH = "application/openstack-images-v2.1-json-patch"


@pytest.fixture
def api(make_api):
    api = make_api(show_multiple_locations=True)
    api.registry.images.rows[ID] = make_image()
    assert api.call("POST", NAMESPACES, json={"namespace": "N"}, roles="admin").status_code == 201
    api.registry.images.writes.clear()
    return api


def send(api, method, path, document, roles="member,reader"):
    headers = {"Content-Type": PATCH if method == "PATCH" else "application/json", "Accept": "application/json"}
    return api.call(method, path, data=orjson.dumps(document), headers=headers, roles=roles)


@pytest.mark.parametrize(
    ("method", "path", "wrong"),
    [
        ("POST", "/v2/images", {"min_ram": "x", "os_glance": 1}), ("POST", "/v2/images", {"owner": 7}),
        ("PATCH", IMAGE, [{"op": "none"}]), ("PATCH", IMAGE, [{}] * 2_000),
        ("POST", "/v2/tasks", {"type": "none"}),
        ("POST", NAMESPACES, {"namespace": 7, "visibility": [], "owner": {}, "protected": "yes"}),
        ("PUT", f"{NAMESPACES}/N", {}), ("POST", f"{NAMESPACES}/N/properties", {}),
        ("PUT", f"{NAMESPACES}/N/properties/p", {}), ("POST", f"{NAMESPACES}/N/objects", {}),
        ("PUT", f"{NAMESPACES}/N/objects/o", {}), ("POST", f"{NAMESPACES}/N/tags", {}),
        ("PUT", f"{NAMESPACES}/N/tags/t", {}), ("POST", f"{NAMESPACES}/N/resource_types", {}),
    ],
)
def test_s59_policy_is_asked_before_a_document_is_looked_at(api, method, path, wrong):
    # The namespace is private to the administrator's project: the same as if it were not there.
    assert send(api, method, path, wrong, roles="reader").status_code in (403, 404)
    assert send(api, method, path, wrong, roles="admin").status_code in (400, 403)
    assert api.registry.images.writes == []


def test_an_owner_of_the_wrong_kind_is_named(api):
    answer = send(api, "POST", "/v2/images", {"owner": 7})
    assert (answer.status_code, answer.json["message"]) == (400, "owner: must be null or string")


def test_s59_many_signs_are_refused_before_they_are_parsed():
    documents.parse(b"[" + b",".join([b"[]"] * (documents.MAX_BRACKETS - 1)) + b"]")
    for sign in (b"[]", b"{}", b'"["'):
        with pytest.raises(BadRequest, match="signs"):
            documents.parse(b"[" + b",".join([sign] * documents.MAX_BRACKETS) + b"]")


def test_s54_s59_what_a_document_may_not_hold_is_named():
    with pytest.raises(BadRequest, match=r"body\.a\[1\] holds a NUL"):
        documents.parse(b'{"a": ["b", "\\u0000"]}')
    with pytest.raises(BadRequest, match="the body nests more than 16 objects and arrays"):
        documents.parse(b"[" * 17 + b"]" * 17)
    assert documents.parse(b'["\\\\u0000"]') == ["\\u0000"]


def test_s59_a_long_name_above_many_values_takes_no_time():
    raw = b'{"' + b"k" * 1_000_000 + b'": [' + b"1," * 300_000 + b"1]}"
    before = time.process_time()
    documents.parse(raw)
    # With a text of its place for each value: 300 GB of text.
    assert time.process_time() - before < 10


def test_s59_fields_are_checked_up_to_the_first_that_is_wrong(api):
    wrong = {f"k{number}": number for number in range(60_000)}
    answer = send(api, "POST", "/v2/images", wrong)
    assert (answer.status_code, answer.json["message"]) == (400, "k0: must be string")
    many = {f"k{number}": "v" for number in range(40_000)}
    assert send(api, "POST", "/v2/images", many).status_code == 413
    answer = send(api, "POST", "/v2/images", {"k" * 400: 1})
    assert answer.status_code == 400
    assert len(answer.json["message"]) < 350


def test_s59_tags_are_checked_one_by_one(api):
    for tags, status, text in (
        (["t", 7], 400, "tags.1: must be string"), (["t", "x" * 256], 400, "tags.1: longer than 255"),
        ([str(number) for number in range(90_000)], 413, "tags"), ("t", 400, "tags: must be array"), (["t"], 201, ""),
    ):
        answer = send(api, "POST", "/v2/images", {"tags": tags})
        assert (answer.status_code, text in answer.text) == (status, True), answer.text
        if status == 400:
            assert send(api, "PATCH", IMAGE, [{"op": "add", "path": "/tags", "value": tags}]).status_code == 400


@pytest.mark.parametrize("path", ["/" + "a/" * 500, "/" + "~1" * 256, "/" + "x" * 512])
def test_s59_a_path_is_not_longer_than_an_escaped_name(api, path):
    answer = send(api, "PATCH", IMAGE, [{"op": "add", "path": path, "value": "x"}])
    assert answer.status_code == 400
    assert "longer than" in answer.json["message"]


def test_the_longest_name_can_be_escaped(api):
    escaped = {"op": "add", "path": "/" + "~1" * 255, "value": "x"}
    assert send(api, "PATCH", IMAGE, [escaped]).json["/" * 255] == "x"


def test_s59_an_operation_describes_so_many_locations(api):
    place = {"url": "http://example.org/", "metadata": {}, "validation_data": {}}
    many = {"op": "replace", "path": "/locations", "value": [place] * (MAX_LOCATIONS + 1)}
    answer = send(api, "PATCH", IMAGE, [many])
    assert (answer.status_code, f"more than {MAX_LOCATIONS} locations" in answer.text) == (400, True)


def test_s59_a_location_is_a_small_document(api):
    answer = send(api, "POST", f"{IMAGE}/locations", {f"k{number}": 1 for number in range(60_000)}, roles="service")
    assert (answer.status_code, "more than 20 values" in answer.text) == (400, True)


def test_s59_a_document_of_the_catalogue_has_so_many_values(api):
    tags = [{"name": f"t{number}"} for number in range(MAX_VALUES // 2)]
    answer = send(api, "POST", f"{NAMESPACES}/N/tags", {"tags": tags}, roles="admin")
    assert (answer.status_code, f"more than {MAX_VALUES} values" in answer.text) == (400, True)
    enum = {"name": "p", "title": "P", "type": "string", "enum": list(range(MAX_VALUES))}
    assert send(api, "POST", f"{NAMESPACES}/N/properties", enum, roles="admin").status_code == 400
    assert api.registry.images.writes == []
