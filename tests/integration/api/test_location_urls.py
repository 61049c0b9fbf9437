"""The URL of a location is kept and shown as it was given, whatever way it came in (API sections 7.1 and 16)."""

from collections.abc import Callable, Iterator
from hashlib import sha512
from typing import Any

import pytest
from tests.integration.api.imports_kit import Node, options, working
from tests.servers.web import Page, WebServer, web_server

PATCH = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
ADMIN = "admin,member,reader"
DATA = b"\x01bytes on a mirror"
DIGESTS = {"os_hash_algo": "sha512", "os_hash_value": sha512(DATA).hexdigest()}


@pytest.fixture
def mirror() -> Iterator[WebServer]:
    with web_server() as server:
        server.pages = {"/a": Page(DATA), "/a?x=y": Page(DATA)}
        yield server


@pytest.fixture
def node(make_api, tmp_path, mirror) -> Node:
    open_ones = {"enabled_backends": "fast:file,slow:file,web:http", "show_multiple_locations": True}
    allowed = {"show_image_direct_url": True, "import_filtering_opts__allowed_hosts": "[127.0.0.1,localhost]"}
    return Node(make_api(**{**options(tmp_path, mirror), **open_ones, **allowed}), tmp_path)


def by_v1(node: Node, url: str) -> str:
    headers = {
        "x-image-meta-name": "one", "x-image-meta-disk_format": "raw", "x-image-meta-container_format": "bare",
        "x-image-meta-location": url,
    }
    return str(node.call("POST", "/v1/images", 201, headers=headers).json["image"]["id"])


def by_v1_update(node: Node, url: str) -> str:
    image = node.create()
    node.call("PUT", f"/v1/images/{image}", 200, headers={"x-image-meta-location": url})
    return image


def add(node: Node, image: str, url: str, expected: int = 200, **validation: str) -> Any:
    value: dict[str, Any] = {"url": url, "metadata": {}}
    operation = {"op": "add", "path": "/locations/-", "value": {**value, "validation_data": validation}}
    if not validation:
        operation["value"] = value
    return node.call("PATCH", f"/v2/images/{image}", expected, json=[operation], headers=PATCH)


def replace(node: Node, image: str, *urls: str, expected: int = 200) -> Any:
    value = [{"url": url, "metadata": {}} for url in urls]
    operation = {"op": "replace", "path": "/locations", "value": value}
    return node.call("PATCH", f"/v2/images/{image}", expected, json=[operation], headers=PATCH)


def by_add(node: Node, url: str) -> str:
    image = node.create()
    add(node, image, url)
    return image


def by_replace(node: Node, url: str) -> str:
    image = node.create()
    replace(node, image, url)
    return image


def by_location_api(node: Node, url: str) -> str:
    image = node.create()
    node.call("POST", f"/v2/images/{image}/locations", 202, json={"url": url})
    assert node.task(image)["input"]["loc_url"] == url
    return image


WAYS: dict[str, Callable[[Node, str], str]] = {
    "v1 create": by_v1, "v1 update": by_v1_update, "PATCH add": by_add, "PATCH replace": by_replace,
    "location API": by_location_api,
}


def urls_of(node: Node, image: str) -> list[str]:
    return [location["url"] for location in node.show(image)["locations"]]


@pytest.mark.parametrize("way", WAYS)
def test_a_url_is_shown_as_it_was_given(node, mirror, way):
    base = mirror.url("/a")
    capitals = base.replace("http:", "HTTP:").replace("127.0.0.1", "LocalHost")
    for url in (f"{base}#new", f"{base}?", f"{base}?x=y#", capitals):
        image = WAYS[way](node, url)
        shown = node.show(image)
        assert (urls_of(node, image), shown["direct_url"]) == ([url], url)
        places = node.call("GET", f"/v2/images/{image}/locations", 200).json
        assert [place["url"] for place in places] == [url]
        assert node.data(image) == DATA
    assert {path.partition("?")[0] for _, path, _ in mirror.seen} == {"/a"}


def test_locations_that_differ_by_their_fragment_are_two(node, mirror):
    url = mirror.url("/a")
    image = by_add(node, url)
    add(node, image, f"{url}#new")
    assert urls_of(node, image) == [url, f"{url}#new"]
    add(node, image, f"{url}#new", expected=400)
    # All of them in another order are the same ones; one that has another fragment is not.
    replace(node, image, f"{url}#new", url)
    replace(node, image, f"{url}#new", f"{url}#other", expected=400)
    assert urls_of(node, image) == [f"{url}#new", url]


def test_other_digests_of_a_url_that_is_there_are_a_conflict(node, mirror):
    url = mirror.url("/a")
    image = node.create()
    add(node, image, url, **DIGESTS)
    for wrong in ({"os_hash_value": "a" * 128}, {"os_hash_algo": "sha256"}, {"checksum": "2" * 32}):
        for again in (url, f"{url}#new"):
            assert "validation_data" in add(node, image, again, 409, **{**DIGESTS, **wrong}).text
    add(node, image, url, 400, **DIGESTS)
    add(node, image, f"{url}#new", **DIGESTS)
    assert urls_of(node, image) == [url, f"{url}#new"]


FORBIDDEN = {
    "a port": "http://127.0.0.1:1/a",
    "a host": "http://absent.example.org/a",
    "a loopback address of another spelling": "http://2130706433/a",
    "no host": "http:///a",
    "a space": "http://127.0.0.1/a b",
}


def by_web_download(node: Node, url: str) -> Any:
    body = {"method": {"name": "web-download", "uri": url}}
    return node.api.call("POST", f"/v2/images/{node.create()}/import", json=body, roles=ADMIN)


def by_task(node: Node, url: str) -> Any:
    asked = {"import_from": url, "import_from_format": "raw", "image_properties": {}}
    return node.api.call("POST", "/v2/tasks", json={"type": "import", "input": asked}, roles=ADMIN)


def by_header(node: Node, name: str, url: str) -> Any:
    formats = {"x-image-meta-disk_format": "raw", "x-image-meta-container_format": "bare"}
    headers = {"x-image-meta-name": "one", **formats, name: url}
    return node.api.call("POST", "/v1/images", headers=headers, roles=ADMIN)


def asked_to_patch(node: Node, url: str) -> Any:
    operation = {"op": "add", "path": "/locations/-", "value": {"url": url, "metadata": {}}}
    return node.api.call("PATCH", f"/v2/images/{node.create()}", json=[operation], headers=PATCH, roles=ADMIN)


def asked_for_location(node: Node, url: str) -> Any:
    return node.api.call("POST", f"/v2/images/{node.create()}/locations", json={"url": url}, roles=ADMIN)


FIELDS: dict[str, Callable[[Node, str], Any]] = {
    "method.uri": by_web_download,
    "input.import_from": by_task,
    "x-glance-api-copy-from": lambda node, url: by_header(node, "x-glance-api-copy-from", url),
    "x-image-meta-location": lambda node, url: by_header(node, "x-image-meta-location", url),
    "url of PATCH": asked_to_patch,
    "url": asked_for_location,
}


@pytest.mark.parametrize("url", FORBIDDEN.values(), ids=FORBIDDEN)
@pytest.mark.parametrize("field", FIELDS)
def test_s22_s32_one_text_says_that_a_url_is_filtered(node, mirror, field, url):
    refused = FIELDS[field](node, url)
    assert refused.status_code == 400
    assert "the URL does not pass filtering: " in refused.text, refused.text
    assert mirror.seen == []


def test_s27_where_a_server_leads_is_not_told(node, mirror):
    """A redirect that is not allowed looks like a server that has nothing."""
    mirror.pages["/away"] = Page(status=302, headers={"Location": "http://absent.example.org/a"})
    for way in (asked_to_patch, asked_for_location):
        led, absent = way(node, mirror.url("/away")), way(node, mirror.url("/absent"))
        assert (led.status_code, led.text) == (400, absent.text)


def test_a_source_may_have_a_fragment(node, mirror):
    url = f"{mirror.url('/a')}#new"
    image = node.create()
    node.begin(image, "web-download", arguments={"uri": url})
    headers = {
        "x-image-meta-name": "one", "x-image-meta-disk_format": "raw", "x-image-meta-container_format": "bare",
        "x-glance-api-copy-from": url,
    }
    copied = node.call("POST", "/v1/images", 201, headers=headers).json["image"]["id"]
    with working(node):
        for each in (image, copied):
            task = node.finished(each)
            assert (task["status"], task["input"]["import_req"]["method"]["uri"]) == ("success", url)
            assert node.data(each) == DATA
    assert {path for _, path, _ in mirror.seen} == {"/a"}
