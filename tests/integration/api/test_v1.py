"""The Images API v1 down to the database and the store (v1 API, lifecycle section 3)."""

import io
from hashlib import md5
from typing import Any

import pytest
from tests.integration.api.imports_kit import Node, page, working
from tests.integration.api.imports_kit import options as node_options
from tests.servers.web import Page
from tests.support.waiting import wait_for

from glance_common.stores import contract

OCTETS = {"Content-Type": "application/octet-stream"}
ADMIN = {"roles": "admin,member,reader"}
RAW = {"disk_format": "raw", "container_format": "bare"}
DATA = b"\x01some data of an image"


def meta(properties: dict[str, str] | None = None, **fields: Any) -> dict[str, str]:
    """Return the headers that say this of an image."""
    named = {f"x-image-meta-{name}": str(value) for name, value in fields.items()}
    return named | {f"x-image-meta-property-{name}": value for name, value in (properties or {}).items()}


def create(api: Any, expected: int = 201, data: bytes | None = None, **how: Any) -> Any:
    """Create an image from ``fields`` and ``properties``; return its document, or the refusal."""
    fields, properties = how.pop("fields", {}), how.pop("properties", None)
    headers = {**meta(properties, name="one", **RAW, **fields), **(OCTETS if data is not None else {})}
    headers |= how.pop("headers", {})
    answer = api.call("POST", "/v1/images", data=data, headers=headers, **how)
    assert answer.status_code == expected, answer.text
    return answer.json["image"] if expected == 201 else answer


def head(api: Any, image: str, expected: int = 200, **caller: Any) -> dict[str, str]:
    """Return the metadata headers of an image."""
    answer = api.call("HEAD", f"/v1/images/{image}", **caller)
    assert answer.status_code == expected
    return {name.lower().removeprefix("x-image-meta-"): value for name, value in answer.headers.items()}


def names(api: Any, query: str = "", **caller: Any) -> list[str]:
    """Return the names in a detailed list."""
    answer = api.call("GET", f"/v1/images/detail?{query}", **caller)
    assert answer.status_code == 200, answer.text
    return [image["name"] for image in answer.json["images"]]


def put(api: Any, image: str, expected: int = 200, data: bytes | None = None, **how: Any) -> Any:
    """Update an image."""
    headers = {**meta(how.pop("properties", None), **how.pop("fields", {})), **(OCTETS if data is not None else {})}
    headers |= how.pop("headers", {})
    answer = api.call("PUT", f"/v1/images/{image}", data=data, headers=headers, **how)
    assert answer.status_code == expected, answer.text
    return answer


def files(folder: Any) -> list[str]:
    """Return the files in the store."""
    found = (path for path in (folder / "images").rglob("*") if path.is_file())
    return [path.name for path in found if path.name != ".glance-store"]


def test_v1_01_to_05_an_image_comes_and_goes(api):
    made = create(api, data=DATA, properties={"os-Distro": "debian"}, fields={"min_ram": 5, "protected": "no"})
    assert (made["status"], made["size"], made["min_ram"]) == ("active", len(DATA), 5)
    assert made["properties"] == {"os_distro": "debian"}
    shown = head(api, made["id"])
    assert (shown["checksum"], shown["etag"]) == (md5(DATA).hexdigest(),) * 2
    assert (shown["property-os_distro"], shown["is_public"], shown["deleted"]) == ("debian", "False", "False")
    answer = api.call("GET", f"/v1/images/{made['id']}")
    assert (answer.data, answer.headers["Content-Length"]) == (DATA, str(len(DATA)))
    assert answer.headers["x-image-meta-name"] == "one"
    changed = put(api, made["id"], fields={"name": "two"}, properties={"b": "2"}).json["image"]
    assert (changed["name"], changed["properties"]) == ("two", {"b": "2"})
    kept = put(api, made["id"], properties={"c": "3"}, headers={"x-glance-registry-purge-props": "false"})
    assert kept.json["image"]["properties"] == {"b": "2", "c": "3"}
    gone = api.call("DELETE", f"/v1/images/{made['id']}")
    assert (gone.status_code, gone.data) == (200, b"")
    head(api, made["id"], 404)
    assert api.call("DELETE", f"/v1/images/{made['id']}").status_code == 404


def test_location_header_and_reserved_then_uploaded(api):
    answer = api.call("POST", "/v1/images", headers=meta({"a": "1"}, **RAW))
    image = answer.json["image"]
    assert (answer.headers["Location"], image["status"]) == (f"/v1/images/{image['id']}", "queued")
    assert api.call("GET", f"/v1/images/{image['id']}").status_code == 404
    filled = put(api, image["id"], data=DATA, fields={"name": "later"}).json["image"]
    assert (filled["status"], filled["name"], filled["properties"]) == ("active", "later", {"a": "1"})
    put(api, image["id"], 409, data=DATA)
    put(api, image["id"], 400, fields={"location": "http://mirror.example.org/x"})


@pytest.mark.parametrize(
    ("fields", "headers", "expected"),
    [
        ({"size": len(DATA) + 1}, {}, 400),
        ({"checksum": "0" * 32}, {}, 400),
        ({}, {"Content-Type": "text/plain"}, 400),
    ],
)
def test_dat11_v1_14_a_failed_upload_kills_the_image(api, tmp_path, fields, headers, expected):
    create(api, expected, data=DATA, fields={**fields, "id": "a" * 8 + "-1111-4111-8111-111111111111"}, headers=headers)
    assert head(api, "aaaaaaaa-1111-4111-8111-111111111111")["status"] == "killed"
    assert files(tmp_path) == []
    assert names(api) == []
    assert api.call("DELETE", "/v1/images/aaaaaaaa-1111-4111-8111-111111111111").status_code == 200


def test_dat11_s08_a_client_that_leaves_and_too_much_data(make_api, tmp_path):
    api = make_api(image_size_cap=10)
    announced = create(api, 400, data=DATA)
    assert "image_size_cap" in announced.text
    assert names(api, "is_public=none", **ADMIN) == []
    made = create(api)
    streamed = {**OCTETS, "Transfer-Encoding": "chunked"}
    much = api.call(
        "PUT", f"/v1/images/{made['id']}", input_stream=io.BytesIO(DATA), headers=streamed,
        environ_overrides={"wsgi.input_terminated": True},
    )
    assert (much.status_code, head(api, made["id"])["status"]) == (413, "killed")
    other = create(api)
    cut = api.call(
        "PUT", f"/v1/images/{other['id']}", input_stream=io.BytesIO(b"123"), headers=OCTETS,
        environ_overrides={"CONTENT_LENGTH": "9"},
    )
    assert (cut.status_code, head(api, other["id"])["status"]) == (400, "killed")
    assert files(tmp_path) == []


def test_dat11_storage_quota_kills(make_api, tmp_path):
    api = make_api(user_storage_quota=10)
    made = create(api)
    put(api, made["id"], 413, data=DATA)
    assert head(api, made["id"])["status"] == "killed"
    assert files(tmp_path) == []


@pytest.mark.parametrize(("error", "expected"), [
    (contract.StoreFull, 413), (contract.AddDisabled, 410), (contract.WriteDenied, 503), (contract.BlobExists, 409),
    (contract.StoreForbidden, 403), (contract.StoreUnavailable, 503), (contract.StoreError, 503),
])
def test_dat11_a_store_that_fails_kills(api, tmp_path, error, expected):
    def fail(*_args: Any) -> None:
        raise error("/secret/path")

    api.services.stores.get("file").inner.add = fail
    made = create(api)
    refused = put(api, made["id"], expected, data=DATA)
    assert "secret" not in refused.text
    assert head(api, made["id"])["status"] == "killed"
    create(api, expected, data=DATA)
    assert names(api) == files(tmp_path) == []


def test_dat11_what_policy_refuses_changes_nothing(make_api, tmp_path):
    policy = tmp_path / "policy.yaml"
    policy.write_text('"upload_image": "role:admin"\n"set_image_location": "role:admin"\n')
    api = make_api(oslo_policy__policy_file=policy, glance_store__stores="file,http")
    location = {"location": "http://mirror.example.org/x"}
    create(api, 403, data=DATA)
    create(api, 403, fields=location)
    made = create(api)
    put(api, made["id"], 403, data=DATA, fields={"name": "changed"})
    put(api, made["id"], 403, fields={"name": "changed", **location})
    shown = head(api, made["id"])
    assert (shown["name"], shown["status"]) == ("one", "queued")
    assert names(api) == ["one"]
    assert put(api, made["id"], data=DATA, **ADMIN).json["image"]["status"] == "active"


def test_sta09_v1_12_a_location_never_passes_saving(make_api, web):
    web.pages["/there"] = Page(DATA)
    hosts = {"allowed_hosts": "[127.0.0.1]", "allowed_ports": f"[{web.port}]"}
    filtering = {f"import_filtering_opts__{name}": value for name, value in hosts.items()}
    api = make_api(glance_store__stores="file,http", **filtering)
    made = create(api, fields={"location": web.url("/there"), "size": 0})
    assert (made["status"], made["size"]) == ("active", len(DATA))
    assert api.call("GET", f"/v1/images/{made['id']}").data == DATA
    create(api, 409, fields={"location": web.url("/there"), "size": 3})
    create(api, 400, fields={"location": web.url("/nothing")})
    create(api, 400, fields={"location": web.url("/there")}, data=DATA)
    for fields in ({"protected": True}, {"size": 2**62}):
        create(api, 400, fields={"location": web.url("/nothing"), **fields})
    # What could not be registered leaves no image.
    assert names(api) == ["one"]
    reserved = create(api, properties={"a": "1"})["id"]
    put(api, reserved, 409, fields={"location": web.url("/there"), "size": 3, "name": "other"})
    assert (head(api, reserved)["name"], head(api, reserved)["property-a"]) == ("one", "1"), "nothing was written"
    put(api, reserved, fields={"location": web.url("/there")})
    assert "property-a" not in head(api, reserved), "only with data in the body properties stay that are not named"


def test_v1_11_copy_from(make_api, tmp_path, web):
    node = Node(make_api(**node_options(tmp_path, web)), tmp_path)
    with working(node):
        good = {"x-glance-api-copy-from": page(web, DATA)["uri"]}
        made = create(node.api, headers=good, fields={"store": "slow"}, **ADMIN)
        assert made["status"] == "queued"
        wait_for(lambda: head(node.api, made["id"])["status"] == "active")
        assert api_data(node, made["id"]) == DATA
        assert node.files("slow") == [made["id"]]
        assert not [name for name in head(node.api, made["id"]) if "os_glance" in name]
        bad = create(node.api, headers={"x-glance-api-copy-from": web.url("/missing")}, **ADMIN)
        wait_for(lambda: head(node.api, bad["id"])["status"] == "killed")
    assert node.settled()


def api_data(node: Node, image: str) -> bytes:
    """Return the data of an image."""
    return bytes(node.api.call("GET", f"/v1/images/{image}").data)


def test_s27_copy_from_is_for_administrators_and_filtered(make_api, tmp_path, web):
    api = make_api(**node_options(tmp_path, web))
    url = {"x-glance-api-copy-from": page(web, DATA)["uri"]}
    create(api, 403, headers=url)
    put(api, create(api)["id"], 403, headers=url)
    for refused in ("", "http://169.254.169.254/x", "http://10.0.0.1/x", "gopher://127.0.0.1/", "file:///etc/passwd"):
        create(api, 400, headers={"x-glance-api-copy-from": refused}, **ADMIN)
    create(api, 400, headers=url, fields={"store": "http"}, **ADMIN)
    assert names(api) == ["one"]


def test_size_0_is_active_at_once(api):
    made = api.call("POST", "/v1/images", headers=meta(size=0, name="volume backed")).json["image"]
    assert (made["status"], made["size"]) == ("active", 0)
    answer = api.call("GET", f"/v1/images/{made['id']}")
    assert (answer.status_code, answer.data) == (200, b"")
    assert api.call("GET", f"/v2/images/{made['id']}/file").data == b""
    assert api.call("DELETE", f"/v1/images/{made['id']}").status_code == 200


def test_s01_delete_asks_first(api, tmp_path):
    public = create(api, data=DATA, fields={"is_public": True}, **ADMIN)["id"]
    private = create(api, data=DATA)["id"]
    protected = create(api, data=DATA, fields={"protected": True})["id"]
    assert api.call("DELETE", f"/v1/images/{public}", project="stranger").status_code == 403
    assert api.call("DELETE", f"/v1/images/{private}", project="stranger").status_code == 404
    assert api.call("DELETE", f"/v1/images/{protected}").status_code == 403
    put(api, public, 403, project="stranger", fields={"name": "mine"})
    put(api, private, 404, project="stranger", fields={"name": "mine"})
    assert sorted(files(tmp_path)) == sorted([public, private, protected])
    assert {head(api, image)["status"] for image in (public, private, protected)} == {"active"}


@pytest.mark.parametrize("delayed", [True, False])
def test_deleted_images_of_administrators(make_api, delayed):
    api = make_api(delayed_delete=delayed)
    image = create(api, data=DATA)["id"]
    since = head(api, image)["created_at"]
    assert api.call("DELETE", f"/v1/images/{image}").status_code == 200
    shown = head(api, image, **ADMIN)
    status, other = ("pending_delete", "deleted") if delayed else ("deleted", "pending_delete")
    assert (shown["deleted"], shown["status"]) == ("True", status)
    assert shown["deleted_at"]
    put(api, image, 403, fields={"name": "x"}, **ADMIN)
    assert api.call("DELETE", f"/v1/images/{image}", **ADMIN).status_code == (403 if delayed else 404)
    queries = [(query, ADMIN) for query in ("deleted=true", "deleted=yes", "is_public=none&deleted=1")]
    for query, caller in (*queries, (f"changes-since={since}", {})):
        (told,) = api.call("GET", f"/v1/images/detail?{query}", **caller).json["images"]
        assert (told["status"], told["deleted"]) == (status, True)
        assert names(api, f"{query}&status={status}&sort_key=status", **caller) == ["one"]
        assert names(api, f"{query}&status={other}", **caller) == []
    assert names(api, "deleted=true", **ADMIN) == ["one"]
    assert names(api, "deleted=true") == []
    assert names(api, f"changes-since={since}") == ["one"]
    assert names(api, "changes-since=2999-01-01T00:00:00Z") == []
    create(api, 400, data=DATA, headers=meta(name="killed", checksum="0" * 32))
    assert names(api, f"changes-since={since}") == ["killed", "one"]
    assert names(api, "deleted=true", **ADMIN) == ["one"]
    assert names(api) == names(api, "is_public=none", **ADMIN) == []
    assert names(api, f"deleted=true&marker={image}", **ADMIN) == []
    head(api, image, 404)


def test_s03_no_location_is_ever_sent(make_api):
    api = make_api(show_multiple_locations=True, show_image_direct_url=True)
    made = create(api, data=DATA)
    path = f"/v1/images/{made['id']}"
    answers = [api.call(method, path) for method in ("HEAD", "GET")]
    answers += [put(api, made["id"], fields={"name": "x"}), api.call("GET", "/v1/images/detail")]
    for answer in answers:
        assert "location" not in str(answer.headers).lower()
        assert b"file://" not in answer.data
        assert "file://" not in str(answer.headers)
    assert "location" not in made


@pytest.mark.parametrize(
    "url", [
        "file:///etc/passwd", "filesystem:///etc/passwd", "swift+config://ref/c/o", "cinder://x", "nonsense", "FILE:///x",
        "sheepdog://127.0.0.1:7000:x;id", "FileSystem:///etc/passwd",
    ],
)
def test_s07_s09_s10_no_inner_location_is_registered(make_api, url):
    api = make_api(glance_store__stores="file,http")
    for caller in ({}, ADMIN):
        create(api, 400, fields={"location": url}, **caller)
        create(api, 400, headers={"x-glance-api-copy-from": url}, **ADMIN)
    assert names(api) == []
    put(api, create(api)["id"], 400, fields={"location": url})


def test_s15_status_is_nobodys_to_set(api):
    made = create(api, fields={"status": "active"}, headers={"x-image-meta-deleted": "true"})
    assert made["status"] == "queued"
    for caller in ({}, ADMIN):
        put(api, made["id"], 403, fields={"status": "active"}, **caller)
    put(api, made["id"], 403, fields={"id": "11111111-1111-4111-8111-111111111111"})
    put(api, made["id"], fields={"status": "queued"}, headers={"x-glance-registry-purge-props": "true"})
    active = create(api, data=DATA)
    put(api, active["id"], 403, fields={"size": 1})
    put(api, active["id"], 403, fields={"checksum": "0" * 32})
    put(api, active["id"], 403, fields={"status": "queued"})
    assert head(api, active["id"])["status"] == "active"


def test_s47_reserved_and_protected_properties(make_api, tmp_path):
    rules = tmp_path / "protections.ini"
    rules.write_text("[^secret]\ncreate=admin\nread=admin\nupdate=admin\ndelete=admin\n"
                     "[.*]\ncreate=@\nread=@\nupdate=@\ndelete=@\n")
    api = make_api(property_protection_file=rules)
    for name in ("os_glance_x", "OS-Glance-X", "os_hash_value", "checksum", "direct_url", "locations", "Stores"):
        create(api, 403, properties={name: "1"})
    create(api, 403, properties={"Secret-A": "1"})
    image = create(api, properties={"SECRET-a": "1", "open": "2"}, **ADMIN)["id"]
    assert "property-secret_a" in head(api, image, **ADMIN)
    assert "property-secret_a" not in head(api, image)
    assert names(api, "property-secret_a=1") == []
    assert names(api, "property-secret_a=1", **ADMIN) == ["one"]
    put(api, image, 403, properties={"secret_a": "3"})
    # A purge by somebody who does not see it leaves it.
    assert put(api, image).json["image"]["properties"] == {}
    assert head(api, image, **ADMIN)["property-secret_a"] == "1"


def test_s47_a_deleted_image_hides_what_it_hid(make_api, tmp_path):
    rules = tmp_path / "protections.ini"
    rules.write_text("[^secret]\ncreate=@\nread=vault\nupdate=@\ndelete=@\n"
                     "[.*]\ncreate=@\nread=@\nupdate=@\ndelete=@\n")
    api = make_api(property_protection_file=rules)
    image = create(api, properties={"secret_a": "1", "open": "2"})["id"]
    assert api.call("DELETE", f"/v1/images/{image}").status_code == 200
    assert "property-secret_a" not in head(api, image, **ADMIN)
    assert head(api, image, **ADMIN)["property-open"] == "2"
    assert head(api, image, roles="admin,vault")["property-secret_a"] == "1"


def test_s47_a_header_may_mean_any_spelling_of_a_protected_name(make_api, tmp_path):
    rules = tmp_path / "protections.ini"
    rules.write_text("".join(
        f"[{name}]\ncreate={who}\nread=@\nupdate={who}\ndelete=@\n"
        for name, who in (("^X_Guard$", "admin"), ("^os-guard$", "admin"), (".*", "@"))
    ))
    api = make_api(property_protection_file=rules)
    image = create(api, properties={"open": "1"})["id"]
    for name in ("X_Guard", "x-guard", "os_guard"):
        create(api, 403, properties={name: "forged"})
        put(api, image, 403, properties={name: "forged"})
    create(api, properties={"x_guard": "1"}, **ADMIN)
    # Both made by v2, which tells them apart: a header has room for one.
    both = api.call("POST", "/v2/images", json={"name": "two", "X_Guard": "true", "x_guard": "forged"}, **ADMIN)
    found = api.call("HEAD", f"/v1/images/{both.json['id']}").headers.get_all("x-image-meta-property-x_guard")
    assert found == ["true"]


def test_s48_properties_shadow_no_field(api):
    for name in ("Is_Public", "is-public", "owner", "Status", "visibility", "ID", "deleted", "location"):
        create(api, 403, properties={name: "1"})
    made = create(api, properties={"X-Y": "1"})
    assert made["properties"] == {"x_y": "1"}
    create(api, 400, headers={"x-image-meta-visibility": "public"})


def test_s58_headers_hold_text_only(api):
    for value in ("a%0d%0aX-Evil:%201", "%00", "caf\xe9"):
        create(api, 400, headers={"x-image-meta-name": value})
    made = create(api, headers={"x-image-meta-name": "%F0%9F%99%82%20a%25b"})
    assert made["name"] == "🙂 a%b"
    evil = api.create(name="a\r\nX-Evil: 1", **{"p\r\nq": "1\r\nX-Evil: 2"})
    answer = api.call("HEAD", f"/v1/images/{evil['id']}")
    assert answer.status_code == 200
    assert "X-Evil" not in answer.headers
    assert answer.headers["x-image-meta-name"] == "a%0D%0AX-Evil: 1"
    assert answer.headers["x-image-meta-property-p%0d%0aq"] == "1%0D%0AX-Evil: 2"


def test_v1_06_to_08_lists(api):
    for name, size in (("a", 1), ("b", 2), ("c", 3)):
        create(api, data=b"x" * size, headers={"x-image-meta-name": name}, properties={"n": name})
    create(api, headers={"x-image-meta-name": "public"}, fields={"is_public": True}, project="x", **ADMIN)
    create(api, headers={"x-image-meta-name": "theirs"}, project="x")
    assert names(api) == ["public", "c", "b", "a"]
    assert names(api, project="third", **ADMIN) == ["public"]
    assert names(api, "is_public=None&sort_key=name&sort_dir=asc", **ADMIN) == ["a", "b", "c", "public", "theirs"]
    assert names(api, "is_public=false", **ADMIN) == ["theirs", "c", "b", "a"]
    assert names(api, "is_public=none") == ["public", "c", "b", "a"]
    assert names(api, "size_min=2&size_max=2") == ["b"]
    assert names(api, "property-n=c&unknown=1") == ["c"]
    assert names(api, "status=queued&disk_format=raw") == ["public"]
    pages = api.call("GET", "/v1/images?limit=2").json["images"]
    assert set(pages[0]) == {"id", "name", "size", "disk_format", "container_format", "checksum"}
    assert names(api, f"limit=2&marker={pages[-1]['id']}") == ["b", "a"]
    theirs = api.call("GET", "/v1/images?name=theirs", project="x").json["images"][0]["id"]
    for query in (
        "limit=-1", "marker=x", f"marker={theirs}", "sort_key=owner", "sort_dir=up", "is_public=maybe", "size_min=x",
        "protected=perhaps", "changes-since=yesterday", "min_ram=-1",
    ):
        assert api.call("GET", f"/v1/images/detail?{query}").status_code == 400, query
    assert api.call("GET", "/v1/images?deleted=yes").status_code == 200, "others may say anything"
    lists = [api.call("HEAD", "/v1/images/detail"), api.call("PATCH", "/v1/images")]
    assert [(answer.status_code, answer.headers["Allow"]) for answer in lists] == [(405, "GET"), (405, "GET, POST")]
    assert api.call("PATCH", f"/v1/images/{theirs}").headers["Allow"] == "DELETE, GET, HEAD, PUT"
    assert api.call("GET", "/v1/").json == api.call("GET", "/v1/images").json


def test_machine_images_have_one_format_in_v1(api):
    """IMG-29: v2 takes any mix, which v1 then shows and leaves alone."""
    mixed = {"x-image-meta-disk_format": "ami", "x-image-meta-container_format": "bare"}
    assert "Invalid mix" in create(api, 400, headers=mixed).text
    image = create(api)
    assert "Invalid mix" in put(api, image["id"], 400, fields={"container_format": "aki"}).text
    document = {"disk_format": "aki", "container_format": "bare"}
    kernel = api.call("POST", "/v2/images", json=document).json["id"]
    assert put(api, kernel, fields={"name": "kernel"}).json["image"]["container_format"] == "bare"


def test_refused_fields(api):
    for fields in (
        {"id": "x"}, {"size": "-1"}, {"min_ram": "x"}, {"min_disk": str(2**31)}, {"checksum": "0" * 33},
        {"created_at": "1899-01-01"}, {"store": "nowhere"}, {"virtual_size": "x"}, {"nonsense": "1"},
    ):
        create(api, 400, fields=fields)
    create(api, 400, headers={"x-image-meta-disk_format": "x"})
    create(api, 400, data=DATA, headers={"x-image-meta-disk_format": ""})
    kernel = api.call("POST", "/v1/images", headers=meta(disk_format="aki")).json["image"]
    assert kernel["container_format"] == "aki"
    create(api, 403, fields={"is_public": True})
    mine = create(api, fields={"owner": "x", "id": "BBBBBBBB-1111-4111-8111-111111111111"})
    assert (mine["owner"], mine["id"]) == ("own", "bbbbbbbb-1111-4111-8111-111111111111")
    create(api, 409, fields={"id": mine["id"]})
    assert create(api, fields={"owner": "x"}, **ADMIN)["owner"] == "x"
    assert names(api) == ["one", None]


def test_v1_13_store_by_id_or_scheme(make_api, tmp_path, web):
    api = make_api(**node_options(tmp_path, web))
    by_id = create(api, data=DATA, fields={"store": "slow"})["id"]
    by_scheme = create(api, data=DATA, fields={"store": "file"})["id"]
    assert (tmp_path / "slow" / by_id).exists()
    assert (tmp_path / "fast" / by_scheme).exists()


def test_s49_deactivated_data_are_closed_to_all(api):
    image = create(api, data=DATA)["id"]
    assert api.call("POST", f"/v2/images/{image}/actions/deactivate").status_code == 204
    for caller in ({}, ADMIN):
        assert api.call("GET", f"/v1/images/{image}", **caller).status_code == 403
        assert head(api, image, **caller)["status"] == "deactivated"


def test_s11_deleted_during_the_upload_is_412(api, tmp_path):
    image = create(api)["id"]

    class Body(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() == 0:
                assert api.call("DELETE", f"/v1/images/{image}").status_code == 200
            return super().read(size)

    answer = api.call(
        "PUT", f"/v1/images/{image}", input_stream=Body(DATA), headers={**OCTETS, "Content-Length": str(len(DATA))}
    )
    assert answer.status_code == 412
    assert files(tmp_path) == []


def members(api: Any, image: str, **caller: Any) -> dict[str, bool]:
    """Return the members of an image with their right to share it."""
    answer = api.call("GET", f"/v1/images/{image}/members", **caller)
    assert answer.status_code == 200, answer.text
    return {row["member_id"]: row["can_share"] for row in answer.json["members"]}


def test_shared_images_page_by_page(make_api):
    api = make_api(api_limit_max=3)
    made = [create(api)["id"] for _ in range(5)]
    for image in made:
        assert api.call("PUT", f"/v1/images/{image}/members/friend").status_code == 204

    def page(query: str, project: str = "friend") -> list[str]:
        answer = api.call("GET", f"/v1/shared-images/friend?{query}", project=project)
        assert answer.status_code == 200, answer.text
        return [row["image_id"] for row in answer.json["shared_images"]]

    assert page("") == made
    assert page("limit=2") == made[:2]
    assert page(f"limit=2&marker={made[1]}") == made[2:4]
    assert page(f"limit=99&marker={made[0]}") == made[1:4], "cut at api_limit_max"
    assert page(f"marker={made[3]}") == made[4:]
    assert page(f"marker={made[4]}") == page("limit=0") == []
    other = create(api)["id"]
    for query in ("limit=-1", "limit=many", "marker=x", f"marker={other}"):
        assert api.call("GET", f"/v1/shared-images/friend?{query}", project="friend").status_code == 400, query
    # A stranger learns nothing from a marker.
    asked = api.call("GET", f"/v1/shared-images/friend?marker={made[0]}", project="stranger")
    assert asked.status_code == 400


def test_v1_09_v1_10_members(api):
    image = create(api)["id"]
    path = f"/v1/images/{image}/members"
    assert api.call("PUT", f"{path}/friend").status_code == 204
    assert api.call("PUT", f"{path}/sharer", json={"member": {"can_share": True}}).status_code == 204
    assert members(api, image) == {"friend": False, "sharer": True}
    assert names(api, project="friend") == ["one"]
    assert api.call("GET", "/v1/shared-images/friend").json == {
        "shared_images": [{"image_id": image, "can_share": False}]
    }
    assert api.call("GET", "/v1/shared-images/friend", project="third").json == {"shared_images": []}
    # A member that may share acts as the owner, any other one learns nothing.
    assert api.call("PUT", f"{path}/third", project="friend").status_code == 404
    assert api.call("DELETE", f"{path}/sharer", project="friend").status_code == 404
    assert api.call("PUT", f"{path}/third", project="sharer").status_code == 204
    assert members(api, image, project="sharer") == {"friend": False, "sharer": True, "third": False}
    assert api.call("DELETE", f"{path}/third", project="sharer").status_code == 204
    rows = [{"member_id": "sharer"}, {"member_id": "new", "can_share": False}]
    assert api.call("PUT", path, json={"memberships": rows}).status_code == 204
    assert members(api, image) == {"sharer": True, "new": False}
    assert api.call("DELETE", f"{path}/friend").status_code == 404
    for body in ({}, {"memberships": [{}]}, {"memberships": [{"member_id": "x", "can_share": 1}]}):
        assert api.call("PUT", path, json=body).status_code == 400
    assert api.call("PUT", f"{path}/x", json={"member": 1}).status_code == 400
    assert api.call("GET", f"{path}/sharer").status_code == 405
    assert api.call("PUT", f"{path}/x", project="stranger").status_code == 404
    assert api.call("PUT", f"{path}/x", project=None).status_code == 401
    assert api.call("DELETE", f"/v1/images/{image}").status_code == 200
    assert api.call("PUT", f"{path}/x").status_code == 404


def test_member_quota(make_api):
    api = make_api(image_member_quota=1)
    path = f"/v1/images/{create(api)['id']}/members"
    assert api.call("PUT", f"{path}/a").status_code == 204
    assert api.call("PUT", f"{path}/a").status_code == 204
    assert api.call("PUT", f"{path}/b").status_code == 413
    assert api.call("PUT", path, json={"memberships": [{"member_id": "b"}]}).status_code == 204
    assert api.call("PUT", path, json={"memberships": [{"member_id": x} for x in "bc"]}).status_code == 413
    assert api.call("GET", path).json["members"] == [{"member_id": "b", "can_share": False}]


def test_s59_very_many_members(make_api):
    rows = [{"member_id": f"project-{number}", "can_share": bool(number % 2)} for number in range(20_000)]
    limited = make_api()
    path = f"/v1/images/{create(limited)['id']}/members"
    refused = limited.call("PUT", path, json={"memberships": rows})
    assert refused.status_code == 413
    assert limited.call("GET", path).json["members"] == []
    unlimited = make_api(image_member_quota=-1, registry_client_timeout=120)
    assert unlimited.call("PUT", path, json={"memberships": rows}).status_code == 204
    assert members(unlimited, path.split("/")[3]) == {row["member_id"]: row["can_share"] for row in rows}


def test_s43_the_marker_of_anothers_image_is_as_unknown_as_any(api):
    hidden = create(api, project="other")["id"]
    unknown = hidden[::-1].replace("-", "")[:32]
    unknown = "-".join((unknown[:8], unknown[8:12], unknown[12:16], unknown[16:20], unknown[20:]))
    said = [api.call("GET", f"/v1/images?marker={marker}") for marker in (hidden, unknown)]
    assert [answer.status_code for answer in said] == [400, 400]
    assert said[0].text.replace(hidden, "") == said[1].text.replace(unknown, "")


def test_dat11_policy_that_looks_at_the_image_leaves_none_behind(make_api, tmp_path):
    (tmp_path / "policy.yaml").write_text("upload_image: \"not 'shared':%(visibility)s\"")
    api = make_api(oslo_policy__policy_file=str(tmp_path / "policy.yaml"))
    create(api, 403, data=DATA)
    assert api.call("GET", "/v2/images?status=queued").json["images"] == []


def test_the_root_lists_images_with_and_without_a_slash(api):
    create(api)
    for path in ("/v1", "/v1/"):
        assert [image["name"] for image in api.call("GET", path).json["images"]] == ["one"]


def test_ver05_switched_off(make_api):
    api = make_api(enable_v1_api=False)
    assert api.call("GET", "/v1/images").status_code == 300
    on = make_api()
    assert on.call("GET", "/v1.1/images").json == {"images": []}
    accept = {"Accept": "application/vnd.openstack.images-v1"}
    assert on.call("GET", "/images", headers=accept).json == {"images": []}
