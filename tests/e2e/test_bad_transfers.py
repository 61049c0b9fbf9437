"""Uploads and downloads that go wrong: the right status, the image queued again, no byte and no row left."""

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.e2e.calls import MIB, OCTETS, Caller, Wire
from tests.e2e.leftovers import files, left_behind, rows
from tests.support.daemons import Services, WebDaemon
from tests.support.raw_data import random_bytes
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(900)

CAP = 16 * MIB
"""More than the kernel buffers for a client that does not read."""

STALL = 10
"""Seconds that an impatient API waits for the next byte of a client."""


@pytest.fixture(scope="module")
def services(deploy: Callable[..., Services]) -> Services:
    """The three daemons, with a small cap."""
    return deploy(api={"DEFAULT": {"image_size_cap": CAP}})


@pytest.fixture(scope="module")
def impatient(services: Services) -> WebDaemon:
    """One more API, with little patience."""
    api = services.new_api("impatient", {"DEFAULT": {"client_socket_timeout": STALL}})
    services.start(api)
    return api


@pytest.fixture(scope="module")
def caller(services: Services) -> Caller:
    """Anybody."""
    return Caller(services.api.url, {"Accept": "application/json"})


@pytest.fixture
def image(caller: Caller, services: Services) -> Iterator[str]:
    """A queued image that is queued again after the test, with nothing left of what was sent."""
    image = str(caller.create()["id"])
    log = services.api.log.read_text()
    yield image
    wait_for(lambda: not left_behind(services, image), "an image as it was before")
    assert "Traceback" not in services.api.log.read_text()[len(log) :]
    caller.upload(image, b"\x01now for good")
    assert caller.download(image) == b"\x01now for good"


def refused(answer: tuple[int, bytes], status: int, word: str) -> None:
    """Check status and text of an answer read from the wire."""
    assert answer[0] == status, answer
    assert word in answer[1].decode()


def test_more_than_the_size_header_says(caller: Caller, image: str):
    with caller.begin_upload(image, headers={"x-openstack-image-size": "10"}) as wire:
        wire.chunk(b"\x01" * 11)
        wire.chunk(b"")
        refused(wire.answer(), 400, "10 bytes that were announced")


def test_less_than_the_size_header_says(caller: Caller, image: str):
    with caller.begin_upload(image, headers={"x-openstack-image-size": "10"}) as wire:
        wire.chunk(b"\x01" * 9)
        wire.chunk(b"")
        refused(wire.answer(), 400, "10 were announced")


def test_two_announcements_that_differ(caller: Caller, image: str):
    answer = caller.upload(image, b"\x01" * 10, 400, headers={"x-openstack-image-size": "11"})
    assert "x-openstack-image-size" in answer.text


@pytest.mark.parametrize("size", ["x", "-1", "1.5", "0x10", ""])
def test_a_size_header_that_is_no_number(caller: Caller, image: str, size: str):
    assert "x-openstack-image-size" in caller.upload(image, b"\x01", 400, headers={"x-openstack-image-size": size}).text


def test_a_size_header_of_thousands_of_digits(caller: Caller, image: str):
    pieces = iter([b"\x01"])
    assert "image_size_cap" in caller.upload(image, pieces, 413, headers={"x-openstack-image-size": "9" * 5000}).text


@pytest.mark.parametrize("length", ["x", "-1", "9" * 5000, "1, 2"])
def test_a_content_length_that_is_no_number(caller: Caller, image: str, length: str):
    with caller.begin("PUT", f"/v2/images/{image}/file", {**OCTETS, "Content-Length": length}) as wire:
        wire.send(b"\x01" * 20)
        assert wire.answer()[0] in (400, 413)


def test_fewer_bytes_than_content_length(caller: Caller, image: str):
    with caller.begin_upload(image, length=2 * MIB) as wire:
        wire.send(random_bytes(MIB))
        wire.finish()
        refused(wire.answer(), 400, "incomplete")


def test_more_bytes_than_content_length(caller: Caller, services: Services):
    """What follows belongs to the next request, and is none."""
    image = caller.create()["id"]
    with caller.begin_upload(image, length=10) as wire:
        wire.send(b"\x01" * 20)
        assert wire.answer()[0] == 204
    assert caller.download(image) == b"\x01" * 10


def test_a_chunked_body_without_its_end(caller: Caller, image: str):
    with caller.begin_upload(image) as wire:
        wire.chunk(random_bytes(1000))
        wire.finish()
        refused(wire.answer(), 400, "incomplete")


def test_a_chunk_that_is_cut(caller: Caller, image: str):
    with caller.begin_upload(image) as wire:
        wire.send(b"3e8\r\n" + b"\x01" * 10)
        wire.finish()
        refused(wire.answer(), 400, "incomplete")


@pytest.mark.parametrize("chunk", [b"zz\r\nxx\r\n", b"-5\r\n", b"5\r\nabcdefgh\r\n"])
def test_chunks_that_are_none(caller: Caller, image: str, chunk: bytes):
    with caller.begin_upload(image) as wire:
        wire.chunk(b"\x01start")
        wire.send(chunk)
        wire.finish()
        assert wire.answer()[0] == 400


@pytest.mark.parametrize("length", [None, 2 * MIB], ids=["chunked", "announced"])
def test_s11_a_client_that_hangs_up(caller: Caller, services: Services, image: str, length: int | None):
    wire = caller.begin_upload(image, length=length)
    data = random_bytes(MIB)
    wire.chunk(data) if length is None else wire.send(data)
    wait_for(lambda: caller.show(image)["status"] == "saving", "the upload's begin")
    # A reset, as when a machine dies and comes back.
    wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    wire.sock.close()
    wait_for(lambda: not left_behind(services, image), "an image as it was before")


@pytest.mark.parametrize("length", [None, 2 * MIB], ids=["chunked", "announced"])
def test_a_client_that_stalls(impatient: WebDaemon, image: str, length: int | None):
    began = time.monotonic()
    with Caller(impatient.url).begin_upload(image, length=length) as wire:
        data = random_bytes(MIB)
        wire.chunk(data) if length is None else wire.send(data)
        assert wire.answer()[0] in (0, 408)
    assert STALL <= time.monotonic() - began < STALL + 40


@pytest.mark.parametrize("announced", [True, False])
def test_s08_the_cap_holds_for_announced_and_for_streamed_bytes(caller: Caller, image: str, announced: bool):
    data = random_bytes(CAP + 1)
    body = data if announced else iter([data[:MIB], data[MIB:]])
    assert "image_size_cap" in caller.upload(image, body, 413).text


def test_exactly_the_cap_is_accepted(caller: Caller):
    data = random_bytes(CAP)
    image = caller.uploaded(data)
    assert caller.download(image) == data


@pytest.mark.parametrize("kind", [None, "text/plain", "application/json"])
def test_a_body_of_another_type(caller: Caller, image: str, kind: str | None):
    headers = {} if kind is None else {"Content-Type": kind}
    answer = caller.call("PUT", f"/v2/images/{image}/file", 415, data=b"\x01x", headers=headers)
    assert "Content-Type" in answer.text


def test_formats_have_to_be_known_before_the_data(caller: Caller):
    image = caller.create(disk_format=None, container_format=None)["id"]
    text = caller.upload(image, b"\x01x", 400).text
    assert "disk_format" in text or "container_format" in text
    assert caller.show(image)["status"] == "queued"


def test_data_of_another_format(caller: Caller, services: Services, qcow2: Path, iso: Path, tmp_path: Path):
    for kind, data in (("qcow2", iso.read_bytes()), ("vmdk", qcow2.read_bytes()), ("iso", b"\x01" * 100_000)):
        image = caller.create(disk_format=kind)["id"]
        assert "disk_format" in caller.upload(image, data, 415).text
        assert not left_behind(services, image)


def test_s14_s21_a_qcow2_that_names_another_file(caller: Caller, services: Services, qcow2: Path, tmp_path: Path):
    overlay = tmp_path / "overlay.qcow2"
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", str(qcow2), str(overlay)], check=True
    )
    for kind in ("qcow2", "raw"):
        image = caller.create(disk_format=kind)["id"]
        caller.upload(image, overlay.read_bytes(), 415)
        assert not left_behind(services, image)


def test_s67_an_image_gets_data_once(caller: Caller, services: Services):
    image = caller.uploaded(b"\x01first")
    assert "active" in caller.upload(image, b"\x01second", 409).text
    assert caller.download(image) == b"\x01first"
    assert [name for name in files(services.images) if name.startswith(image)] == [image]


def test_s67_of_two_uploads_at_once_one_wins(caller: Caller, services: Services):
    image = caller.create()["id"]
    with caller.begin_upload(image, length=20) as first:
        first.send(b"\x01" * 10)
        wait_for(lambda: caller.show(image)["status"] == "saving", "the first upload's begin")
        caller.upload(image, b"\x02" * 20, 409)
        first.send(b"\x01" * 10)
        assert first.answer()[0] == 204
    assert caller.download(image) == b"\x01" * 20
    caller.delete(image)


def test_s11_an_image_deleted_during_its_upload(caller: Caller, services: Services):
    image = caller.create()["id"]
    with caller.begin_upload(image, length=2 * MIB) as wire:
        wire.send(random_bytes(MIB))
        wait_for(lambda: caller.show(image)["status"] == "saving", "the upload's begin")
        caller.delete(image)
        caller.call("GET", f"/v2/images/{image}", 404)
        wire.send(random_bytes(MIB))
        assert wire.answer()[0] == 410
    owned = "SELECT 1 FROM locations WHERE image_id = %s AND status <> 'deleted'"
    wait_for(lambda: not rows(services, owned, image), "the end of its data")
    assert not [name for name in files(services.images) if name.startswith(image)]


def test_uploads_to_nobody(caller: Caller):
    caller.upload("11111111-2222-3333-4444-555555555555", b"\x01", 404)


def test_s69_a_client_that_stops_reading_is_cut_and_others_are_served(caller: Caller, impatient: WebDaemon):
    data = random_bytes(CAP)
    image = caller.uploaded(data)
    path = f"/v2/images/{image}/file"
    with Caller(impatient.url).begin("GET", path, receive_buffer=65536) as wire:
        wire.read(1000)
        wait_for(lambda: f"GET {path} 200" in impatient.log.read_text(), "the line about an answer that is over")
        assert Caller(impatient.url).download(image) == data
        assert len(wire.rest()) < len(data) // 2


def test_a_client_that_leaves_a_download_disturbs_nobody(caller: Caller, services: Services):
    image = caller.uploaded(random_bytes(CAP))
    for _ in range(40):
        wire: Wire = caller.begin("GET", f"/v2/images/{image}/file")
        wire.read(1000)
        wire.sock.close()
    assert len(caller.download(image)) == CAP


def test_s69_a_stored_file_that_became_short_is_never_a_short_image(caller: Caller, services: Services):
    image = caller.uploaded(random_bytes(CAP))
    path = f"/v2/images/{image}/file"
    with caller.begin("GET", path, receive_buffer=65536) as wire:
        begin = wire.read(1000)
        os.truncate(services.images / image, CAP // 2)
        head, _, body = (begin + wire.rest()).partition(b"\r\n\r\n")
    assert f"content-length: {CAP}\r\n".encode() in head.lower() + b"\r\n"
    assert len(body) < CAP
    caller.call("GET", path, 503)
    # Also for a part that is there: the rest of the copy is not what it was.
    caller.call("GET", path, 503, headers={"Range": "bytes=0-1"})


def test_a_full_disk(deploy: Callable[..., Services], tmp_path: Path):
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(small)], check=True)
    try:
        services = deploy(shared={"glance_store": {"filesystem_store_datadir": small}})
        caller = Caller(services.api.url, {"Accept": "application/json"})
        image, data = caller.create()["id"], random_bytes(3 * MIB)
        for body in (data, iter([data[:MIB], data[MIB:]])):
            assert "space" in caller.upload(image, body, 413).text
            assert not left_behind(services, image)
            assert not files(small)
        caller.upload(image, data[:MIB])
        assert caller.download(image) == data[:MIB]
        services.stop()
    finally:
        subprocess.run(["umount", "--lazy", str(small)], check=True)
