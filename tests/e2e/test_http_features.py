"""What HTTP offers around the API: validators, HEAD, a proxy in front, other origins, compressed documents."""

import hashlib
from collections.abc import Callable

import pytest
from tests.e2e.calls import PATCH, Caller
from tests.support.daemons import Services
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(900)

HORIZON = "https://horizon.example.com"
DATA = b"\x01" + bytes(range(256)) * 400


@pytest.fixture(scope="module")
def services(deploy: Callable[..., Services], tmp_path_factory: pytest.TempPathFactory) -> Services:
    """A file store and an http store; behind a proxy, open to one origin."""
    stores: dict[str, dict[str, object]] = {
        "DEFAULT": {"enabled_backends": "disks:file", "compress_documents": True},
        "glance_store": {"default_backend": "disks"},
        "disks": {"filesystem_store_datadir": tmp_path_factory.mktemp("disks")},
        "cors": {"allowed_origin": HORIZON},
        "oslo_middleware": {"enable_proxy_headers_parsing": True},
    }
    return deploy(api=stores, shared={k: stores[k] for k in ("glance_store", "disks")})


@pytest.fixture(scope="module")
def caller(services: Services) -> Caller:
    """A caller without a token."""
    return Caller(services.api.url, {"Accept-Encoding": "identity"})


@pytest.fixture(scope="module")
def image(caller: Caller) -> str:
    """An active image."""
    return caller.uploaded(DATA)


def test_a_document_that_the_client_has_is_not_sent_again(caller: Caller, image: str):
    path = f"/v2/images/{image}"
    tag = caller.call("GET", path, 200).headers["ETag"]
    again = caller.call("GET", path, 304, headers={"If-None-Match": f'"other", {tag}'})
    assert again.headers["ETag"] == tag
    assert again.content == b""
    caller.call("PATCH", path, 200, headers=PATCH, json=[{"op": "add", "path": "/note", "value": "new"}])
    changed = caller.call("GET", path, 200, headers={"If-None-Match": tag})
    assert changed.headers["ETag"] != tag
    assert changed.json()["note"] == "new"


def test_data_that_the_client_has_are_not_sent_again(caller: Caller, image: str):
    path = f"/v2/images/{image}/file"
    first = caller.call("GET", path, 200)
    tag = first.headers["ETag"]
    assert tag == f'"{hashlib.sha512(DATA).hexdigest()}"'
    assert caller.call("GET", path, 304, headers={"If-None-Match": tag}).content == b""
    assert caller.call("GET", path, 304, headers={"If-None-Match": "*"}).headers["ETag"] == tag
    assert caller.call("GET", path, 200, headers={"If-None-Match": '"something else"'}).content == DATA


def test_an_interrupted_download_goes_on_only_with_the_same_data(caller: Caller, image: str):
    path = f"/v2/images/{image}/file"
    tag = caller.call("HEAD", path, 200).headers["ETag"]
    rest = caller.call("GET", path, 206, headers={"Range": "bytes=1000-", "If-Range": tag})
    assert rest.content == DATA[1000:]
    for other in ('"another image"', f"W/{tag}", "Sat, 21 Nov 2026 00:00:00 GMT"):
        assert caller.call("GET", path, 200, headers={"Range": "bytes=1000-", "If-Range": other}).content == DATA


def test_head_tells_what_get_would_send(caller: Caller, image: str):
    path = f"/v2/images/{image}/file"
    for headers in ({}, {"Range": "bytes=5-9"}):
        head, get = (caller.call(method, path, headers=headers) for method in ("HEAD", "GET"))
        assert head.status_code == get.status_code
        assert head.content == b""
        own = {"Date", "x-openstack-request-id", "Connection"}
        assert {k: v for k, v in head.headers.items() if k not in own} == {
            k: v for k, v in get.headers.items() if k not in own
        }
    empty = caller.create()["id"]
    assert caller.call("HEAD", f"/v2/images/{empty}/file", 204).content == b""


def test_the_proxy_in_front_says_where_clients_are(caller: Caller, services: Services):
    headers = {
        "X-Forwarded-Proto": "https", "X-Forwarded-Host": "images.example.com", "X-Forwarded-Prefix": "/image",
        "X-Forwarded-For": "192.0.2.7",
    }
    document = caller.call("GET", "/versions", 200, headers=headers).json()
    assert document["versions"][0]["links"][0]["href"] == "https://images.example.com/image/v2/"
    wait_for(lambda: "192.0.2.7" in services.api.log.read_text(), "the line about it")
    made = caller.call("POST", "/v2/images", 201, headers=headers, json={"name": "behind"})
    assert made.headers["Location"] == f"/image/v2/images/{made.json()['id']}"
    told = {"Forwarded": 'for="[2001:db8::7]:4711";proto=https;host=front.example.com', "X-Forwarded-Prefix": "/image"}
    document = caller.call("GET", "/", 300, headers=told).json()
    assert document["versions"][0]["links"][0]["href"] == "https://front.example.com/image/v2/"
    wait_for(lambda: "2001:db8::7" in services.api.log.read_text(), "the line about it")
    # Without a prefix the path is that of the service, whatever layers are around it.
    plain = caller.call("POST", "/v2/images", 201, headers={"Origin": HORIZON}, json={"name": "plain"})
    assert plain.headers["Location"] == plain.json()["self"]


def test_s84_only_named_origins_are_answered(caller: Caller, image: str):
    sent = "X-Auth-Token, Content-Type, X-OpenStack-Image-Size, X-Image-Meta-Store, Range"
    ask = {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": sent}
    allowed = caller.call("OPTIONS", f"/v2/images/{image}", 200, headers={**ask, "Origin": HORIZON}).headers
    assert allowed["Access-Control-Allow-Origin"] == HORIZON
    assert "PUT" in allowed["Access-Control-Allow-Methods"]
    refused = caller.call("OPTIONS", f"/v2/images/{image}", headers={**ask, "Origin": "https://evil.example.com"})
    assert "Access-Control-Allow-Origin" not in refused.headers
    data = caller.call("GET", f"/v2/images/{image}/file", 200, headers={"Origin": HORIZON})
    assert data.headers["Access-Control-Allow-Origin"] == HORIZON
    assert "X-OpenStack-Request-ID" in data.headers["Access-Control-Expose-Headers"]
    assert data.content == DATA


def test_documents_are_compressed_for_those_who_accept_it(caller: Caller, image: str):
    caller.create(name="x" * 250, note="y" * 2000)
    plain = caller.call("GET", "/v2/images", 200)
    answer = caller.call("GET", "/v2/images", 200, headers={"Accept-Encoding": "gzip"})
    assert answer.headers["Content-Encoding"] == "gzip"
    assert int(answer.headers["Content-Length"]) < len(plain.content)
    assert answer.content == plain.content, "what comes out of the compressed document"
    assert "Accept-Encoding" in plain.headers["Vary"]
    data = caller.call("GET", f"/v2/images/{image}/file", 200, headers={"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in data.headers
    assert data.headers["Content-MD5"] == hashlib.md5(DATA).hexdigest()
