"""The image cache of a node with two worker processes: what clients get, how often the store is read, what is kept."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from hashlib import md5, sha512
from pathlib import Path
from typing import Any

import pytest
import requests
from tests.e2e.calls import MIB, Caller
from tests.e2e.leftovers import rows
from tests.servers.web import Page, WebServer
from tests.support.daemons import Services, WebDaemon
from tests.support.image_client import identity
from tests.support.observer import Seen, wait_until
from tests.support.raw_data import random_bytes
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(900)

DATA = random_bytes(6 * MIB + 1234)
HERD = 100
"""Clients: many more than both processes have threads."""
PATIENCE = 120.0
"""Seconds that a fill stands still here without its readers going on at the store: no test waits for their end."""
BRIEF = 3.0
"""The same, of the node where a test waits for it."""


@pytest.fixture(scope="module")
def services(
    deploy: Callable[..., Services], web: WebServer, tmp_path_factory: pytest.TempPathFactory
) -> Services:
    """A file store and an http store, and a cache that a proxy may send from."""
    node = tmp_path_factory.mktemp("node")
    return deploy(
        shared={
            "glance_store": {"stores": "file,http"},
            "import_filtering_opts": {"allowed_hosts": "[127.0.0.1]", "allowed_ports": f"[{web.port}]"},
        },
        api={
            "DEFAULT": {
                "image_cache_dir": node / "cache", "show_multiple_locations": "true", "image_cache_patience": PATIENCE,
                "x_accel_redirect": f"{node}/cache:/_cache",
            },
            "paste_deploy": {"flavor": "trusted-auth+cachemanagement"},
        },
    )


@pytest.fixture(scope="module")
def folder(services: Services) -> Path:
    """The directory of the cache."""
    return Path(str(services.api.options["DEFAULT"]["image_cache_dir"]))


@pytest.fixture(scope="module")
def caller(services: Services) -> Caller:
    """An administrator."""
    return Caller(services.api.url, {**identity("p" * 32, "admin,member,reader"), "Accept-Encoding": "identity"})


@pytest.fixture
def remote(caller: Caller, web: WebServer) -> Callable[..., tuple[str, Page]]:
    """A function that makes an image whose data lie on the web server; returns its id and the page."""

    def make(data: bytes = DATA, who: Caller = caller, **fields: Any) -> tuple[str, Page]:
        image = str(who.create(**fields)["id"])
        page = web.pages[f"/{image}"] = Page(data)
        digests = {"os_hash_algo": "sha512", "os_hash_value": sha512(data).hexdigest(),
                   "checksum": md5(data).hexdigest()}
        place = {"url": web.url(f"/{image}"), "metadata": {}, "validation_data": digests}
        caller.patch(image, {"op": "add", "path": "/locations/-", "value": place})
        wait_for(lambda: caller.show(image)["status"] == "active", "the image to become active")
        return image, page

    return make


def reads(web: WebServer, image: str) -> int:
    """Return how often the data were asked of the web server by a GET for more than their beginning."""
    return sum(method == "GET" and path == f"/{image}" for method, path, _ in web.seen)


def is_kept(folder: Path, image: str) -> bool:
    """Return whether the copy has its final name and no process works on it any more."""
    return (folder / image).exists() and not (folder / "incomplete" / image).exists()


class Download:
    """A download in a thread of its own."""

    def __init__(self, caller: Caller, image: str, path: str = "/v2/images/{}/file", **headers: str) -> None:
        self.status: int | None = None
        self.data = bytearray()
        self.broken = False
        self._url = caller.url + path.format(image)
        self._headers = {**caller.headers, **headers}
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            with requests.get(self._url, headers=self._headers, stream=True, timeout=120) as answer:
                self.status = answer.status_code
                for piece in answer.iter_content(64 * 1024):
                    self.data += piece
                self.broken = len(self.data) != int(answer.headers["Content-Length"])
        except requests.RequestException:
            self.broken = True

    def wait_for(self, size: int) -> Download:
        """Return when so many bytes have come."""
        wait_for(lambda: len(self.data) >= size or self.broken, f"{size} bytes")
        assert len(self.data) >= size, self.status
        return self

    def end(self) -> Download:
        """Return when it has ended."""
        self._thread.join(180)
        assert not self._thread.is_alive()
        return self


def test_a_herd_is_one_read_of_the_store(caller, web, remote, folder, services):
    image, page = remote()
    before, gate = reads(web, image), threading.Event()
    page.gate = gate
    herd = [Download(caller, image) for _ in range(HERD)]
    for download in herd:
        download.wait_for(2 * MIB)
    assert (folder / "incomplete" / image).exists()
    assert not (folder / image).exists()
    # None of the readers has a thread: all others are served as before.
    assert [caller.show(image)["status"] for _ in range(20)] == ["active"] * 20
    assert caller.download(str(caller.uploaded(b"another"))) == b"another"
    gate.set()
    assert [download.end().data == DATA for download in herd] == [True] * HERD
    assert reads(web, image) - before == 1
    wait_for(lambda: is_kept(folder, image), "the copy")
    assert caller.download(image) == DATA
    assert reads(web, image) - before == 1
    seen = Seen(services.api)
    assert seen.value("glance_cache_reads_total", outcome="follower") >= HERD - 1
    assert seen.value("glance_cache_reads_total", outcome="hit") >= 1
    assert seen.value("glance_cache_bytes_total", kind="filled") >= len(DATA)
    wait_for(lambda: seen.value("glance_cache_bytes_total", kind="copy") >= len(DATA), "the bytes of the hit")
    assert seen.value("glance_cache_images", kind="copy") >= 1


def test_more_hits_than_permits_are_sent_at_once(caller, web, remote, folder, services):
    image, _ = remote()
    caller.download(image)
    wait_for(lambda: is_kept(folder, image), "the copy")
    before = reads(web, image)
    with ExitStack() as stack:
        # They read slowly: what the kernel does not take waits in the service.
        wires = [
            stack.enter_context(caller.begin("GET", f"/v2/images/{image}/file", receive_buffer=16384))
            for _ in range(HERD)
        ]
        assert [wire.read(15) for wire in wires] == [b"HTTP/1.1 200 OK"] * HERD
        assert Seen(services.api).value("glance_transfers", state="cache") > 0
        assert caller.show(image)["status"] == "active"
        assert [wire.rest().endswith(DATA) for wire in wires] == [True] * HERD
    assert reads(web, image) == before
    wait_for(lambda: Seen(services.api).value("glance_transfers", state="cache") == 0, "the end of all")


def test_ranges_while_it_grows_and_the_starter_leaves(caller, web, remote, folder):
    image, page = remote()
    before, gate = reads(web, image), threading.Event()
    page.gate = gate
    with caller.begin("GET", f"/v2/images/{image}/file") as wire:
        assert b"200" in wire.read(2 * MIB)[:20]
    part = caller.call("GET", f"/v2/images/{image}/file", 206, headers={"Range": f"bytes=100-{MIB}"})
    assert part.content == DATA[100:MIB + 1]
    assert part.headers["Content-Range"] == f"bytes 100-{MIB}/{len(DATA)}"
    waiting = [Download(caller, image, Range=f"bytes={2 * MIB}-{5 * MIB}").wait_for(MIB // 2) for _ in range(6)]
    gate.set()
    assert [download.end().data == DATA[2 * MIB:5 * MIB + 1] for download in waiting] == [True] * 6
    wait_for(lambda: is_kept(folder, image), "the copy")
    assert reads(web, image) - before == 1


def test_s03_s05_a_hit_answers_as_a_miss_does(caller, web, remote, folder):
    image, _ = remote(x_owner_note="mine")
    path = f"/v2/images/{image}/file"
    miss = caller.call("GET", path, 200)
    miss_of_v1 = caller.call("GET", f"/v1/images/{image}", 200)
    wait_for(lambda: is_kept(folder, image), "the copy")
    before = reads(web, image)
    volatile = {"date", "x-openstack-request-id"}

    def shown(answer):
        return {name: value for name, value in answer.headers.items() if name.lower() not in volatile}

    hit = caller.call("GET", path, 200)
    assert (hit.content, shown(hit)) == (DATA, shown(miss))
    assert not any("location" in name.lower() for name in hit.headers)
    hit_of_v1 = caller.call("GET", f"/v1/images/{image}", 200)
    assert (hit_of_v1.content, shown(hit_of_v1)) == (DATA, shown(miss_of_v1))
    assert not any("location" in name.lower() for name in hit_of_v1.headers)
    assert shown(caller.call("HEAD", path, 200)) == shown(hit)
    assert caller.call("GET", path, 206, headers={"Range": "bytes=-10"}).content == DATA[-10:]
    caller.call("GET", path, 416, headers={"Range": f"bytes={len(DATA)}-"})
    assert caller.call("GET", path, 304, headers={"If-None-Match": hit.headers["ETag"]}).content == b""
    assert reads(web, image) == before


def test_s05_s49_others_and_deactivated_images(caller, services, remote, folder, web):
    owner, stranger = (Caller(services.api.url, identity(name * 32)) for name in "ab")
    image, _ = remote(who=owner)
    path = f"/v2/images/{image}/file"
    assert owner.download(image) == DATA
    wait_for(lambda: is_kept(folder, image), "the copy")
    for address in (path, f"/v1/images/{image}"):
        stranger.call("GET", address, 404)
        stranger.call("HEAD", address, 404)
    caller.call("POST", f"/v2/images/{image}/actions/deactivate", 204)
    owner.call("GET", path, 403)
    owner.call("GET", path, 403, headers={"Range": "bytes=0-9"})
    before = reads(web, image)
    assert caller.download(image) == DATA
    assert reads(web, image) == before + 1, "not from the cache"
    caller.call("POST", f"/v2/images/{image}/actions/reactivate", 204)
    assert owner.download(image) == DATA
    assert reads(web, image) == before + 1
    owner.delete(image)
    owner.call("GET", path, 404)
    assert not (folder / image).exists()


def test_s65_damaged_and_short_data_end_every_reader_and_leave_nothing(caller, remote, folder):
    for harm in ("damaged", "short"):
        image, page = remote()
        gate = page.gate = threading.Event()
        if harm == "damaged":
            page.body = DATA[:-1] + bytes([DATA[-1] ^ 1])
        else:
            page.cut = len(DATA) - 100
        herd = [Download(caller, image) for _ in range(8)]
        for download in herd:
            download.wait_for(2 * MIB)
        gate.set()
        for download in herd:
            assert download.end().broken
            assert len(download.data) < len(DATA)
        wait_for(lambda image=image: (folder / "invalid" / image).exists(), "what was set aside")
        assert not (folder / image).exists()
        assert not (folder / "incomplete" / image).exists()


def test_a_reload_in_the_middle_of_a_copy(caller, remote, services, web, folder):
    image, page = remote()
    before, gate = reads(web, image), threading.Event()
    page.gate = gate
    old = set(services.api.workers())
    herd = [Download(caller, image).wait_for(2 * MIB) for _ in range(4)]
    services.api.hang_up()
    wait_for(lambda: len(set(services.api.workers()) - old) == 2, "new workers")
    wait_for(lambda: services.api.said().count("Ready: 2 workers") >= 2, "the new workers' turn")
    herd += [Download(caller, image).wait_for(2 * MIB) for _ in range(4)]
    gate.set()
    assert [download.end().data == DATA for download in herd] == [True] * 8
    assert reads(web, image) - before == 1
    wait_for(lambda: is_kept(folder, image), "the copy")
    wait_for(lambda: not old & set(services.api.workers()), "the end of the old workers")


def test_a_proxy_sends_whole_copies_only(caller, remote, folder):
    image, page = remote()
    path, asked = f"/v2/images/{image}/file", {"X-Sendfile-Type": "X-Accel-Redirect"}
    gate = page.gate = threading.Event()
    growing = Download(caller, image, **asked).wait_for(2 * MIB)
    gate.set()
    assert growing.end().data == DATA
    wait_for(lambda: is_kept(folder, image), "the copy")
    handed = caller.call("GET", path, 200, headers=asked)
    assert (handed.headers["X-Accel-Redirect"], handed.content) == (f"/_cache/{image}", b"")
    assert caller.download(image) == DATA


def test_readers_of_a_fill_that_stalls_read_the_store_themselves(caller, remote, web, services, tmp_path):
    folder = tmp_path / "cache"
    [api] = started(services, brief={"image_cache_dir": folder, "image_cache_patience": BRIEF, "workers": 2})
    there = Caller(api.url, caller.headers)
    (image, page), (other, without_ranges) = remote(), remote()
    without_ranges.ranges = False
    before, gate = reads(web, image), threading.Event()
    page.gate = without_ranges.gate = gate
    # More than may have a thread: they come one after the other.
    herd = [Download(there, each) for each in (*[image] * 60, other)]
    for download in herd:
        download.wait_for(2 * MIB)
    # None of them has to wait for the gate.
    assert [download.end().data == DATA for download in herd] == [True] * 61
    assert reads(web, image) - before == 61
    gate.set()
    for each in (image, other):
        wait_for((folder / each).exists, "the copy")
    api.stop()


def test_the_index_goes_while_the_cache_serves(caller, remote, folder, web):
    image, _ = remote()
    caller.download(image)
    wait_for(lambda: is_kept(folder, image), "the copy")
    before = reads(web, image)
    for end in ("", "-wal", "-shm"):
        (folder / f"cache.db{end}").unlink(missing_ok=True)
    for _ in range(6):
        assert caller.download(image) == DATA
    (folder / "cache.db").write_bytes(b"broken " * 5000)
    for _ in range(6):
        assert caller.download(image) == DATA

    def is_recorded() -> bool:
        try:
            connection = sqlite3.connect(f"file:{folder}/cache.db?mode=ro", uri=True)
            found = connection.execute("SELECT hits FROM cached_images WHERE image_id = ?", (image,)).fetchall()
            connection.close()
        except sqlite3.Error:
            return False
        return bool(found)

    fresh, _ = remote()
    caller.download(fresh)
    wait_for(lambda: is_kept(folder, fresh), "another copy")
    assert caller.download(image) == DATA
    assert reads(web, image) - before <= 2, "each process may read the store once until the copy is verified again"
    wait_until(is_recorded, "the index", 120)


def test_queued_images_are_fetched_and_the_rest_leaves_the_queue(caller, remote, folder, web):
    image, _ = remote()
    missing = "00000000-0000-0000-0000-000000000009"
    before = reads(web, image)
    for name in (missing, image):
        (folder / "queue" / name).touch()
    wait_for(lambda: is_kept(folder, image), "the copy")
    wait_for(lambda: not os.listdir(folder / "queue"), "an empty queue")
    assert caller.download(image) == DATA
    assert reads(web, image) == before + 1


def started(services: Services, **nodes: dict[str, Any]) -> list[WebDaemon]:
    """Start more APIs, each with its options, and return them."""
    plain = {"x_accel_redirect": "", "workers": 1}
    apis = [services.new_api(name, {"DEFAULT": {**plain, **options}}) for name, options in nodes.items()]
    services.start(*apis)
    return apis


def test_a_full_disk_switches_the_cache_off_for_the_request(caller, remote, services, tmp_path_factory, web):
    disk = tmp_path_factory.mktemp("small")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", disk], check=True)
    try:
        [api] = started(services, full={"image_cache_dir": disk / "cache", "max_transfers_per_project": 0})
        there = Caller(api.url, caller.headers)
        (first, _), (second, _) = remote(), remote()
        assert there.download(first) == DATA
        wait_for(lambda: is_kept(disk / "cache", first), "the copy")
        with ThreadPoolExecutor(4) as pool:
            assert [data == DATA for data in pool.map(there.download, [second] * 4)] == [True] * 4
        assert there.download(first) == DATA
        assert 1 <= api.said().count("takes no new images now: No space left on device") <= len(api.workers())
        assert os.listdir(disk / "cache" / "incomplete") == []
        api.stop()
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


JUMPING = """
import time

_real, _real_ns = time.time, time.time_ns


def _jump():
    try:
        with open({path!r}) as file:
            return float(file.read() or 0)
    except FileNotFoundError:
        return 0.0


time.time = lambda: _real() + _jump()
time.time_ns = lambda: _real_ns() + int(_jump() * 1e9)
"""
"""A start of Python whose clock is ahead by the seconds in a file."""


def test_a_clock_that_jumps_ends_no_copy(caller, remote, services, tmp_path, web, monkeypatch):
    """By less than what a signed call to the registry may be old, and by more than what a copy may stall."""
    (tmp_path / "sitecustomize.py").write_text(JUMPING.format(path=str(tmp_path / "jump")))
    folders = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(folders))
    [api] = started(services, jumping={
        "image_cache_dir": tmp_path / "cache", "image_cache_stall_time": 200, "image_cache_patience": 280,
    })
    there, (image, page) = Caller(api.url, caller.headers), remote()
    before, gate = reads(web, image), threading.Event()
    page.gate = gate
    herd = [Download(there, image).wait_for(2 * MIB) for _ in range(3)]
    left = tmp_path / "cache" / "incomplete" / "00000000-0000-0000-0000-000000000009"
    left.write_bytes(b"what a dead process left")
    (tmp_path / "jump").write_text("250")
    wait_for(lambda: not left.exists(), "the next look at what is unfinished", 150)
    assert os.listdir(left.parent) == [image]
    gate.set()
    assert [download.end().data == DATA for download in herd] == [True] * 3
    wait_for(lambda: is_kept(tmp_path / "cache", image), "the copy")
    assert there.download(image) == DATA
    assert reads(web, image) - before == 1
    api.stop()


def test_a_store_that_fails_before_the_first_byte_is_503_also_without_a_thread(
    caller, remote, services, tmp_path, web
):
    [api] = started(services, one={
        "image_cache_dir": tmp_path / "cache", "max_transfers": 1, "max_transfers_per_project": 0,
    })
    there = Caller(api.url, caller.headers)
    (good, _), (bad, page) = remote(), remote()
    assert there.download(good) == DATA
    wait_for(lambda: is_kept(tmp_path / "cache", good), "the copy")
    page.status = page.head = 500
    with there.begin("GET", f"/v2/images/{good}/file", receive_buffer=16384) as wire:
        assert wire.read(15) == b"HTTP/1.1 200 OK"
        waiting = [Download(there, bad) for _ in range(3)]
        wait_for(lambda: f"image {bad} is not kept in the cache" in api.said(), "the failure of the copy")
        assert there.show(good)["status"] == "active"
        assert [download.status for download in waiting] == [None] * 3, "no thread is free to read the store for them"
        assert wire.rest().endswith(DATA)
    assert [download.end().status for download in waiting] == [503] * 3
    wait_for(lambda: api.said().count(f"GET /v2/images/{bad}/file 503") == 3, "the lines of the access log")
    page.status, page.head = 200, None
    # The store is asked again a moment after it was found to be down.
    wait_until(lambda: there.call("GET", f"/v2/images/{bad}/file").content == DATA, "the data")
    api.stop()


def test_copies_of_the_original_are_taken_over(caller, remote, services, tmp_path, web):
    image, _ = remote()
    damaged, _ = remote()
    folder = tmp_path / "cache"
    for name in ("incomplete", "invalid", "queue"):
        (folder / name).mkdir(parents=True)
    (folder / image).write_bytes(DATA)
    (folder / damaged).write_bytes(DATA[:-1] + b"!" if DATA[-1:] != b"!" else DATA[:-1] + b"?")
    (folder / "incomplete" / damaged).write_bytes(DATA[:1000])
    url = "http://successor.example.com:9292"
    central = {"image_cache_driver": "centralized_db", "worker_self_reference_url": url}
    [api] = started(services, successor={"image_cache_dir": folder, "image_cache_patience": 1, **central})
    wait_until(lambda: f"the copy of image {image} in the cache was found right" in api.said(), "the verification")
    wait_until(lambda: (folder / "invalid" / damaged).exists(), "the end of the damaged copy")
    wait_until(lambda: not os.listdir(folder / "incomplete"), "the end of the unfinished copy")
    there, before = Caller(api.url, caller.headers), reads(web, image)
    assert there.download(image) == DATA
    assert there.download(damaged) == DATA
    assert reads(web, image) == before
    wait_for(
        lambda: rows(services, "SELECT node, hits FROM cached_copies WHERE image_id = %s", image) == [(url, 1)],
        "the record in the registry",
    )
    # A stop does not wait for a store that hangs, and leaves nothing unfinished.
    late, page = remote()
    gate = page.gate = threading.Event()
    with there.begin("GET", f"/v2/images/{late}/file") as wire:
        wire.read(MIB)
    assert os.listdir(folder / "incomplete") == [late]
    assert api.stop() == 0
    assert os.listdir(folder / "incomplete") == []
    gate.set()


def test_a_directory_of_another_node_or_without_a_parent_leaves_the_service_without_cache(
    caller, remote, services, folder, tmp_path
):
    other, lost = started(
        services, other={"worker_self_reference_url": "http://other.example.com:9292"},
        lost={"image_cache_dir": tmp_path / "missing" / "cache"},
    )
    assert "the node " in other.said()
    assert "Each node needs an image_cache_dir of its own" in other.said()
    assert f"image_cache_dir {tmp_path}/missing/cache cannot be used: No such file or directory" in lost.said()
    image, _ = remote()
    for api in (other, lost):
        assert Caller(api.url, caller.headers).download(image) == DATA
        wait_until(lambda api=api: Seen(api).status("image cache") == "down", "the health check to say so")
        assert Seen(api).get("/healthcheck").json()["status"] == "degraded"
    assert not (folder / image).exists()
    wait_until(lambda: Seen(services.api).status("image cache") == "ok", "the health of the first node")
    other.stop()
    lost.stop()
