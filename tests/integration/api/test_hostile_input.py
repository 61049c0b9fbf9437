"""What no client sends by accident, to every route: a precise 4xx, never 5xx, and nothing changes (S-54 to S-60).

The routes come from the application's own map, so that a new one is tried too. What only a socket can carry is in
tests/integration/server and tests/e2e.
"""

import copy
import json
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
import sqlalchemy as sa

MISSING = "99999999-9999-4999-8999-999999999999"
JSON = "application/json"
PATCH = "application/openstack-images-v2.1-json-patch"
OLD_PATCH = "application/openstack-images-v2.0-json-patch"
DIGEST = {"os_hash_algo": "sha512", "os_hash_value": "0" * 128, "checksum": "0" * 32}
PLACE = {"url": "http://127.0.0.1/x", "metadata": {"a": "b"}, "validation_data": DIGEST}

NAMESPACES = "/v2/metadefs/namespaces"
N = f"{NAMESPACES}/<namespace>"
DEFINITION = {"title": "P", "type": "string", "enum": ["a"], "minLength": 1, "maximum": 2.5, "required": ["x"],
              "items": {"type": "string"}, "default": {"any": [1]}}
THING = {"name": "O", "description": "d", "required": ["p"], "properties": {"p": {"title": "P", "type": "string"}}}
ASSOCIATION = {"name": "R", "prefix": "r_", "properties_target": "x"}
NAMESPACE = {"namespace": "N", "display_name": "d", "description": "d", "visibility": "public", "protected": False,
             "owner": "own"}
CONTENT = {"properties": {"p": DEFINITION}, "objects": [THING], "tags": [{"name": "T"}],
           "resource_type_associations": [ASSOCIATION]}

DOCUMENTS: dict[tuple[str, str], list[tuple[str, Any]]] = {
    ("POST", "/v2/images"): [(JSON, {
        "name": "n", "visibility": "private", "protected": False, "os_hidden": False, "owner": "own", "min_ram": 1,
        "min_disk": 1, "tags": ["t"], "disk_format": "raw", "container_format": "bare", "property": "value",
    })],
    ("PATCH", "/v2/images/<image_id>"): [
        (PATCH, [{"op": "replace", "path": "/name", "value": "n"}]),
        (PATCH, [{"op": "add", "path": "/tags", "value": ["t"]}]),
        (PATCH, [{"op": "add", "path": "/locations/-", "value": PLACE}]),
        (PATCH, [{"op": "replace", "path": "/locations", "value": [PLACE]}]),
        (OLD_PATCH, [{"add": "/property", "value": "v"}]),
    ],
    ("POST", "/v2/images/<image_id>/members"): [(JSON, {"member": "m"})],
    ("PUT", "/v2/images/<image_id>/members/<rest:member_id>"): [(JSON, {"status": "accepted"})],
    ("POST", "/v2/images/<image_id>/locations"): [(JSON, {"url": PLACE["url"], "validation_data": DIGEST})],
    ("POST", "/v2/images/<image_id>/import"): [
        (JSON, {"method": {"name": "web-download", "uri": "http://127.0.0.1/x"}, "stores": ["fast"],
                "all_stores": False, "all_stores_must_succeed": True}),
        (JSON, {"method": {"name": "glance-direct"}}),
        (JSON, {"method": {"name": "copy-image"}, "stores": ["slow"]}),
        (JSON, {"method": {"name": "glance-download", "glance_image_id": MISSING, "glance_region": "r",
                           "glance_service_interface": "public"}}),
    ],
    ("POST", "/v2/tasks"): [(JSON, {"type": "import", "input": {
        "import_from": "http://127.0.0.1/x", "import_from_format": "raw", "image_properties": {"name": "n"},
    }})],
    ("PUT", "/v1/images/<image_id>/members"): [(JSON, {"memberships": [{"member_id": "m", "can_share": False}]})],
    ("PUT", "/v1/images/<image_id>/members/<rest:member>"): [(JSON, {"member": {"can_share": False}})],
    ("POST", NAMESPACES): [(JSON, {**NAMESPACE, "namespace": "M", **CONTENT})],
    ("PUT", N): [(JSON, NAMESPACE)],
    ("POST", f"{N}/properties"): [(JSON, {"name": "q", **DEFINITION})],
    ("PUT", f"{N}/properties/<rest:property_name>"): [(JSON, {"name": "p", "title": "P", "type": "string"})],
    ("POST", f"{N}/objects"): [(JSON, {**THING, "name": "Q"})],
    ("PUT", f"{N}/objects/<rest:object_name>"): [(JSON, THING)],
    ("POST", f"{N}/tags"): [(JSON, {"tags": [{"name": "T"}]})],
    ("PUT", f"{N}/tags/<rest:tag_name>"): [(JSON, {"name": "T"})],
    ("POST", f"{N}/resource_types"): [(JSON, {**ASSOCIATION, "name": "S"})],
}
"""Well-formed documents of every route that takes one; their parts are replaced by what does not belong there."""

UPLOADS = {"/v2/images/<image_id>/file", "/v2/images/<image_id>/stage", "/v1/images", "/v1/images/<image_id>"}
MAY_BE_EMPTY = {"/v1/images/<image_id>/members/<rest:member>"}

RAW_BODIES = {
    "empty": b"", "space": b" \n", "word": b"null", "number": b"7", "text": b'"x"', "unclosed": b'{"name": "x',
    "two documents": b"{}{}", "comment": b"{} // x", "single quotes": b"{'name': 'x'}", "trailing comma": b'{"a": 1,}',
    "nan": b'{"min_ram": NaN}', "infinity": b'[{"op": -Infinity}]', "not utf-8": b'{"name": "\xff\xfe"}',
    "overlong slash": b'{"name": "\xc0\xaf"}', "utf-16": '{"name": "x"}'.encode("utf-16"), "nul": b"{}\0",
    "byte order mark": b"\xef\xbb\xbf{}x", "lone surrogate": b'{"name": "\\ud800"}', "half pair": b'{"\\udfff": "x"}',
    "nul in a text": b'{"name": "\\u0000"}', "nul in a key": b'{"a\\u0000": "x"}', "deep arrays": b"[" * 500_000,
    "deep and closed": b"[" * 10_000 + b"]" * 10_000, "deep objects": b'{"a":' * 10_000 + b"{}" + b"}" * 10_000,
    "digits": b'{"min_ram": ' + b"9" * 5_000 + b"}", "exponent": b'{"min_ram": 1e400}',
    "small exponent": b'[{"op": 1e-400}]', "gzip": b"\x1f\x8b\x08" + b"\0" * 50,
    "xml": b"<!DOCTYPE x [<!ENTITY a 'b'>]>",
    "form": b"name=x&visibility=public", "too large": b'{"name": "' + b"x" * 5_000_000 + b'"}',
    "many fields": b"{" + b",".join(b'"k%d":"v"' % n for n in range(20_000)) + b"}",
    "many elements": b"[" + b"{}," * 50_000 + b"{}]",
}

VALUES: list[Any] = [
    None, True, 0, -1, 2**31, 2**63, 2**64, 10**300, 1.5, -0.0, "", "\0", "\u202e", "\r\nX-Injected: yes", "x" * 70_000,
    "../../etc/passwd", "file:///etc/passwd", "'; DROP TABLE images; --", "%s%s%n{0}{x.__class__}", [], {}, [[]],
    [None], {"": None}, {"$ref": "file:///etc/passwd"}, [{"a": {"b": ["c"]}}], ["t"] * 2_000,
    {"k" * 300: "v"}, {str(number): "v" for number in range(2_000)},
]
"""What takes the place of every part of a well-formed document."""

PATH_VALUES = [
    "%00", "%0d%0aX-Injected:%20yes", "..", "../..", "%2e%2e", "%2e%2e%2f%2e%2e%2fetc", "..%5c..", "%252e%252e%252f",
    "a%2fb", "a%252fb", "%ff", "%c0%af", "%ed%a0%80", "%f4%90%80%80", "x" * 300, "x" * 8_000, "%20", "%3f", "%23",
    ";", "*", "%25",
    "%27%20OR%201=1--", "%7b%7b7*7%7d%7d", "\u0660" * 36, f"{MISSING}%00", f"{MISSING}%0a", f" {MISSING}",
    f"%7b{MISSING}%7d", MISSING.replace("-", ""), f"urn:uuid:{MISSING}", "\U0001f4a9", "%e2%80%ae",
]
NAMES = {
    "<image_id>": "", "<uuid:image_id>": MISSING, "<store_id>": "slow", "<task_id>": MISSING, "<namespace>": "N",
    "<metadef>": "tag",
}
ANY_TEXT = {
    "<rest:tag>": "t", "<rest:member_id>": "m", "<rest:member>": "m", "<rest:property_name>": "p",
    "<rest:object_name>": "O", "<rest:tag_name>": "T", "<rest:resource_type>": "R",
}
"""Variables that take nearly any text; what is stored under it must come back as it was."""


@pytest.fixture
def target(make_api: Any, tmp_path: Any) -> Any:
    """An API with all that options can switch on."""
    for name in ("fast", "slow"):
        (tmp_path / name).mkdir()
    made = make_api(
        enabled_backends="fast:file,slow:file,web:http", glance_store__default_backend="fast",
        fast__filesystem_store_datadir=tmp_path / "fast", slow__filesystem_store_datadir=tmp_path / "slow",
        show_multiple_locations=True, show_image_direct_url=True,
        image_cache_dir=tmp_path / "cache", paste_deploy__flavor="trusted-auth+cachemanagement",
    )
    made.services.cache.open()
    yield made
    made.services.cache.close()


@pytest.fixture
def image(target: Any) -> str:
    """A queued image with a member, a tag and a property; there is a namespace with all that one can hold, too."""
    make_namespace(target)
    made = str(target.create(disk_format="raw", container_format="bare", tags=["t"], property="v")["id"])
    assert target.call("POST", f"/v2/images/{made}/members", json={"member": "m"}).status_code == 200
    return made


def make_namespace(target: Any) -> None:
    made = target.call("POST", NAMESPACES, json={**NAMESPACE, **CONTENT}, roles="admin")
    assert made.status_code == 201, made.text


def role(rule: str) -> str:
    """Return the role that gets past the policy, so that the checks of what is sent are reached."""
    is_for_admins = any(part in rule for part in ("/metadefs/", "/cache", "/queued_images"))
    return "admin" if is_for_admins else "member,reader"


def routes(app: Any) -> Iterator[tuple[str, str]]:
    """Yield method and rule of every call."""
    for rule in app.url_map.iter_rules():
        for method in sorted(rule.methods):
            yield method, rule.rule


def path_of(rule: str, image: str) -> str:
    for variable, value in {**NAMES, **ANY_TEXT, "<image_id>": image}.items():
        rule = rule.replace(variable, value)
    assert "<" not in rule, f"say what stands for the variable parts of {rule}"
    return rule


def check(response: Any, *what: object) -> None:
    """Check that an answer to nonsense is one that a client can understand."""
    assert response.status_code < 500, (*what, response.text)
    assert "X-Injected" not in response.headers, what
    assert not any("\r" in value or "\n" in value for value in response.headers.values()), what
    for trace in ("Traceback", "glance_api", "psycopg", "sqlalchemy", "/work/", ".py"):
        assert trace not in response.text, (*what, response.text)
    if response.status_code >= 400 and response.request.method != "HEAD":
        message = response.json["message"]
        assert 0 < len(message) < 10_000, (*what, message)


def snapshot(engine: sa.Engine) -> list[str]:
    """Return all that the database knows of images and of the catalogue."""
    catalogue = [f"metadef_{each}" for each in ("namespaces", "properties", "objects", "tags", "resource_types")]
    with engine.connect() as connection:
        return [
            str(row) for table in ("images", "members", "locations", *catalogue)
            for row in connection.execute(sa.text(f"SELECT * FROM {table} ORDER BY 1"))
        ]


def bodies(app: Any) -> list[tuple[str, str]]:
    """Return the calls that take a document, and check that each one has a line in the table."""
    found = []
    for method, rule in routes(app):
        view = next(app.view_functions[each.endpoint] for each in app.url_map.iter_rules()
                    if each.rule == rule and method in each.methods)
        if method in ("POST", "PUT", "PATCH") and not hasattr(view, "without_body") and rule not in UPLOADS:
            assert (method, rule) in DOCUMENTS, f"say what a well-formed document of {method} {rule} is"
            found.append((method, rule))
    assert len(found) >= 4
    return found


def test_s54_s59_bodies_that_are_no_document(target, image, engine):
    before = snapshot(engine)
    for method, rule in bodies(target.app):
        for kind in {kind for kind, _ in DOCUMENTS[method, rule]}:
            headers = {"Content-Type": kind, "Accept": JSON}
            for what, body in RAW_BODIES.items():
                if not body and rule in MAY_BE_EMPTY:
                    continue
                response = target.call(method, path_of(rule, image), data=body, headers=headers, roles="admin")
                check(response, method, rule, what)
                assert response.status_code in (400, 403, 404, 413), (method, rule, what, response.text)
    assert snapshot(engine) == before


def parts(document: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the place of every part of a document, the whole of it included."""
    yield at
    if not isinstance(document, dict | list):
        return
    for key, value in document.items() if isinstance(document, dict) else enumerate(document):
        yield from parts(value, (*at, key))


def replaced(document: Any, at: tuple[Any, ...], value: Any) -> Any:
    """Return the document with another value at one place."""
    if not at:
        return value
    changed = copy.deepcopy(document)
    inner = changed
    for key in at[:-1]:
        inner = inner[key]
    inner[at[-1]] = value
    return changed


def test_s54_s56_s58_values_that_do_not_belong_there(target, image, engine):
    for method, rule in bodies(target.app):
        for kind, document in DOCUMENTS[method, rule]:
            for at in parts(document):
                for value in VALUES:
                    body = json.dumps(replaced(document, at, value))
                    headers = {"Content-Type": kind, "Accept": JSON}
                    response = target.call(method, path_of(rule, image), data=body, headers=headers, roles=role(rule))
                    check(response, method, rule, at, str(value)[:80])
                    if "/metadefs/" in rule and response.status_code < 300:
                        with engine.begin() as connection:
                            connection.execute(sa.text("TRUNCATE metadef_namespaces, metadef_resource_types CASCADE"))
                        make_namespace(target)


def test_s54_a_key_that_comes_twice_is_the_one_that_is_checked(target):
    """The last one counts, for checks and database alike: no second parser sees the first."""
    body = b'{"visibility": "private", "visibility": "public"}'
    response = target.call("POST", "/v2/images", data=body, headers={"Content-Type": JSON})
    assert response.status_code == 403
    body = b'{"visibility": "public", "owner": "other", "visibility": "private", "owner": "own"}'
    response = target.call("POST", "/v2/images", data=body, headers={"Content-Type": JSON})
    assert (response.status_code, response.json["visibility"], response.json["owner"]) == (201, "private", "own")


def test_s54_paths_that_are_no_names(target, image, engine):
    before = snapshot(engine)
    for method, rule in routes(target.app):
        named = [part for part in NAMES if part in rule]
        for variable, value in product(named, PATH_VALUES):
            path = path_of(rule.replace(variable, value), image)
            response = target.call(method, path, headers={"Accept": JSON}, roles=role(rule))
            check(response, method, path)
            assert response.status_code in (400, 401, 403, 404, 405, 409, 415, 501), (method, path, response.text)
    assert snapshot(engine) == before


def test_s54_names_of_tags_and_members(target, image):
    for method, rule in routes(target.app):
        for variable, value in product([part for part in ANY_TEXT if part in rule], PATH_VALUES):
            path = path_of(rule.replace(variable, value), image)
            body = {"json": DOCUMENTS[method, rule][0][1]} if (method, rule) in DOCUMENTS else {}
            check(target.call(method, path, headers={"Accept": JSON}, roles=role(rule), **body), method, path)


HEADERS = {
    "Accept": ["x" * 8_000, "\xff", "application/vnd.openstack.images-v9", "*/*;q=x", "," * 4_000],
    "Content-Type": ["x" * 8_000, "\xff", "application/json; charset=utf-7", "multipart/form-data", ""],
    "Content-Encoding": ["gzip", "\xff"], "Transfer-Encoding": ["x", "gzip, chunked"],
    "Range": ["bytes=" + "9" * 5_000 + "-", "bytes=0-0," * 1_000, "\xff", "bytes=--1", "bytes=-", "lines=1-2"],
    "Content-Range": ["bytes 0-" + "9" * 5_000 + "/*", "\xff", "bytes */*"],
    "If-Range": ["\xff", '"' * 4_000], "If-None-Match": ["\xff", '"' * 4_000, "*"],
    "X-Image-Meta-Store": ["\xff", "../fast", "os_glance_staging_store", "x" * 8_000],
    "X-Openstack-Image-Size": ["-1", "1e3", "9" * 5_000, "\u00b2", "0x10", " 1"],
    "X-Openstack-Request-Id": ["\xff", "x" * 8_000, "a b"],
    "X-Service-Catalog": ["{", "\xff", "[" * 8_000, '[{"type": 7, "endpoints": null}]', "7"],
    "X-Auth-Token": ["\xff", "x" * 8_000], "X-Roles": ["\xff", "," * 4_000, "admin\xa0"],
    "X-Project-Id": ["\xff", "x" * 8_000, "a,b", "%(project_id)s"], "Host": ["\xff", "a b", "x" * 4_000, "["],
    "X-Openstack-Append": ["\xff", "perhaps", "x" * 8_000], "X-Glance-Registry-Purge-Props": ["\xff", "x" * 8_000],
    "X-Forwarded-Prefix": ["/\xff"], "X-Http-Method-Override": ["DELETE"], "Cookie": ["\xff"],
}


def test_s54_s58_headers_that_mean_nothing(target, image):
    for (method, rule), (name, values) in product(routes(target.app), HEADERS.items()):
        if method == "DELETE":
            continue
        for value in values:
            kind, document = DOCUMENTS.get((method, rule), [("application/octet-stream", None)])[0]
            headers = {"Accept": JSON, "Content-Type": kind, name: value}
            body = json.dumps(document) if document is not None else None
            response = target.call(method, path_of(rule, image), headers=headers, data=body, roles=role(rule))
            most = 501 if name == "Transfer-Encoding" else 499
            assert response.status_code <= most, (method, rule, name, value[:80], response.text)
            assert not any("\r" in each or "\n" in each for each in response.headers.values())


QUERIES = ["%00", "%ff", "\u0660", "9" * 5_000, "-1", "'", "in:" + '"' * 999, "in:" + "," * 20_000, "x" * 60_000, "eq:",
           "2026-01-01T00:00:00+99:99", "gt:9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", "%ed%a0%80", "[]"]


PAGING = ("limit", "marker", "sort_key", "sort_dir", "visibility", "anything", "%00")
V1 = (*PAGING, "name", "status", "size_min", "size_max", "min_ram", "min_disk", "protected", "deleted", "is_public",
      "changes-since", "property-p", "property-%00", "property-")
LISTS = {
    "/v2/images": (
        *PAGING, "sort", "name", "id", "size", "size_min", "min_ram_max", "created_at", "updated_at", "tag",
        "member_status", "os_hidden", "protected", "owner", "prefer",
    ),
    "/v2/tasks": (*PAGING, "type", "status"),
    "/v1/": V1, "/v1/images": V1, "/v1/images/detail": V1,
    NAMESPACES: (*PAGING, "resource_types"), f"{N}/objects": PAGING, f"{N}/tags": PAGING,
}


def test_s54_s63_queries_that_mean_nothing(target, image):
    asked = {rule for method, rule in routes(target.app) if method == "GET"}
    assert asked > LISTS.keys()
    calls = [(rule, *pair) for rule, names in LISTS.items() for pair in product(names, QUERIES)]
    calls += product(asked - LISTS.keys(), ("prefer", "resource_type", "anything"), QUERIES)
    for rule, name, value in calls:
        path = f"{path_of(rule, image)}?{name}={value}"
        check(target.call("GET", path, headers={"Accept": JSON}), path[:200])
        if rule in LISTS:
            check(target.call("GET", path, headers={"Accept": JSON}, roles="admin"), path[:200])
