"""The location API for services, from the request to the digests that a worker computes (API section 16)."""

import threading
from collections.abc import Iterator
from hashlib import md5, sha256, sha512
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from tests.integration.api.imports_kit import Node, options, working
from tests.servers.web import Page, WebServer, web_server
from tests.support.waiting import wait_for

from glance_registry.db.tables import locations as location_rows

DATA = b"\x01" + b"bytes on a mirror" * 1000
HASH = sha512(DATA).hexdigest()
SHA512 = {"os_hash_algo": "sha512", "os_hash_value": HASH}
WRONG = {"os_hash_algo": "sha512", "os_hash_value": "a" * 128}


@pytest.fixture
def mirror() -> Iterator[WebServer]:
    """A web server with one file."""
    with web_server() as server:
        server.pages["/a"] = Page(DATA)
        yield server


@pytest.fixture
def make_node(make_api, tmp_path: Path, mirror: WebServer):
    """A function that makes an API with an http store and some options changed; its workers do not run yet."""

    def make(**changed: Any) -> Node:
        base = {**options(tmp_path, mirror), "enabled_backends": "fast:file,slow:file,web:http"}
        return Node(make_api(**{**base, **changed}), tmp_path)

    return make


@pytest.fixture
def node(make_node) -> Node:
    """That API with the default of every other option."""
    return make_node()


def register(node: Node, image: str, url: str, validation: Any = None, expected: int = 202, **caller: Any) -> Any:
    body = {"url": url} if validation is None else {"url": url, "validation_data": validation}
    return node.call("POST", f"/v2/images/{image}/locations", expected, json=body, **caller)


def statuses(engine: sa.Engine, image: str) -> list[str]:
    with engine.connect() as connection:
        select = sa.select(location_rows.c.status).where(location_rows.c.image_id == image)
        return list(connection.scalars(select.order_by(location_rows.c.position)))


def test_loc04_with_validation_data_the_image_waits_for_its_digest(node, mirror):
    image = node.create()
    assert register(node, image, mirror.url("/a"), SHA512).data == b""
    waiting = node.show(image)
    assert (waiting["status"], waiting["os_hash_algo"], waiting["os_hash_value"]) == ("importing", "sha512", None)
    assert node.call("GET", f"/v2/images/{image}/file", 204).data == b""
    task = node.task(image)
    assert (task["type"], task["status"]) == ("location_import", "pending")
    assert waiting["os_glance_import_task"] == task["id"]
    with working(node):
        assert node.finished(image)["status"] == "success"
    shown = node.show(image)
    assert (shown["status"], shown["size"], shown["os_hash_value"]) == ("active", len(DATA), HASH)
    assert (shown["checksum"], shown["virtual_size"]) == (md5(DATA).hexdigest(), len(DATA))
    assert "os_glance_import_task" not in shown
    assert node.data(image) == DATA


def test_loc04_another_digest_is_refused(node, mirror, engine):
    image = node.create()
    register(node, image, mirror.url("/a"), WRONG)
    with working(node):
        task = node.finished(image)
    assert task["status"] == "failure"
    assert "digest" in task["message"]
    shown = node.show(image)
    assert (shown["status"], shown["size"], shown["os_hash_algo"], shown["os_hash_value"]) == ("queued", *[None] * 3)
    assert statuses(engine, image) == ["deleting"]
    register(node, image, mirror.url("/a"), SHA512)


@pytest.mark.parametrize(("option", "checksum"), [("true", md5(DATA).hexdigest()), ("false", None)])
def test_loc04_without_validation_data_the_digests_follow(make_node, mirror, option, checksum):
    node = make_node(compute_checksum=option)
    image = node.create()
    register(node, image, mirror.url("/a"))
    shown = node.show(image)
    assert (shown["status"], shown["size"], shown["os_hash_value"]) == ("active", len(DATA), None)
    assert (shown["os_hash_algo"], shown["checksum"]) == ("sha512", None)
    assert node.data(image) == DATA
    with working(node):
        assert node.finished(image)["status"] == "success"
    shown = node.show(image)
    assert (shown["os_hash_algo"], shown["os_hash_value"], shown["checksum"]) == ("sha512", HASH, checksum)


@pytest.mark.parametrize("answers", [2, 3])
def test_loc04_reads_are_tried_again(make_node, mirror, answers):
    """``http_retries`` times; what fails afterwards takes nothing from an image that is active."""
    node = make_node(http_retries=2)
    image = node.create()
    register(node, image, mirror.url("/a"))
    inner = node.api.services.stores.get("web").inner.inner.inner
    broken = iter([True] * (answers - 1))
    honest = inner.open

    def cut_off(*arguments: Any) -> Any:
        mirror.pages["/a"].cut = 100 if next(broken, False) else None
        return honest(*arguments)

    inner.open = cut_off
    with working(node):
        assert node.finished(image)["status"] == ("success" if answers == 2 else "failure")
    shown = node.show(image)
    assert (shown["status"], shown["os_hash_value"]) == ("active", HASH if answers == 2 else None)
    assert shown["os_hash_algo"] == ("sha512" if answers == 2 else None)


def test_loc04_another_algorithm_than_the_configured_one(make_node, mirror):
    """The algorithm is told at once, and is kept when the worker is configured otherwise."""
    node = make_node(hashing_algorithm="sha256")
    waiting, active = node.create(), node.create()
    register(node, waiting, mirror.url("/a"), SHA512)
    register(node, active, mirror.url("/a"))
    assert [node.show(image)["os_hash_algo"] for image in (waiting, active)] == ["sha512", "sha256"]
    other = make_node(hashing_algorithm="sha1")
    with working(other):
        assert [other.finished(image)["status"] for image in (waiting, active)] == ["success", "success"]
    shown = [(node.show(image)["os_hash_algo"], node.show(image)["os_hash_value"]) for image in (waiting, active)]
    assert shown == [("sha512", HASH), ("sha256", sha256(DATA).hexdigest())]


def test_loc04_without_secure_hash_the_caller_is_believed(make_node, mirror):
    node = make_node(do_secure_hash="false")
    for validation, expected in ((WRONG, "a" * 128), (None, None), ({}, None)):
        image = node.create()
        register(node, image, mirror.url("/a"), validation)
        shown = node.show(image)
        assert (shown["status"], shown["size"], shown["os_hash_value"]) == ("active", len(DATA), expected)
        assert shown["os_hash_algo"] == ("sha512" if expected else None)
        assert "os_glance_import_task" not in shown
        (task,) = node.call("GET", f"/v2/images/{image}/tasks", 200).json["tasks"]
        assert (task["type"], task["status"], task["message"]) == ("location_import", "success", "")
        assert (task["result"], task["input"]["loc_url"]) == ({"image_id": image}, mirror.url("/a"))
        assert task["expires_at"] > task["created_at"]
        # Nothing keeps the image from further work.
        node.call("DELETE", f"/v2/images/{image}", 204)


def test_s13_a_delete_ends_the_hashing(node, mirror, engine):
    image = node.create()
    register(node, image, mirror.url("/a"), SHA512)
    inner = node.api.services.stores.get("web").inner.inner.inner
    opened, go_on, honest = threading.Event(), threading.Event(), inner.open

    def wait(*arguments: Any) -> Any:
        opened.set()
        assert go_on.wait(60)
        return honest(*arguments)

    inner.open = wait
    with working(node):
        assert opened.wait(60)
        node.call("DELETE", f"/v2/images/{image}", 204)
        go_on.set()
        wait_for(lambda: not node.pool._free._value < node.pool._size)
    node.call("GET", f"/v2/images/{image}", 404)
    assert statuses(engine, image) == ["deleting"]


def test_s34_unsafe_data_never_become_active(node, mirror):
    mirror.pages["/a"] = Page(b"QFI\xfb" + b"\0\0\0\3" + b"\xff" * 1000)
    image = node.create(disk_format="qcow2")
    register(node, image, mirror.url("/a"), {"os_hash_algo": "md5", "os_hash_value": "0" * 32})
    with working(node):
        assert node.finished(image)["status"] == "failure"
    assert node.show(image)["status"] == "queued"


BAD_BODIES = {
    "no url": {},
    "empty url": {"url": ""},
    "long url": {"url": "http://x/" + "y" * 255},
    "something else": {"url": "http://x/y", "metadata": {}},
    "half": {"url": "http://x/y", "validation_data": {"os_hash_algo": "sha512"}},
    "checksum": {"url": "http://x/y", "validation_data": {**SHA512, "checksum": "0" * 32}},
    "algorithm": {"url": "http://x/y", "validation_data": {**SHA512, "os_hash_algo": "blake2b"}},
    "validation of text": {"url": "http://x/y", "validation_data": "sha512"},
}


@pytest.mark.parametrize("body", BAD_BODIES.values(), ids=BAD_BODIES)
def test_bodies_that_are_refused_before_the_image_is_looked_up(node, body):
    node.call("POST", "/v2/images/11111111-1111-4111-8111-111111111111/locations", 400, json=body)


def test_the_checks_and_their_order(node, mirror):
    good = mirror.url("/a")
    register(node, "11111111-1111-4111-8111-111111111111", good, expected=404)
    image = node.create(visibility="community")
    member = {"roles": "member,reader"}
    register(node, image, good, expected=403, project="stranger", **member)
    register(node, image, "rbd://image", expected=403, **member)
    register(node, image, "file:///etc/passwd", expected=403)
    for short in ("ab", "z" * 128):
        register(node, image, "http://absent.invalid/", {**SHA512, "os_hash_value": short}, expected=400)
    register(node, image, "http://absent.invalid/", expected=400, **member)
    register(node, image, good, expected=202, **member)
    register(node, image, good, expected=409)
    private = node.create(visibility="private")
    register(node, private, good, expected=404, project="stranger", **member)


def test_s09_services_name_no_local_files_either(node):
    image = node.create()
    for url in ("file:///etc/passwd", "filesystem:///etc/passwd", "swift+config://a/b/c"):
        register(node, image, url, expected=400, roles="service")


def test_an_image_needs_its_formats(node, mirror):
    for validation in (SHA512, None):
        image = node.call("POST", "/v2/images", 201, json={}).json["id"]
        refused = register(node, image, mirror.url("/a"), validation, expected=400)
        assert "disk_format" in refused.text
        assert node.show(image)["status"] == "queued"


def test_s02_no_credentials_in_tasks_or_answers(node, mirror):
    image = node.create()
    register(node, image, mirror.url("/a").replace("//", "//user:secret@"), SHA512)
    shown = node.call("GET", f"/v2/images/{image}/tasks", 200)
    assert shown.json["tasks"][0]["input"]["loc_url"] == mirror.url("/a")
    assert "secret" not in shown.text
    with working(node):
        assert node.finished(image)["status"] == "success"
    places = node.call("GET", f"/v2/images/{image}/locations", 200)
    assert places.json == [{"url": mirror.url("/a"), "metadata": {"store": "web"}}]
    heads = {name: value for _, _, headers in mirror.seen for name, value in headers.items()}
    assert heads["Authorization"].startswith("Basic ")


def test_the_quota_of_locations(make_node, mirror):
    node = make_node(image_location_quota=0)
    register(node, node.create(), mirror.url("/a"), expected=413)
