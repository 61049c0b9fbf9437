"""Downloads through the nginx of ``deploy/nginx``, which sends files itself, and what a part of an image costs."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from tests.e2e.calls import MIB, OCTETS, Caller
from tests.servers.nginx import Nginx
from tests.support.daemons import Services
from tests.support.raw_data import random_bytes
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(900)

ORIGIN = "https://horizon.example.com"
DATA = random_bytes(300_000)
LARGE = random_bytes(48 * MIB)
OWN = {"date", "server", "connection", "keep-alive", "x-openstack-request-id"}
"""Headers that differ from answer to answer, or belong to a connection."""


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the stores' directories: two of one store, one of another, and one that nginx takes for it."""
    folder = tmp_path_factory.mktemp("places")
    for name in ("first", "second", "other", "wrong"):
        (folder / name).mkdir()
    return folder


@pytest.fixture(scope="module")
def services(deploy: Callable[..., Services], places: Path) -> Services:
    """Two file stores, all of whose directories nginx is to show."""
    shown = ", ".join(f"{places}/{name}:/_images/{name}" for name in ("first", "second", "other"))
    stores: dict[str, dict[str, object]] = {
        "DEFAULT": {"enabled_backends": "fast:file,slow:file"},
        "glance_store": {"default_backend": "fast"},
        "fast": {"filesystem_store_datadirs": [f"{places}/first:10", f"{places}/second:1"]},
        "slow": {"filesystem_store_datadir": f"{places}/other"},
    }
    own = {
        "DEFAULT": {"x_accel_redirect": shown},
        "cors": {"allowed_origin": ORIGIN},
        "oslo_middleware": {"enable_proxy_headers_parsing": True},
    }
    return deploy(shared=stores, api=own)


@pytest.fixture(scope="module")
def nginx(services: Services, places: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    """nginx in front; of the other store it knows a wrong directory."""
    directories = {"/_images/first": places / "first", "/_images/second": places / "second",
                   "/_images/other": places / "wrong"}
    server = Nginx(tmp_path_factory.mktemp("nginx"), services.api.port, directories)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def direct(services: Services) -> Caller:
    """A reader that comes past nginx."""
    return Caller(services.api.url, {"Accept-Encoding": "identity"})


@pytest.fixture(scope="module")
def proxied(nginx: Nginx) -> Caller:
    """A reader that comes through nginx."""
    return Caller(nginx.url, {"Accept-Encoding": "identity"})


@pytest.fixture(scope="module")
def image(proxied: Caller) -> str:
    """An active image, uploaded through nginx in chunks."""
    made = str(proxied.create()["id"])
    proxied.upload(made, iter([DATA[:1000], DATA[1000:]]))
    return made


def sent_by_nginx(nginx: Nginx, image: str) -> list[str]:
    """Return the internal addresses under which nginx has sent the image, for an answer that was not an error."""
    # Its one process has written the line about an answer before it gives the next one.
    Caller(nginx.url).call("GET", "/healthcheck", 200)
    pattern = re.compile(rf"GET \S+ (/_images/\S+/{image}) 20[06] \d+ X-Accel-Redirect")
    found = (pattern.fullmatch(line) for line in nginx.served())
    return [line[1] for line in found if line]


@pytest.mark.parametrize(
    ("method", "headers", "by_nginx"),
    [
        ("GET", {}, True),
        ("GET", {"Origin": ORIGIN}, True),
        ("GET", {"Range": "bytes=0-0"}, True),
        ("GET", {"Range": "bytes=1000-"}, True),
        ("GET", {"Range": "bytes=-1000"}, True),
        ("GET", {"Range": "bytes=-999999999"}, True),
        ("GET", {"Range": "bytes=299999-999999999999999999"}, True),
        ("GET", {"If-None-Match": '"something else"'}, True),
        ("GET", {"Range": "bytes=299999-9999999999999999999999"}, False),
        ("GET", {"Range": "bytes = 5-9"}, False),
        ("GET", {"Content-Range": "bytes 5-9/*"}, False),
        ("GET", {"Range": "bytes=5-9", "If-Range": '"something else"'}, False),
        ("GET", {"If-Match": '"something else"'}, False),
        ("GET", {"If-Modified-Since": "Sat, 21 Nov 2099 00:00:00 GMT"}, False),
        ("GET", {"If-Unmodified-Since": "Sat, 21 Nov 1999 00:00:00 GMT"}, False),
        ("GET", {"If-None-Match": "*"}, False),
        ("GET", {"Range": "bytes=300000-"}, False),
        ("GET", {"Range": "bytes=0-1,3-4"}, False),
        ("HEAD", {}, False),
        ("HEAD", {"Range": "bytes=5-9"}, False),
    ],
)
def test_the_answer_is_the_same_with_and_without_a_proxy(
    direct: Caller, proxied: Caller, nginx: Nginx, image: str, method: str, headers: dict[str, str], by_nginx: bool
):
    path = f"/v2/images/{image}/file"
    before = len(sent_by_nginx(nginx, image))
    expected, answer = (caller.call(method, path, headers=headers) for caller in (direct, proxied))
    assert answer.status_code == expected.status_code
    # An error names the request it belongs to.
    assert answer.content == expected.content or answer.status_code >= 400
    told = [{k.lower(): v for k, v in each.headers.items() if k.lower() not in OWN} for each in (answer, expected)]
    assert told[0] == told[1]
    assert answer.headers["X-Openstack-Request-Id"].startswith("req-")
    assert (len(sent_by_nginx(nginx, image)) > before) == by_nginx


def test_a_reader_past_nginx_gets_the_data_even_though_nginx_would_send_them(direct: Caller, image: str):
    answer = direct.call("GET", f"/v2/images/{image}/file", 200)
    assert answer.content == DATA
    assert "X-Accel-Redirect" not in answer.headers


def test_every_directory_of_a_store_is_shown(proxied: Caller, nginx: Nginx, places: Path):
    image = proxied.uploaded(DATA)
    assert proxied.download(image) == DATA
    (places / "first" / image).rename(places / "second" / image)
    assert proxied.download(image) == DATA
    assert sent_by_nginx(nginx, image) == [f"/_images/first/{image}", f"/_images/second/{image}"]


@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=5-9"}])
def test_what_nginx_does_not_find_the_service_sends(
    proxied: Caller, nginx: Nginx, places: Path, headers: dict[str, str]
):
    made = str(proxied.create()["id"])
    proxied.upload(made, DATA, headers={"X-Image-Meta-Store": "slow"})
    assert (places / "other" / made).exists()
    answer = proxied.call("GET", f"/v2/images/{made}/file", headers=headers)
    assert (answer.status_code, answer.content) == ((206, DATA[5:10]) if headers else (200, DATA))
    assert sent_by_nginx(nginx, made) == []
    # Removed behind the service's back: it says so, and nginx no more than it.
    (places / "other" / made).unlink()
    assert proxied.call("GET", f"/v2/images/{made}/file", headers=headers).status_code == 503


def test_nobody_reaches_the_files_past_the_service(proxied: Caller, nginx: Nginx, image: str):
    for path in (f"/_images/first/{image}", "/_images/first/", "/_images/first/.glance-store",
                 f"/v2/images/../../_images/first/{image}", f"/%5fimages/first/{image}"):
        with proxied.begin("GET", path, {"X-Accel-Redirect": f"/_images/first/{image}"}) as wire:
            status, body = wire.answer()
        assert status in (300, 400, 404), f"{path}: as any path where nothing is"
        assert DATA[:100] not in body
    gone = proxied.uploaded(DATA)
    proxied.delete(gone)
    proxied.call("GET", f"/v2/images/{gone}/file", 404)
    assert sent_by_nginx(nginx, gone) == []


def test_an_image_that_is_deleted_while_nginx_sends_it_arrives_whole(proxied: Caller, nginx: Nginx, places: Path):
    image = proxied.uploaded(LARGE)
    with proxied.begin("GET", f"/v2/images/{image}/file", receive_buffer=65536) as wire:
        head = wire.read(2000)
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        proxied.delete(image)
        wait_for(lambda: not (places / "first" / image).exists(), "the file is removed")
        body = (head + wire.rest()).partition(b"\r\n\r\n")[2]
    assert hashlib.sha256(body).digest() == hashlib.sha256(LARGE).digest()
    wait_for(lambda: sent_by_nginx(nginx, image), "nginx's line about it")


def test_nginx_says_where_clients_are_and_believes_nobody(proxied: Caller, nginx: Nginx, services: Services):
    lies = {"X-Forwarded-Host": "evil.example.com", "X-Forwarded-Proto": "https", "X-Forwarded-Prefix": "/evil",
            "X-Forwarded-For": "192.0.2.66"}
    document = proxied.call("GET", "/versions", 200, headers=lies).json()
    assert document["versions"][0]["links"][0]["href"] == f"{nginx.url}/v2/"
    wait_for(lambda: "GET /versions 200" in services.api.log.read_text(), "the line about it")
    assert "192.0.2.66" not in services.api.log.read_text()


def test_clients_of_v1_come_through_nginx(proxied: Caller, nginx: Nginx):
    headers = {**OCTETS, "x-image-meta-name": "old", "x-image-meta-disk_format": "raw",
               "x-image-meta-container_format": "bare", "x-image-meta-property-note": "x" * 10_000}
    made = proxied.call("POST", "/v1/images", 201, headers=headers, data=DATA).json()["image"]
    answer = proxied.call("GET", f"/v1/images/{made['id']}", 200)
    assert answer.content == DATA
    assert answer.headers["x-image-meta-property-note"] == "x" * 10_000
    assert sent_by_nginx(nginx, made["id"]) == [], "nginx cannot know the names of all these headers"


def bytes_read(services: Services) -> int:
    """Return how many bytes the processes of glance-api have had the kernel read so far, sendfile included."""
    texts = (Path(f"/proc/{pid}/io").read_text() for pid in services.api.workers())
    return sum(int(text.split("rchar: ")[1].split()[0]) for text in texts)


def has_read(services: Services, least: int) -> bool:
    return bytes_read(services) >= least


def test_a_part_costs_what_it_carries(direct: Caller, proxied: Caller, services: Services):
    image = direct.uploaded(LARGE)
    part = {"Range": f"bytes={40 * MIB}-{41 * MIB - 1}"}
    for caller, most in ((direct, 2 * MIB), (proxied, MIB // 2)):
        before = bytes_read(services)
        assert caller.call("GET", f"/v2/images/{image}/file", 206, headers=part).content == LARGE[40 * MIB : 41 * MIB]
        if caller is direct:
            # The last bytes may be here before the kernel has counted them.
            least = before + MIB
            wait_for(partial(has_read, services, least), "the count of what sendfile reads")
        assert bytes_read(services) - before < most
