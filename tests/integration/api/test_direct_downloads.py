"""Clients that read at the store itself (option ``presigned_downloads_for``)."""

from dataclasses import replace

import pytest

from glance_common.stores.contract import StoreUnavailable
from glance_common.stores.drivers.file.driver import FileStore
from glance_common.stores.settings import StoreConfigError

DATA = b"\x01bytes"
OCTETS = {"Content-Type": "application/octet-stream"}


@pytest.fixture
def addresses(monkeypatch):
    """Let file stores make addresses; return what was asked for."""
    asked = []

    def presign(self, key: str, seconds: int) -> str:
        asked.append((self.id, key, seconds))
        return f"https://store.example/{key}?signature=SECRET"

    monkeypatch.setattr(FileStore, "capabilities", replace(FileStore.capabilities, presign=True))
    monkeypatch.setattr(FileStore, "presign", presign)
    return asked


@pytest.fixture
def node(make_node, addresses):
    return make_node(fast__presigned_downloads_for="10.0.0.0/8, 127.0.0.1", fast__presigned_download_seconds=20)


@pytest.fixture
def image(node):
    made = node.create()
    node.call("PUT", f"/v2/images/{made}/file", 204, data=DATA, headers=OCTETS)
    return made


def get(node, image, expected, client="127.0.0.1", method="GET", **how):
    base = {"REMOTE_ADDR": client}
    return node.call(method, f"/v2/images/{image}/file", expected, environ_base=base, **how)


def test_a_client_of_the_list_is_sent_to_the_store(node, image, addresses, caplog):
    caplog.set_level("INFO")
    answer = get(node, image, 302)
    assert answer.headers["Location"] == f"https://store.example/{image}?signature=SECRET"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.data == b""
    assert addresses == [("fast", image, 20)]
    assert "SECRET" not in caplog.text
    assert f"image {image} is read by 127.0.0.1 at store fast" in caplog.text
    assert get(node, image, 302, headers={"Range": "bytes=1-2"}).headers["Location"]
    assert get(node, image, 302, client="10.200.3.4").headers["Location"]


def test_other_clients_read_through_the_service(node, image, addresses):
    assert get(node, image, 200, client="192.0.2.7").data == DATA
    assert get(node, image, 200, client="::1").data == DATA
    assert addresses == []


def test_a_head_request_is_answered_here(node, image):
    assert get(node, image, 200, method="HEAD").headers["Content-Length"] == str(len(DATA))


def test_what_is_refused_is_refused_here(node, image, addresses):
    get(node, image, 416, headers={"Range": "bytes=100-"})
    get(node, image, 304, headers={"If-None-Match": get(node, image, 200, client="192.0.2.7").headers["ETag"]})
    node.call("POST", f"/v2/images/{image}/actions/deactivate", 204)
    get(node, image, 403, roles="member,reader")
    node.call("DELETE", f"/v2/images/{image}", 204)
    get(node, image, 404)
    get(node, node.create(), 204)
    assert addresses == []


def test_a_store_without_an_address_now_is_read_through_the_service(node, image, monkeypatch):
    def fail(self, key, seconds):
        raise StoreUnavailable("no clock")

    monkeypatch.setattr(FileStore, "presign", fail)
    assert get(node, image, 200).data == DATA


@pytest.mark.parametrize("networks", ["10.0.0.1/8", "everywhere", "10.0.0.0/8, 300.1.1.1"])
def test_networks_that_are_none_stop_the_start(make_node, addresses, networks):
    with pytest.raises(StoreConfigError, match="presigned_downloads_for"):
        make_node(fast__presigned_downloads_for=networks)


def test_a_store_that_makes_no_addresses_stops_the_start(make_node):
    with pytest.raises(StoreConfigError, match="stores of kind file have none"):
        make_node(fast__presigned_downloads_for="10.0.0.0/8")
