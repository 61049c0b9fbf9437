"""What clients should not send, over real sockets: the right status, a text that names the field, and no traces."""

import json
import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.e2e.calls import PATCH, Caller
from tests.support.daemons import Services

pytestmark = pytest.mark.timeout(900)

JSON = {"Content-Type": "application/json", "Accept": "application/json"}
MISSING = "11111111-2222-3333-4444-555555555555"
DATA = b"\x01" + b"0123456789" * 10


@pytest.fixture(scope="module")
def services(deploy: Callable[..., Services]) -> Services:
    """The three daemons with the settings of a fresh installation on one machine."""
    return deploy()


@pytest.fixture(scope="module")
def caller(services: Services) -> Caller:
    """A caller without a token."""
    return Caller(services.api.url, {"Accept": "application/json"})


@pytest.fixture(scope="module")
def image(caller: Caller) -> str:
    """An active image that every bad request leaves alone."""
    return caller.uploaded(DATA, name="untouched", key="value", tags=["tag"])


@pytest.fixture(autouse=True)
def _nothing_changed(caller: Caller, image: str, services: Services):
    before, count, log = caller.show(image), len(caller.names(limit="1000")), services.api.log.read_text()
    yield
    assert caller.show(image) == before
    assert len(caller.names(limit="1000")) == count
    assert "Traceback" not in services.api.log.read_text()[len(log) :]


def refused(caller: Caller, status: int, word: str, method: str, path: str, **how: Any) -> None:
    """Make a call and check that it is refused with this status and that its error text holds ``word``."""
    answer = caller.call(method, path, status, **how)
    document = answer.json()
    assert document["code"].startswith(f"{status} ")
    assert word.lower() in document["message"].lower(), document


DOCUMENTS = {
    "malformed": ("{", "json"),
    "empty": ("", "json"),
    "not utf-8": (b'{"name": "\xff"}', "utf-8"),
    "array": ("[]", "object"),
    "string": ('"x"', "object"),
    "null": ("null", "object"),
    "deep": ("[" * 100_000, "json"),
    "nan": ('{"min_disk": NaN}', "json"),
    "huge number": ('{"min_disk": 1e999}', "json"),
    "name is a number": ('{"name": 7}', "name"),
    "name is an object": ('{"name": {"a": "b"}}', "name"),
    "name too long": (json.dumps({"name": "x" * 256}), "name"),
    "name with nul": (json.dumps({"name": "a\0b"}), "name"),
    "lone surrogate": ('{"name": "\\ud800"}', "json"),
    "unknown disk_format": ('{"disk_format": "floppy"}', "disk_format"),
    "unknown container_format": ('{"container_format": "box"}', "container_format"),
    "unknown visibility": ('{"visibility": "hidden"}', "visibility"),
    "protected is a string": ('{"protected": "yes"}', "protected"),
    "id is no uuid": ('{"id": "mine"}', "id"),
    "id is a number": ('{"id": 5}', "id"),
    "tags is a string": ('{"tags": "a"}', "tags"),
    "a tag is a number": ('{"tags": [1]}', "tags"),
    "a tag is too long": (json.dumps({"tags": ["x" * 256]}), "tags"),
    "a tag with nul": (json.dumps({"tags": ["a\0"]}), "tag"),
    "property is a number": ('{"answer": 42}', "answer"),
    "property is null": ('{"answer": null}', "answer"),
    "property is an object": ('{"answer": {}}', "answer"),
    "property with nul": (json.dumps({"answer": "\0"}), "answer"),
    "property name with nul": (json.dumps({"an\0swer": "x"}), "nul"),
    "property name too long": (json.dumps({"x" * 256: "x"}), "name"),
    "s60 empty property name": ('{"": "x"}', "name"),
    "s56 negative": ('{"min_disk": -1}', "min_disk"),
    "s56 large": ('{"min_ram": 2147483648}', "min_ram"),
    "s56 larger": (json.dumps({"min_ram": 2**70}), "min_ram"),
    "boolean for a number": ('{"min_ram": true}', "min_ram"),
}


@pytest.mark.parametrize("what", DOCUMENTS)
def test_s54_documents_that_are_no_image(caller: Caller, what: str):
    body, word = DOCUMENTS[what]
    refused(caller, 400, word, "POST", "/v2/images", data=body, headers=JSON)


FORBIDDEN = ["status", "checksum", "size", "virtual_size", "created_at", "updated_at", "direct_url", "self", "file",
             "schema", "locations", "os_hash_algo", "os_hash_value", "os_glance_import_task", "location", "deleted"]


@pytest.mark.parametrize("field", FORBIDDEN)
def test_s15_s47_s60_s64_fields_of_the_service_are_not_for_clients(caller: Caller, image: str, field: str):
    value: object = 5 if field in ("size", "virtual_size") else [] if field == "locations" else "active"
    refused(caller, 403, field, "POST", "/v2/images", json={field: value})
    change = [{"op": "replace", "path": f"/{field}", "value": value}]
    refused(caller, 403, field, "PATCH", f"/v2/images/{image}", json=change, headers=PATCH)


def test_an_id_is_given_once(caller: Caller, image: str):
    refused(caller, 409, image, "POST", "/v2/images", json={"id": image})


def test_s25_the_id_of_a_deleted_image_stays_taken(caller: Caller):
    deleted = caller.create()["id"]
    caller.delete(deleted)
    refused(caller, 409, deleted, "POST", "/v2/images", json={"id": deleted})


@pytest.mark.parametrize(
    "path", ["/v2/images/{}", "/v2/images/{}/file", "/v2/images/{}/members", "/v2/images/{}/members/x"]
)
@pytest.mark.parametrize("name", [MISSING, "not-a-uuid", "1", "%27%3B--", "x" * 3000, "\u00e4", MISSING + "0"])
def test_ids_that_are_none_are_not_found(caller: Caller, path: str, name: str):
    caller.call("GET", path.format(name), 404)


@pytest.mark.parametrize(
    "path",
    ["/%00", "/%ff", "/x/tags/%00", "?name=%00", "?name=%ff", "?%00=x", "?tag=%00", "?marker=%00"],
)
def test_nul_and_broken_utf8_in_an_address(caller: Caller, path: str):
    method = "PUT" if "/tags/" in path else "GET"
    assert caller.call(method, f"/v2/images{path}", 400).json()["message"]


QUERIES = {
    "limit=-1": "limit", "limit=x": "limit", "limit=1.5": "limit", "limit=": "limit",
    "sort_key=owner": "sort", "sort_key=id;drop": "sort", "sort=name:up": "sort", "sort_dir=sideways": "sort",
    "sort=name&sort_key=id": "sort", "sort_key=id&sort_dir=asc&sort_dir=desc": "sort",
    f"marker={MISSING}": "marker", "marker=x": "marker",
    "visibility=secret": "visibility", "member_status=maybe": "member_status", "protected=maybe": "protected",
    "os_hidden=maybe": "os_hidden", "changes-since=2020": "changes-since", "created_at=yesterday": "created_at",
    "updated_at=gt:x": "updated_at", "size_min=x": "size_min", "name_max=5": "name_max", "size_max=1e5": "size_max",
    f"size_min={2**63}": "size_min", "size=" + "9" * 5000: "size", "name=like:%25": "name", "name=in:%22a": "name",
    "limit=" + "\u0661": "limit",
}


@pytest.mark.parametrize("query", QUERIES)
def test_s54_s63_list_parameters(caller: Caller, query: str):
    refused(caller, 400, QUERIES[query], "GET", f"/v2/images?{query}")


def test_lists_take_large_limits_and_odd_characters(caller: Caller):
    caller.call("GET", "/v2/images?limit=" + "9" * 100, 200)
    for text in ("%25", "_", "%27", "%22", "%5C", "%F0%9F%92%BF"):
        assert caller.call("GET", f"/v2/images?name=eq:{text}", 200).json()["images"] == []
        assert caller.call("GET", f"/v2/images?colour={text}", 200).json()["images"] == []


CHANGES = {
    "no array": ({"op": "add"}, 400, "array"),
    "elements": (["add"], 400, "object"),
    "op missing": ([{"path": "/a", "value": "b"}], 400, "op"),
    "op unknown": ([{"op": "move", "path": "/a", "from": "/b"}], 400, "op"),
    "path missing": ([{"op": "add", "value": "b"}], 400, "path"),
    "value missing": ([{"op": "add", "path": "/a"}], 400, "value"),
    "relative": ([{"op": "add", "path": "a", "value": "b"}], 400, "path"),
    "slashes": ([{"op": "add", "path": "//a", "value": "b"}], 400, "path"),
    "tilde": ([{"op": "add", "path": "/a~2", "value": "b"}], 400, "~"),
    "deep": ([{"op": "add", "path": "/a/b", "value": "c"}], 400, "path"),
    "empty name": ([{"op": "add", "path": "/", "value": "c"}], 400, "empty"),
    "number": ([{"op": "add", "path": "/a", "value": 1}], 400, "a"),
    "nul": ([{"op": "add", "path": "/a", "value": "\0"}], 400, "nul"),
    "wrong type": ([{"op": "replace", "path": "/name", "value": []}], 400, "name"),
    "too large": ([{"op": "replace", "path": "/min_ram", "value": 2**31}], 400, "min_ram"),
    "format": ([{"op": "replace", "path": "/disk_format", "value": "qcow2"}], 403, "disk_format"),
    "id": ([{"op": "replace", "path": "/id", "value": MISSING}], 403, "id"),
    "absent": ([{"op": "replace", "path": "/absent", "value": "x"}], 409, "absent"),
    "gone": ([{"op": "remove", "path": "/absent"}], 409, "absent"),
    "base": ([{"op": "remove", "path": "/name"}], 403, "name"),
    "half": ([{"op": "add", "path": "/fine", "value": "x"}, {"op": "remove", "path": "/absent"}], 409, "absent"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_changes_that_are_none(caller: Caller, image: str, what: str):
    body, status, word = CHANGES[what]
    refused(caller, status, word, "PATCH", f"/v2/images/{image}", json=body, headers=PATCH)


def test_a_patch_of_another_type_is_told_which_ones_there_are(caller: Caller, image: str):
    answer = caller.call("PATCH", f"/v2/images/{image}", 415, json=[], headers=JSON)
    assert "openstack-images-v2.1-json-patch" in answer.headers["Accept-Patch"]


MEMBERS = {
    "no member": ({}, "member"),
    "empty": ({"member": ""}, "member"),
    "number": ({"member": 1}, "member"),
    "long": ({"member": "x" * 256}, "member"),
    "nul": ({"member": "a\0"}, "member"),
    "array": ([], "object"),
}


@pytest.mark.parametrize("what", MEMBERS)
def test_s44_members_that_are_none(caller: Caller, image: str, what: str):
    body, word = MEMBERS[what]
    refused(caller, 400, word, "POST", f"/v2/images/{image}/members", json=body)


def test_a_member_has_one_of_three_statuses(caller: Caller, image: str):
    path = f"/v2/images/{image}/members"
    caller.call("POST", path, 200, json={"member": "guest"})
    refused(caller, 409, "guest", "POST", path, json={"member": "guest"})
    refused(caller, 400, "status", "PUT", f"{path}/guest", json={"status": "perhaps"})
    refused(caller, 400, "status", "PUT", f"{path}/guest", json={})
    refused(caller, 404, "", "PUT", f"{path}/nobody", json={"status": "accepted"})
    refused(caller, 404, "", "DELETE", f"{path}/nobody")
    caller.call("DELETE", f"{path}/guest", 204)


def test_tags_have_at_most_255_characters(caller: Caller, image: str):
    refused(caller, 400, "tag", "PUT", f"/v2/images/{image}/tags/{'x' * 256}")
    refused(caller, 404, "", "DELETE", f"/v2/images/{image}/tags/absent")


def test_s59_no_document_grows_without_bounds(caller: Caller, image: str):
    refused(caller, 413, "max_json_body", "POST", "/v2/images", json={"name": "x" * 1_100_000})
    pieces = (b" " * 65536 for _ in range(32))
    refused(caller, 413, "max_json_body", "POST", "/v2/images", data=pieces, headers=JSON)
    refused(caller, 413, "properties", "POST", "/v2/images", json={f"p{n}": "x" for n in range(129)})
    refused(caller, 413, "tags", "POST", "/v2/images", json={"tags": [f"t{n}" for n in range(129)]})
    refused(caller, 400, "p", "POST", "/v2/images", json={"p": "x" * 65_537})
    many = [{"op": "add", "path": "/fine", "value": "x"}] * 5000
    refused(caller, 400, "operations", "PATCH", f"/v2/images/{image}", json=many, headers=PATCH)


def test_s57_request_ids_are_short_and_printable(caller: Caller):
    caller.call("GET", "/v2/images", 431, headers={"X-Openstack-Request-ID": "r" * 65})
    refused(caller, 400, "request-id", "GET", "/v2/images", headers={"X-Openstack-Request-ID": "a b"})


def test_s58_four_byte_unicode_goes_in_and_comes_out(caller: Caller):
    made = caller.create(name="\U0001f4bf", tags=["\U0001f4bf"], colour="\U0001f4bf")
    assert [made["name"], *made["tags"], made["colour"]] == ["\U0001f4bf"] * 3
    assert caller.names(name="eq:\U0001f4bf") == {"\U0001f4bf"}
    caller.delete(made["id"])


def test_calls_without_a_body_take_none(caller: Caller, image: str):
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/file"), ("POST", "/actions/deactivate"),
                         ("PUT", "/tags/t"), ("GET", "/members")):
        refused(caller, 400, "body", method, f"/v2/images/{image}{path}", data=b"x")


def test_unknown_paths_and_methods(caller: Caller, image: str):
    caller.call("GET", "/v2/nothing", 404)
    answer = caller.call("POST", f"/v2/images/{image}", 405)
    assert answer.headers["Allow"] == "DELETE, GET, PATCH"
    caller.call("BREW", "/v2/nothing", 501)


RANGES = {
    "bytes=101-": 416, "bytes=5-4": 416, "bytes=-0": 416, "bytes=a-b": 416, "bytes=-": 416, "lines=1-2": 416,
    "bytes=0-1,5-6": 400, "bytes=" + "9" * 5000 + "-": 416, "bytes=0-" + "9" * 5000: 206, "bytes=-" + "9" * 5000: 206,
    "bytes=95-1000": 206, "bytes=-1000": 206, "bytes=0-0": 206, "bytes=100-": 206,
}


@pytest.mark.parametrize("wanted", RANGES, ids=lambda text: text[:20])
def test_s55_ranges(caller: Caller, image: str, wanted: str):
    answer = caller.call("GET", f"/v2/images/{image}/file", RANGES[wanted], headers={"Range": wanted})
    if answer.status_code == 416:
        assert answer.headers["Content-Range"] == f"bytes */{len(DATA)}"
    if answer.status_code == 206:
        first, _, last = answer.headers["Content-Range"].removeprefix("bytes ").partition("/")[0].partition("-")
        assert answer.content == DATA[int(first) : int(last) + 1]


HEADERS = {
    b"x-image-meta-property-caf\xe9: v": 400, b"x-image-meta-property-\xc3\xa9: v": 400, b"x-image-meta-na me: v": 400,
    b"x-image-meta-name: caf\xe9": 400, b"x-image-meta-name: a\0b": 400, b"x-image-meta-min_ram: many": 400,
    b"x-image-meta-name: " + b"x" * 256: 400, b"x-image-meta-name: " + b"x" * 20_000: 431,
    b"x-image-meta-property-" + b"n" * 256 + b": v": 400, b"x-image-meta-property-" + b"n" * 20_000 + b": v": 431,
    b"x-image-meta-location: file:///etc/passwd": 400, b"x-image-meta-status: " + b"\xff" * 10: 400,
    b"\r\n".join(b"x-image-meta-property-%d: v" % number for number in range(1_000)): 431,
}


@pytest.mark.parametrize("sent", HEADERS, ids=lambda sent: sent[:34].decode("latin-1"))
def test_s54_s58_s59_metadata_in_headers(services: Services, sent: bytes):
    """Of v1, byte by byte: no client library sends these."""
    parts = urlsplit(services.api.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=60) as connection:
        head = b"POST /v1/images HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nConnection: close\r\n"
        connection.sendall(head + sent + b"\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert int(answer.split(b" ", 2)[1]) == HEADERS[sent], answer[:1000]


@pytest.mark.parametrize("path", ["/v2/metadefs/namespaces", "/v1/images/{image}/members"])
def test_s54_s59_deep_documents_and_long_names(caller: Caller, image: str, path: str):
    method, path = "PUT" if "{image}" in path else "POST", path.format(image=image)
    deep = "[" * 10_000 + "]" * 10_000
    for body in (deep, '{"namespace":' * 10_000, f'{{"memberships": {deep}}}'):
        refused(caller, 400, "", method, path, data=body, headers=JSON)
    refused(caller, 400, "namespace", "POST", "/v2/metadefs/namespaces", json={"namespace": "n" * 300})
    for name in ("n" * 300, "n" * 8_000, "%27" * 2_600):
        for way in ("GET", "DELETE"):
            caller.call(way, f"/v2/metadefs/namespaces/{name}", 400, 404)
            caller.call(way, f"/v2/metadefs/namespaces/N/objects/{name}", 400, 404)
    caller.call("GET", f"/v2/metadefs/namespaces?resource_types={'a,' * 3_900}", 400)
    caller.call("GET", f"/v2/metadefs/namespaces?marker={'%27' * 2_600}", 400, 404)
