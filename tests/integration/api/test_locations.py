"""Locations through PATCH, as the original's clients send it (API section 7.1)."""

import json
from collections.abc import Iterator
from hashlib import md5, sha512
from typing import Any

import pytest
import sqlalchemy as sa
from tests.servers.web import Page, WebServer, web_server

from glance_registry.db.tables import locations as location_rows

PATCH = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
OLD_PATCH = {"Content-Type": "application/openstack-images-v2.0-json-patch"}
RAW = {"disk_format": "raw", "container_format": "bare"}
DATA = b"\x01bytes on a mirror"
DIGESTS = {"os_hash_algo": "sha512", "os_hash_value": sha512(DATA).hexdigest()}


@pytest.fixture
def mirror() -> Iterator[WebServer]:
    """A web server with three equal files."""
    with web_server() as server:
        server.pages = {f"/{name}": Page(DATA) for name in "abc"}
        server.pages["/empty"] = Page(b"")
        server.pages["/longer"] = Page(DATA + b"!")
        yield server


@pytest.fixture
def make(make_api, mirror):
    """Build an API whose users may edit locations on the mirror."""

    def build(**options: Any):
        return make_api(**{
            "show_multiple_locations": True,
            "show_image_direct_url": True,
            "glance_store__stores": "file,http",
            "import_filtering_opts__allowed_hosts": "[127.0.0.1]",
            "import_filtering_opts__allowed_ports": f"[{mirror.port}]",
            **options,
        })

    return build


@pytest.fixture
def open_api(make):
    """That API with the default of every other option."""
    return make()


def at(url: str, metadata: dict[str, Any] | None = None, **validation: str) -> dict[str, Any]:
    value: dict[str, Any] = {"url": url, "metadata": metadata or {}}
    return {**value, "validation_data": validation} if validation else value


def add(value: Any, position: object = "-") -> dict[str, Any]:
    return {"op": "add", "path": f"/locations/{position}", "value": value}


def replace(*values: Any) -> dict[str, Any]:
    return {"op": "replace", "path": "/locations", "value": list(values)}


def remove(position: object) -> dict[str, Any]:
    return {"op": "remove", "path": f"/locations/{position}"}


def patch(api: Any, image: str, *operations: Any, **caller: Any) -> Any:
    return api.call("PATCH", f"/v2/images/{image}", json=list(operations), headers=PATCH, **caller)


def registered(api: Any, *urls: str, **document: Any) -> str:
    """Return the id of an active image with its data at these URLs."""
    image = str(api.create(**{**RAW, **document})["id"])
    response = patch(api, image, replace(*(at(url) for url in urls)))
    assert response.status_code == 200, response.text
    return image


def urls_of(api: Any, image: str, **caller: Any) -> list[str]:
    return [location["url"] for location in api.call("GET", f"/v2/images/{image}", **caller).json["locations"]]


def test_the_first_location_makes_the_image_active(open_api, mirror):
    image = open_api.create()["id"]
    refused = patch(open_api, image, add(at(mirror.url("/a"))))
    assert (refused.status_code, "disk_format must be set" in refused.text) == (400, True)
    formats = [{"op": "replace", "path": f"/{name}", "value": value} for name, value in RAW.items()]
    given = at(mirror.url("/a"), {"rack": "4"}, **DIGESTS, checksum=md5(DATA).hexdigest())
    response = patch(open_api, image, *formats, add(given))
    assert response.status_code == 200, response.text
    shown = response.json
    assert (shown["status"], shown["size"], shown["os_hash_value"]) == ("active", len(DATA), DIGESTS["os_hash_value"])
    assert shown["checksum"] == md5(DATA).hexdigest()
    assert shown["locations"] == [{"url": mirror.url("/a"), "metadata": {"rack": "4"}}]
    assert shown["direct_url"] == mirror.url("/a")
    assert open_api.call("GET", f"/v2/images/{image}").json == shown


def test_locations_in_both_dialects(open_api, mirror):
    image = registered(open_api, mirror.url("/a"))
    old = [{"add": "/locations/0", "value": at(mirror.url("/b"))}]
    assert open_api.call("PATCH", f"/v2/images/{image}", json=old, headers=OLD_PATCH).status_code == 200
    assert urls_of(open_api, image) == [mirror.url("/b"), mirror.url("/a")]
    assert patch(open_api, image, add(at(mirror.url("/c")), 1)).status_code == 200
    assert urls_of(open_api, image) == [mirror.url(f"/{name}") for name in "bca"]


def test_a_request_is_done_whole_or_not_at_all(open_api, mirror):
    image = registered(open_api, mirror.url("/a"))
    name = {"op": "replace", "path": "/name", "value": "new"}
    assert patch(open_api, image, name, add(at(mirror.url("/absent")))).status_code == 400
    assert open_api.call("GET", f"/v2/images/{image}").json["name"] is None
    assert patch(open_api, image, name, add(at(mirror.url("/b")))).json["name"] == "new"
    assert urls_of(open_api, image) == [mirror.url("/a"), mirror.url("/b")]


def test_replace_changes_metadata_and_order_only(open_api, mirror):
    image = registered(open_api, mirror.url("/a"), mirror.url("/b"))
    swapped = patch(open_api, image, replace(at(mirror.url("/b"), {"x": "y"}), at(mirror.url("/a"))))
    assert swapped.json["locations"] == [at(mirror.url("/b"), {"x": "y"}), at(mirror.url("/a"))]
    for wrong in ([], [at(mirror.url("/a"))], [at(mirror.url("/a")), at(mirror.url("/c"))],
                  [at(mirror.url(f"/{name}")) for name in "abc"]):
        assert patch(open_api, image, replace(*wrong)).status_code == (403 if not wrong else 400)
    assert urls_of(open_api, image) == [mirror.url("/b"), mirror.url("/a")]


def test_s17_remove_needs_an_administrator_and_leaves_one(open_api, mirror, engine):
    image = registered(open_api, mirror.url("/a"), mirror.url("/b"))
    assert patch(open_api, image, remove(0)).status_code == 403
    assert patch(open_api, image, remove(0), roles="admin", project="ops").status_code == 200
    assert urls_of(open_api, image) == [mirror.url("/b")]
    assert patch(open_api, image, remove(0), roles="admin").status_code == 403
    assert patch(open_api, image, replace(), roles="admin").status_code == 403
    assert open_api.call("GET", f"/v2/images/{image}").json["status"] == "active"
    with engine.connect() as connection:
        rows = connection.execute(sa.select(location_rows).order_by(location_rows.c.position))
        assert [row.status for row in rows] == ["deleting", "active"]


@pytest.mark.parametrize("path", ["/locations", "/locations/0/url", "/locations/-1", "/locations/01", "/locations/9",
                                  "/locations/x"])
def test_positions_that_are_none(open_api, mirror, path):
    image = registered(open_api, mirror.url("/a"))
    for operation in ({"op": "add", "path": path, "value": at(mirror.url("/b"))}, {"op": "remove", "path": path}):
        assert patch(open_api, image, operation, roles="admin").status_code == 400
    assert patch(open_api, image, remove("-"), roles="admin").status_code == 400
    assert patch(open_api, image, {"op": "replace", "path": "/locations/0", "value": []}).status_code == 400


BAD_VALUES = {
    "no object": "x",
    "no metadata": {"url": "http://x/y"},
    "long url": {"url": "http://x/" + "y" * 255, "metadata": {}},
    "metadata of text": {"url": "http://x/y", "metadata": "z"},
    "much metadata": {"url": "http://x/y", "metadata": {"a": "b" * 70_000}},
    "half a validation": {"url": "http://x/y", "metadata": {}, "validation_data": {"os_hash_algo": "sha512"}},
}


@pytest.mark.parametrize("value", BAD_VALUES.values(), ids=BAD_VALUES)
def test_what_is_no_location(open_api, value):
    image = open_api.create(**RAW)["id"]
    assert patch(open_api, image, add(value)).status_code == 400
    assert patch(open_api, image, replace(value)).status_code == 400


def test_doubles_and_unequal_data(open_api, mirror):
    image = registered(open_api, mirror.url("/a"))
    assert patch(open_api, image, add(at(mirror.url("/a")))).status_code == 400
    assert patch(open_api, image, add(at(mirror.url("/a"), {"other": "metadata"}))).status_code == 200
    assert patch(open_api, image, add(at(mirror.url("/longer")))).status_code == 400
    queued = open_api.create(**RAW)["id"]
    assert patch(open_api, queued, replace(at(mirror.url("/a")), at(mirror.url("/longer")))).status_code == 400
    assert patch(open_api, queued, replace(at(mirror.url("/a")), at(mirror.url("/a")))).status_code == 400


def test_s09_s10_only_schemes_that_users_may_name(open_api):
    image = open_api.create(**RAW)["id"]
    for url in ("file:///etc/passwd", "FILE:///etc/passwd", "filesystem:///etc/passwd", "FileSystem:///x", " file:///x",
                "swift+config://ref/container/object", "rbd://image", "ftp://x/y", "/etc/passwd", "sealed:1:abcd", "x",
                "http:///", "http://[::1"):
        response = patch(open_api, image, add(at(url)))
        assert (response.status_code, url) == (400, url)
    assert open_api.call("GET", f"/v2/images/{image}").json["status"] == "queued"


def test_s32_the_url_filter_judges_locations(make, mirror):
    """And the answer is the same whether or not anything listens there (S-27)."""
    strict = make(import_filtering_opts__allowed_hosts="[mirror.example.org]")
    image = strict.create(**RAW)["id"]
    refused = patch(strict, image, add(at(mirror.url("/a"))))
    silent = patch(strict, image, add(at("http://127.0.0.1:1/a")))
    assert (refused.status_code, silent.status_code) == (400, 400)
    assert refused.json == silent.json
    assert mirror.seen == []


def test_s08_what_is_too_long_or_says_no_length(make, mirror):
    mirror.pages["/silent"] = Page(DATA, announce=False)
    api = make(image_size_cap=len(DATA) - 1)
    image = api.create(**RAW)["id"]
    assert patch(api, image, add(at(mirror.url("/a")))).status_code == 413
    for path in ("/empty", "/silent", "/absent"):
        assert patch(api, image, add(at(mirror.url(path)))).status_code == 400
    assert api.call("GET", f"/v2/images/{image}").json["status"] == "queued"


def test_location_quota(make, mirror):
    api = make(image_location_quota=2)
    image = registered(api, mirror.url("/a"), mirror.url("/b"))
    over = patch(api, image, add(at(mirror.url("/c"))))
    assert (over.status_code, "locations" in over.text) == (413, True)
    assert patch(api, image, replace(at(mirror.url("/b")), at(mirror.url("/a")))).status_code == 200
    assert patch(api, api.create(**RAW)["id"], replace(*(at(mirror.url(f"/{n}")) for n in "abc"))).status_code == 413


WRONG_DIGESTS = {
    "another algorithm": {"os_hash_algo": "sha256", "os_hash_value": "a" * 64},
    "no digits": {**DIGESTS, "os_hash_value": "z" * 128},
    "too short": {**DIGESTS, "os_hash_value": "ab"},
    "checksum of no digits": {**DIGESTS, "checksum": "z" * 32},
}


@pytest.mark.parametrize("wrong", WRONG_DIGESTS.values(), ids=WRONG_DIGESTS)
def test_validation_data_that_cannot_be(open_api, mirror, wrong):
    image = open_api.create(**RAW)["id"]
    assert patch(open_api, image, add(at(mirror.url("/a"), **wrong))).status_code == 409
    assert open_api.call("GET", f"/v2/images/{image}").json["os_hash_value"] is None


def test_validation_data_agree_or_conflict(open_api, mirror):
    image = open_api.create(**RAW)["id"]
    a, b = at(mirror.url("/a"), **DIGESTS), at(mirror.url("/b"), os_hash_algo="sha512", os_hash_value="a" * 128)
    assert patch(open_api, image, add(a), add(b)).status_code == 409
    assert patch(open_api, image, add(a)).status_code == 200
    assert patch(open_api, image, add(b)).status_code == 409
    assert patch(open_api, image, add(at(mirror.url("/b"), **DIGESTS))).status_code == 200
    late = registered(open_api, mirror.url("/a"))
    assert patch(open_api, late, add(at(mirror.url("/b"), **DIGESTS))).status_code == 409


def test_s24_no_other_data_for_an_image_with_digests(open_api, mirror):
    image = open_api.create(**RAW)["id"]
    upload = {"data": DATA, "headers": {"Content-Type": "application/octet-stream"}}
    assert open_api.call("PUT", f"/v2/images/{image}/file", **upload).status_code == 204
    assert patch(open_api, image, add(at(mirror.url("/a")))).status_code == 409
    assert patch(open_api, image, add(at(mirror.url("/a"), os_hash_algo="sha512", os_hash_value="a" * 128))
                 ).status_code == 409
    assert patch(open_api, image, replace(at(mirror.url("/a")))).status_code == 400
    assert patch(open_api, image, add(at(mirror.url("/longer"), **DIGESTS))).status_code == 400
    assert patch(open_api, image, add(at(mirror.url("/a"), **DIGESTS))).status_code == 200
    assert urls_of(open_api, image)[0].startswith("file://")


def test_who_may_edit(make, mirror, tmp_path):
    api = make()
    image = registered(api, mirror.url("/a"), visibility="community")
    assert patch(api, image, add(at(mirror.url("/b"))), project="stranger").status_code == 403
    private = registered(api, mirror.url("/a"), visibility="private")
    assert patch(api, private, add(at(mirror.url("/b"))), project="stranger").status_code == 404
    (tmp_path / "policy.yaml").write_text('"set_image_location": "rule:context_is_admin"\n')
    strict = make(oslo_policy__policy_file=tmp_path / "policy.yaml")
    assert patch(strict, image, add(at(mirror.url("/b")))).status_code == 403
    assert patch(strict, image, replace(at(mirror.url("/a"), {"x": "y"}))).status_code == 403
    assert patch(strict, image, add(at(mirror.url("/b"))), roles="admin").status_code == 200


def test_closed_unless_an_operator_opens_it(make, mirror):
    closed = make(show_multiple_locations=False)
    image = closed.create(**RAW)["id"]
    for operation in (add(at(mirror.url("/a"))), replace(at(mirror.url("/a"))), remove(0)):
        assert patch(closed, image, operation, roles="admin").status_code == 403
    assert "locations" not in closed.call("GET", f"/v2/images/{image}").json


def test_never_at_create(open_api, mirror):
    for roles in ("member,reader", "admin"):
        document = {**RAW, "locations": [at(mirror.url("/a"))]}
        assert open_api.call("POST", "/v2/images", json=document, roles=roles).status_code == 403


def test_s49_nothing_of_a_deactivated_image(open_api, mirror):
    image = registered(open_api, mirror.url("/a"), visibility="community")
    assert open_api.call("POST", f"/v2/images/{image}/actions/deactivate").status_code == 204
    for caller in ({}, {"project": "stranger"}):
        shown = open_api.call("GET", f"/v2/images/{image}", **caller).json
        assert (shown["locations"], "direct_url" in shown) == ([], False)
    assert urls_of(open_api, image, roles="admin") == [mirror.url("/a")]
    for roles in ("member,reader", "admin"):
        assert patch(open_api, image, add(at(mirror.url("/b"))), roles=roles).status_code == 409
        assert patch(open_api, image, replace(at(mirror.url("/a"))), roles=roles).status_code == 409
    assert patch(open_api, image, remove(0), roles="admin").status_code == 409


def test_locations_are_listed_to_whom_policy_allows_it(open_api, mirror):
    image = registered(open_api, mirror.url("/a"), visibility="community")
    assert urls_of(open_api, image) == [mirror.url("/a")]
    assert urls_of(open_api, image, project="stranger") == []
    queued = open_api.create()
    assert (queued["locations"], "direct_url" in queued) == ([], False)


def test_s02_credentials_of_a_location_are_used_and_never_shown(open_api, mirror, engine):
    url = mirror.url("/a").replace("//", "//user:secret@")
    image = open_api.create(**RAW)["id"]
    response = patch(open_api, image, add(at(url)))
    assert response.status_code == 200
    assert "secret" not in response.text
    assert urls_of(open_api, image) == [mirror.url("/a")]
    # What is shown may be sent back: the credentials stay.
    assert patch(open_api, image, replace(at(mirror.url("/a"), {"x": "y"}))).status_code == 200
    with engine.connect() as connection:
        assert connection.scalar(sa.select(location_rows.c.key)) == url


def test_s76_urls_are_encrypted_in_the_database(make, mirror, engine):
    api = make(metadata_encryption_key="k" * 32)
    url = mirror.url("/a").replace("//", "//user:secret@")
    image = registered(api, url)
    assert urls_of(api, image) == [mirror.url("/a")]
    with engine.connect() as connection:
        kept = connection.scalar(sa.select(location_rows.c.key))
    assert kept.startswith("sealed:1:")
    assert "127.0.0.1" not in kept
    assert b"".join(_download(api, image)) == DATA
    for other in (make(metadata_encryption_key="o" * 32), make()):
        assert urls_of(other, image) == []
        assert other.call("GET", f"/v2/images/{image}/file").status_code == 503
    plain = registered(make(), mirror.url("/b"))
    assert urls_of(api, plain) == [mirror.url("/b")]


def _download(api: Any, image: str) -> list[bytes]:
    response = api.call("GET", f"/v2/images/{image}/file")
    assert response.status_code == 200, response.text
    return [response.data]


def test_services_fetch_locations(make, mirror):
    """Whatever the options show to others (API section 16)."""
    api = make(show_multiple_locations=False, show_image_direct_url=False)
    image = registered(make(), mirror.url("/a"))
    path = f"/v2/images/{image}/locations"
    assert api.call("GET", path).status_code == 403
    assert api.call("GET", path, project="stranger").status_code == 404
    for roles in ("service", "admin"):
        found = api.call("GET", path, roles=roles)
        assert (found.status_code, found.json) == (200, [{"url": mirror.url("/a"), "metadata": {}}])
    absent = path.replace(image, "11111111-1111-4111-8111-111111111111")
    assert api.call("GET", absent, roles="admin").status_code == 404
    assert api.call("POST", f"/v2/images/{image}/actions/deactivate").status_code == 204
    assert api.call("GET", path, roles="service").json == []
    assert api.call("GET", path, roles="admin").json != []


def test_loc06_the_store_describes_its_mount(make, tmp_path):
    description = {"id": "nfs-1", "mountpoint": str(tmp_path), "share_location": "nfs://filer/images", "type": "nfs"}
    (tmp_path / "mounts.json").write_text(json.dumps([{"id": "other", "mountpoint": "/elsewhere"}, description]))
    api = make(glance_store__filesystem_store_metadata_file=tmp_path / "mounts.json")
    image = api.create(**RAW)["id"]
    upload = {"data": DATA, "headers": {"Content-Type": "application/octet-stream"}}
    assert api.call("PUT", f"/v2/images/{image}/file", **upload).status_code == 204
    (place,) = api.call("GET", f"/v2/images/{image}").json["locations"]
    assert place == {"url": f"file://{tmp_path}/images/{image}", "metadata": description}
