"""No answer and no line of the log repeats a long input: a refusal is short, whatever it refuses (S-59)."""

import logging

import orjson
import pytest

LONG = "x" * 200_000
LONGEST = 3000
"""Characters of a refusal: the rule, and a few values that are allowed."""
LONGEST_WITH_ADDRESS = 10_000
"""The server takes request lines of 8190 bytes; the log tells them, and some answers."""
MANY = [f"{number}-{'x' * 200}" for number in range(1000)]
ADMIN = "admin,member,reader"
PATCH = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
PATCH_OLD = {"Content-Type": "application/openstack-images-v2.0-json-patch"}
NS = "/v2/metadefs/namespaces"

DOCUMENTS = [
    ("POST", "/v2/images", {"name": LONG}),
    ("POST", "/v2/images", {"id": LONG}),
    ("POST", "/v2/images", {"visibility": LONG}),
    ("POST", "/v2/images", {"visibility": {"v": MANY}}),
    ("POST", "/v2/images", {"disk_format": LONG}),
    ("POST", "/v2/images", {"min_disk": LONG}),
    ("POST", "/v2/images", {"min_disk": int("9" * 4000)}),
    ("POST", "/v2/images", {"tags": LONG}),
    ("POST", "/v2/images", {"tags": [LONG]}),
    ("POST", "/v2/images", {"p": LONG}),
    ("POST", "/v2/images", {"p": MANY}),
    ("POST", "/v2/images", {"p": {"q": LONG}}),
    ("POST", "/v2/images", {LONG: "v"}),
    ("POST", "/v2/images", {"os_glance_" + LONG: "v"}),
    ("POST", "/v2/images", dict.fromkeys(MANY, 5)),
    ("POST", "/v2/images", {"owner": LONG}),
    ("POST", "/v2/images", LONG),
    ("POST", "/v2/images", MANY),
    ("POST", "/v2/images/{id}/members", {"member": LONG}),
    ("POST", "/v2/images/{id}/members", {LONG: 1}),
    ("PUT", "/v2/images/{id}/members/friend", {"status": LONG}),
    ("PUT", "/v2/images/{id}/members/friend", {"status": MANY}),
    ("POST", "/v2/images/{id}/import", {"method": LONG}),
    ("POST", "/v2/images/{id}/import", {"method": {"name": LONG}}),
    ("POST", "/v2/images/{id}/import", {"method": {"name": "web-download", "uri": "http://" + LONG}}),
    ("POST", "/v2/images/{id}/import", {"method": {"name": "web-download", "uri": "http://" + "h" * 3000}}),
    ("POST", "/v2/images/{id}/import", {"method": {"name": "web-download", "uri": "http://h/"}, "stores": [LONG]}),
    ("POST", "/v2/images/{id}/import", {"method": {"name": "web-download", "uri": "http://h/"}, "stores": MANY}),
    ("POST", "/v2/images/{id}/import", {"method": {"name": "web-download", "uri": "s" * 3000 + "://h/"}}),
    ("POST", "/v2/images/{id}/locations", {"url": "http://" + LONG}),
    ("POST", "/v2/images/{id}/locations", {"url": LONG}),
    ("POST", "/v2/images/{id}/locations", {"url": "http://h/", "validation_data": {"os_hash_algo": LONG}}),
    ("POST", "/v2/images/{id}/locations", {"url": "http://h/", "validation_data": {
        "os_hash_algo": "sha512", "os_hash_value": LONG}}),
    ("POST", "/v2/tasks", {"type": LONG, "input": {}}),
    ("POST", "/v2/tasks", {"type": "import", "input": LONG}),
    ("POST", "/v2/tasks", {"type": "import", "input": {"import_from": LONG}}),
    ("POST", "/v2/tasks", {"type": "import", "input": {
        "import_from": "http://h", "import_from_format": "raw", "image_properties": {LONG: "v"}}}),
    ("POST", "/v2/tasks", {"type": "import", "input": {
        "import_from": "http://h", "import_from_format": "raw", "image_properties": {"disk_format": LONG}}}),
    ("POST", NS, {"namespace": LONG}),
    ("POST", NS, {"namespace": "n", "visibility": LONG}),
    ("POST", NS, {"namespace": "n", LONG: 1}),
    ("POST", NS, {"namespace": "n", "description": LONG}),
    ("POST", NS, {"namespace": "n", "properties": {"p": {"type": LONG, "title": "t"}}}),
    ("POST", NS, {"namespace": "n", "properties": {LONG: {"type": "string", "title": "t"}}}),
    ("POST", NS, {"namespace": "n", "properties": {"p": {"type": "string", "title": "t", "pattern": "(" + LONG}}}),
    ("POST", NS, {"namespace": "n", "tags": [{"name": LONG}]}),
    ("POST", NS, {"namespace": "n", "objects": MANY}),
    ("POST", NS, {"namespace": "n", "resource_type_associations": [{"name": LONG}]}),
    ("POST", f"{NS}/known/properties", {"name": LONG, "type": "string", "title": "t"}),
    ("POST", f"{NS}/known/objects", {"name": "o", "required": LONG}),
    ("POST", f"{NS}/known/tags", {"tags": [{"name": LONG}]}),
]


@pytest.fixture
def long_api(make_api):
    api = make_api(
        enabled_import_methods="[web-download,glance-direct,copy-image]", show_multiple_locations=True,
        image_property_quota=-1, image_tag_quota=-1,
    )
    assert api.call("POST", NS, json={"namespace": "known"}, roles=ADMIN).status_code == 201
    return api


@pytest.fixture
def image(long_api):
    made = long_api.create(visibility="shared", disk_format="raw", container_format="bare")["id"]
    assert long_api.call("POST", f"/v2/images/{made}/members", json={"member": "friend"}).status_code == 200
    return made


def check(answer, caplog, longest=LONGEST):
    assert 400 <= answer.status_code < 500, (answer.status_code, answer.text[:500])
    assert len(answer.text) < LONGEST, answer.text[:300] + "…" + answer.text[-100:]
    too_long = [message for message in caplog.messages if len(message) > longest]
    assert not too_long, [message[:200] for message in too_long]


@pytest.mark.parametrize("document", DOCUMENTS, ids=[f"{n} {row[0]} {row[1]}" for n, row in enumerate(DOCUMENTS)])
def test_s59_refused_documents_are_not_echoed(long_api, image, caplog, document):
    method, path, body = document
    with caplog.at_level(logging.DEBUG):
        answer = long_api.call(
            method, path.format(id=image), json=body, roles=ADMIN, project="friend" if "/members/" in path else "own"
        )
    check(answer, caplog)


OPERATIONS = [
    [{"op": LONG, "path": "/name", "value": "v"}],
    [{"op": "add", "path": LONG, "value": "v"}],
    [{"op": "add", "path": "/" + LONG, "value": "v"}],
    [{"op": "add", "path": "/a/" + LONG, "value": "v"}],
    [{"op": "remove", "path": "/" + "x" * 250}],
    [{"op": "replace", "path": "/name", "value": LONG}],
    [{"op": "replace", "path": "/name", "value": {"v": MANY}}],
    [{"op": "replace", "path": "/tags", "value": [LONG]}],
    [{"op": "replace", "path": "/visibility", "value": LONG}],
    [{"op": "add", "path": "/os_glance_" + LONG, "value": "v"}],
    [{"op": "add", "path": "/locations/-", "value": {"url": "http://" + LONG, "metadata": {}}}],
    [{"op": "add", "path": "/locations/-", "value": {"url": "http://h/", "metadata": LONG}}],
    [{"op": "add", "path": "/locations/-", "value": LONG}],
    [{"op": "add", "path": "/locations/" + LONG, "value": {}}],
    [{"op": "add", "path": "/locations/-", "value": {"url": "s" * 250 + "://h/", "metadata": {}}}],
    [LONG],
    [{LONG: "x"}],
]


@pytest.mark.parametrize("headers", [PATCH, PATCH_OLD], ids=["2.1", "2.0"])
@pytest.mark.parametrize("operations", OPERATIONS, ids=range(len(OPERATIONS)))
def test_s59_refused_changes_are_not_echoed(long_api, image, caplog, headers, operations):
    if headers is PATCH_OLD:
        operations = [
            {each.pop("op", "add"): each.pop("path", "/name"), **each} if isinstance(each, dict) else each
            for each in (dict(each) if isinstance(each, dict) else each for each in operations)
        ]
    with caplog.at_level(logging.DEBUG):
        answer = long_api.call(
            "PATCH", f"/v2/images/{image}", headers=headers, data=orjson.dumps(operations), roles=ADMIN
        )
    check(answer, caplog)


QUERIES = [
    "limit={}", "marker={}", "sort_key={}", "sort_dir={}", "sort={}", "status={}:x", "name={}:x", "name=in:%22{}",
    "size_min={}", "{}_min=5", "created_at={}", "created_at=gte:{}", "visibility={}", "member_status={}",
    "protected={}", "os_hidden={}", "size={}", "min_ram={}",
]


@pytest.mark.parametrize("query", QUERIES)
def test_s59_refused_queries_are_not_echoed(long_api, caplog, query):
    with caplog.at_level(logging.DEBUG):
        answer = long_api.call("GET", "/v2/images?" + query.format("x" * 7000))
    check(answer, caplog, LONGEST_WITH_ADDRESS)


@pytest.mark.parametrize("path", [
    "/v2/images/{}", "/v2/images/{}/file", "/v2/images/{}/members", "/v2/tasks/{}", "/v2/tasks?marker={}",
    "/v2/tasks?sort_key={}", "/v2/tasks?status={}", "/v2/tasks?type={}", "/v2/metadefs/namespaces/{}",
    "/v2/metadefs/namespaces/known/objects/{}", "/v2/metadefs/namespaces?sort_key={}", "/v2/schemas/{}", "/{}",
    "/v2/metadefs/namespaces?marker={}", "/v1/images/{}", "/v1/images?limit={}", "/v1/images?marker={}",
    "/v1/images?sort_key={}", "/v1/images?changes-since={}", "/v1/images?is_public={}", "/v2/stores/{}/x",
])
def test_s59_refused_paths_are_not_echoed(long_api, caplog, path):
    with caplog.at_level(logging.DEBUG):
        answer = long_api.call("GET", path.format("x" * 7000), roles=ADMIN)
    if answer.status_code != 300:
        check(answer, caplog, LONGEST_WITH_ADDRESS)


@pytest.mark.parametrize("name", [
    "x-image-meta-" + "x" * 5000, "x-image-meta-property-" + "x" * 5000, "x-image-meta-size", "x-image-meta-id",
    "x-image-meta-disk_format", "x-image-meta-min_disk", "x-image-meta-created_at", "x-image-meta-store",
    "x-image-meta-name", "x-image-meta-checksum", "x-image-meta-location", "x-glance-api-copy-from",
    "x-image-meta-virtual_size", "x-image-meta-owner",
])
def test_s59_refused_headers_are_not_echoed(long_api, caplog, name):
    headers = {"x-image-meta-disk_format": "raw", "x-image-meta-container_format": "bare", name: "x" * 60_000}
    with caplog.at_level(logging.DEBUG):
        answer = long_api.call("POST", "/v1/images", headers=headers, roles=ADMIN)
    check(answer, caplog)


def test_s59_a_tag_that_is_too_long_is_not_echoed(long_api, image, caplog):
    with caplog.at_level(logging.DEBUG):
        answer = long_api.call("PUT", f"/v2/images/{image}/tags/{'t' * 7000}")
    check(answer, caplog, LONGEST_WITH_ADDRESS)


def test_s59_no_line_of_the_log_holds_a_document(long_api, image, caplog):
    with caplog.at_level(logging.DEBUG):
        large = {"op": "add", "path": "/large", "value": "x" * 60_000}
        assert long_api.call(
            "PATCH", f"/v2/images/{image}", headers=PATCH, data=orjson.dumps([large])
        ).status_code == 200
        for path in (f"/v2/images/{image}", "/v2/images", f"/v2/images/{image}/tasks", f"/v2/images/{image}/members"):
            assert long_api.call("GET", path).status_code == 200
        assert long_api.call("HEAD", f"/v1/images/{image}").status_code == 200
        assert long_api.call("DELETE", f"/v2/images/{image}").status_code == 204
    # The library's own lines are switched off by ``log.setup``.
    ours = [record.getMessage() for record in caplog.records if not record.name.startswith("oslo_policy")]
    assert ours
    too_long = [message for message in ours if len(message) > LONGEST]
    assert not too_long, [message[:200] for message in too_long]
