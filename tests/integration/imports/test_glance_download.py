"""glance-download from a server that speaks the image API (IMP-05, S-22; API section 11.2)."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.servers.web import Page, WebServer, web_server

from glance_api.imports.contract import ImportFailed, ImportSource
from glance_api.imports.sources import glance_download
from glance_api.imports.sources.glance_download import DownloadRules, Remote, find_endpoint
from glance_common.model.errors import TooLarge

IMAGE = "8a8c1f6e-7a0c-4c0a-9a4f-0f6a1f1f1f1f"
DATA = b"the bytes of the remote image" * 1000
RULES = DownloadRules(cap=1 << 20, prefixes=("hw_", "trait:", "os_distro", "os_"))


@pytest.fixture
def server() -> Iterator[WebServer]:
    with web_server() as found:
        yield found


def record(**changes: Any) -> dict[str, Any]:
    return {
        "id": IMAGE, "status": "active", "size": len(DATA), "disk_format": "qcow2", "container_format": "bare",
        "name": "remote", "hw_disk_bus": "scsi", "trait:CUSTOM_X": "required", "os_distro": "debian", "private": "no",
        "os_hash_algo": "sha512", "os_hash_value": hashlib.sha512(DATA).hexdigest(), "os_glance_stage_host": "x",
        "os_hidden": False, "owner": "someone", **changes,
    }


def serve(server: WebServer, data: Page | None = None, base: str = "", **changes: Any) -> None:
    server.pages[f"{base}/v2/images/{IMAGE}"] = Page(json.dumps(record(**changes)).encode())
    server.pages[f"{base}/v2/images/{IMAGE}/file"] = data or Page(DATA)


def download(server: WebServer, endpoint: str = "", rules: DownloadRules = RULES) -> tuple[bytes, ImportSource]:
    remote = Remote(endpoint or server.url(""), "the-token")
    with glance_download.open_source(remote, IMAGE, rules) as source:
        return b"".join(source.pieces), source


@pytest.mark.parametrize("base", ["", "/image", "/image/v2/"])
def test_data_formats_and_chosen_properties_are_copied(server: WebServer, base: str):
    serve(server, base=base.removesuffix("/v2/"))
    data, source = download(server, server.url(base))
    assert data == DATA
    assert source.announced == len(DATA)
    assert (source.facts.disk_format, source.facts.container_format) == ("qcow2", "bare")
    assert source.facts.properties == {"hw_disk_bus": "scsi", "trait:CUSTOM_X": "required", "os_distro": "debian"}
    assert [headers["X-Auth-Token"] for _, _, headers in server.seen] == ["the-token"] * 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"status": "queued"}, "not active"),
        ({"status": "deactivated"}, "not active"),
        ({"size": None}, "no size"),
        ({"size": True}, "no size"),
        ({"size": -1}, "no size"),
        ({"disk_format": None}, "no disk_format"),
        ({"size": len(DATA) + 1}, "29000"),
        ({"size": len(DATA) - 1}, "29000"),
        ({"os_hash_value": "0" * 128}, "not those that the remote"),
    ],
)
def test_a_remote_image_that_is_not_what_it_says_is_refused(server: WebServer, changes: dict[str, Any], message: str):
    serve(server, **changes)
    with pytest.raises(ImportFailed, match=message):
        download(server)


@pytest.mark.parametrize("page", [Page(DATA, cut=9000), Page(DATA, cut=9000, chunked=True),
                                  Page(DATA[:9000], chunked=True), Page(DATA + b"x", chunked=True)])
def test_s61_more_or_fewer_bytes_than_the_record_says_fail(server: WebServer, page: Page):
    serve(server, page, os_hash_algo=None)
    with pytest.raises(ImportFailed):
        download(server)


def test_a_remote_image_larger_than_the_cap_is_not_fetched(server: WebServer):
    serve(server)
    with pytest.raises(TooLarge, match="image_size_cap is 100 bytes"):
        download(server, rules=DownloadRules(cap=100, prefixes=()))
    assert len(server.seen) == 1


@pytest.mark.parametrize("where", ["", "/file"])
def test_s22_redirects_are_refused_and_the_token_goes_nowhere_else(server: WebServer, where: str):
    serve(server)
    with web_server() as other:
        other.pages["/x"] = Page(json.dumps(record()).encode())
        moved = Page(status=302, headers={"Location": other.url("/x")})
        server.pages[f"/v2/images/{IMAGE}{where}"] = moved
        with pytest.raises(ImportFailed, match=r"302 \(a redirect, which is not followed\)"):
            download(server)
        assert other.seen == []


@pytest.mark.parametrize("status", [204, 401, 403, 404, 500])
@pytest.mark.parametrize("where", ["", "/file"])
def test_the_remote_says_no(server: WebServer, status: int, where: str):
    serve(server)
    server.pages[f"/v2/images/{IMAGE}{where}"] = Page(status=status)
    with pytest.raises(ImportFailed, match=f"answered {status}"):
        download(server)


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b'"x"', b"[" * 100000])
def test_a_document_that_is_none(server: WebServer, text: bytes):
    server.pages[f"/v2/images/{IMAGE}"] = Page(text)
    with pytest.raises(ImportFailed, match="no image document"):
        download(server)


def test_a_document_without_end(server: WebServer):
    server.pages[f"/v2/images/{IMAGE}"] = Page(b" " * (5 << 20), announce=False)
    with pytest.raises(ImportFailed, match="document of more than 4194304 bytes"):
        download(server)


@pytest.mark.parametrize(
    "endpoint", ["http://127.0.0.1:1", "ftp://example.org", "", "http://", "http://[::1", "http://x y/"]
)
def test_an_endpoint_that_does_not_answer_or_is_none(endpoint: str):
    with (
        pytest.raises(ImportFailed, match="remote image service"),
        glance_download.open_source(Remote(endpoint, "the-token"), IMAGE, RULES),
    ):
        pass


def test_s53_the_token_is_not_shown():
    assert "the-token" not in repr(Remote("http://example.org", "the-token"))


def test_the_endpoint_comes_from_the_catalog():
    by_url = {"type": "image", "endpoints": [
        {"region": "one", "publicURL": "http://one/", "internalURL": "http://one-inside/"},
        {"region": "two", "publicURL": "http://two/"},
    ]}
    by_interface = {"type": "image", "endpoints": [
        {"region_id": "three", "interface": "admin", "url": "http://three-admin/"},
        {"region_id": "three", "interface": "public", "url": "http://three/"},
    ]}
    other = {"type": "compute", "endpoints": [{"region": "four", "publicURL": "http://compute/"}]}
    catalog = json.dumps([other, by_url, by_interface, "nonsense", {"type": "image", "endpoints": None}])
    assert find_endpoint(catalog, "two") == "http://two/"
    assert find_endpoint(catalog, "one", "internal") == "http://one-inside/"
    assert find_endpoint(catalog, "three") == "http://three/"
    assert find_endpoint(catalog, "three", "admin") == "http://three-admin/"
    for region, interface in (("four", "public"), ("two", "admin"), ("five", "public"), ("", "public")):
        with pytest.raises(ImportFailed, match="glance_region"):
            find_endpoint(catalog, region, interface)
    for nothing in (None, "", "[]", "{}"):
        with pytest.raises(ImportFailed, match="glance_region"):
            find_endpoint(nothing, "one")
    with pytest.raises(ImportFailed, match="glance_service_interface"):
        find_endpoint(catalog, "one", "secret")
