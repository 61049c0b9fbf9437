"""What imports unpack and convert, bounded by the quotas of the owner and by the disk while it is written (S-40)."""

from __future__ import annotations

import gzip
import re
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.integration.api.imports_kit import Node, page, working
from tests.integration.api.test_import_archives import import_ova, ova
from tests.support.raw_data import random_bytes
from tests.support.waiting import wait_for

from glance_api.background.flows import room
from glance_api.imports.output import Output
from glance_api.imports.work import work_folder
from glance_api.services import attempts
from glance_api.services.quotas import Reservation
from glance_common.model.context import system_context
from glance_common.model.limits import Limits, Usage

MIB = 1024 * 1024
QUOTA = 8 * MIB
BOTH = "[image_decompression,image_conversion]"
Start = Callable[..., AbstractContextManager[Node]]


@dataclass
class Watched:
    """What was seen: the bytes in the folder of each import at its end, and the usage after each reservation."""

    made: list[int] = field(default_factory=list)
    used: list[Usage] = field(default_factory=list)


@pytest.fixture(autouse=True)
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    """Imports are watched, and wait less long for others to give room back."""
    seen = Watched()
    real_folder, real_ask = work_folder, Reservation._ask

    @contextmanager
    def folder(staging: Path) -> Iterator[Path]:
        with real_folder(staging) as path:
            try:
                yield path
            finally:
                seen.made.append(sum(file.stat().st_size for file in path.iterdir()))

    def ask(self: Reservation, at_least: int, at_most: int) -> int:
        try:
            return real_ask(self, at_least, at_most)
        finally:
            seen.used.append(self._services.registry.usage.of_owner(self._context, self._limits.owner))

    monkeypatch.setattr(room, "work_folder", folder)
    for module in (room, attempts):
        monkeypatch.setattr(module, "Reservation", partial(Reservation, patience=0.2))
    monkeypatch.setattr(Reservation, "_ask", ask)
    return seen


@dataclass
class SameLimits:
    """Limits as Keystone tells them, the same for every project."""

    values: dict[str, int]

    def of(self, owner: str | None) -> Limits | None:
        return None if owner is None else Limits(owner, self.values)


@pytest.fixture
def start(make_node: Callable[..., Node]) -> Start:
    """A function that starts a node whose imports unpack: with a quota of stored data, or with limits of Keystone."""

    def start(limits: dict[str, int] | None = None, **changed: Any) -> AbstractContextManager[Node]:
        options = {
            "image_import_opts__image_import_plugins": "[image_decompression]",
            "image_conversion__output_format": "raw",
            **({} if limits else {"user_storage_quota": QUOTA}),
            **changed,
        }
        node = make_node(**options)
        if limits:
            node.api.services = replace(node.api.services, limits=SameLimits(limits))
            node = Node(node.api, node.folder)
        return working(node)

    return start


def usage(node: Node) -> Usage:
    """Return what the project uses now."""
    return node.api.services.registry.usage.of_owner(system_context("req-test"), "own")


def begin(node: Node, data: bytes, **fields: Any) -> str:
    """Stage data of a new compressed image and ask for its import; return the image's id."""
    image = node.create(**{"container_format": "compressed", **fields})
    node.stage(image, data)
    node.begin(image, "glance-direct")
    return image


def assert_nothing_is_left(node: Node) -> None:
    node.settled()
    assert node.files("fast") == node.files("slow") == []
    wait_for(lambda: usage(node) == Usage(images=usage(node).images), "the usage of before the import")


LIMITS: dict[str, tuple[dict[str, int] | None, str]] = {
    "user_storage_quota": (None, f"user_storage_quota is exceeded: the limit is {QUOTA} bytes"),
    "image_stage_total": ({"image_stage_total": 8}, "image_stage_total is exceeded: the limit is 8 MiB"),
    "image_size_total": ({"image_size_total": 8}, "image_size_total is exceeded: the limit is 8 MiB"),
}


@pytest.mark.parametrize("limit", LIMITS)
def test_s40_a_bomb_stops_at_the_quota_and_leaves_nothing(start: Start, watched: Watched, limit: str):
    values, message = LIMITS[limit]
    with start(values) as node:
        image = begin(node, gzip.compress(bytes(200 * MIB), 1))
        task = node.finished(image)
        assert task["status"] == "failure"
        assert message in task["message"]
        assert node.show(image)["status"] == "queued"
        # Nearly all of the quota was used, so the bomb was opened.
        assert [QUOTA - 3 * MIB <= size <= QUOTA for size in watched.made] == [True]
        assert_never_exceeded(watched, "stage" if limit == "image_stage_total" else "size")
        assert_nothing_is_left(node)


def assert_never_exceeded(watched: Watched, measure: str = "size") -> None:
    assert watched.used
    assert max(getattr(used, measure) for used in watched.used) <= QUOTA


def test_s40_bombs_at_the_same_time_share_the_quota(start: Start, watched: Watched):
    """The room is reserved: what one writes, no other one can write too."""
    with start() as node:
        images = [begin(node, gzip.compress(bytes(50 * MIB), 1)) for _ in range(5)]
        for image in images:
            assert node.finished(image)["status"] == "failure"
        assert_never_exceeded(watched)
        assert len(watched.made) == 5
        assert max(watched.made) <= QUOTA
        assert_nothing_is_left(node)


def test_s40_what_fits_is_imported_and_counts_once(start: Start, watched: Watched):
    data = b"\x01" * (QUOTA - 1)
    with start() as node:
        image = begin(node, gzip.compress(data))
        assert node.finished(image)["status"] == "success"
        assert node.data(image) == data
        node.settled()
        wait_for(lambda: usage(node) == Usage(size=len(data), images=1))
        assert_never_exceeded(watched)
        # There is one byte left.
        assert "user_storage_quota is exceeded" in node.finished(begin(node, gzip.compress(b"xy")))["message"]
        assert node.finished(begin(node, gzip.compress(b"x")))["status"] == "success"
        wait_for(lambda: usage(node) == Usage(size=QUOTA, images=3))


def test_s40_one_result_after_another_counts_as_one(start: Start):
    """What is unpacked first and converted then becomes one image, for which the quota has room."""
    disk = qcow2_of(5 * MIB)
    with start(image_import_opts__image_import_plugins=BOTH) as node:
        image = begin(node, gzip.compress(disk.ljust(6 * MIB, b"\0")), disk_format="qcow2")
        task = node.finished(image)
        assert (task["status"], task["message"]) == ("success", "")
        wait_for(lambda: usage(node) == Usage(size=5 * MIB, images=1))
        node.settled()


def qcow2_of(size: int) -> bytes:
    """Return a small image whose header promises a disk of ``size`` bytes; a real one, unless qemu-img makes none."""
    if size < 1 << 50:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "disk")
            subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, str(size)], check=True)
            return path.read_bytes()
    header = struct.pack(">4sIQIIQIIQQIIQ", b"QFI\xfb", 2, 0, 0, 16, size, 0, size >> 29, 65536, 131072, 1, 0, 0)
    return header.ljust(4 * 65536, b"\0")


@pytest.mark.parametrize(("size", "message"), [
    (9 * MIB, f"the limit is {QUOTA} bytes"),
    (1 << 39, f"the limit is {QUOTA} bytes"),
    (1 << 60, "the disk in the image has 1152921504606846976 bytes"),
])
def test_s40_a_disk_larger_than_the_quota_is_not_converted(start: Start, watched: Watched, size: int, message: str):
    with start(image_import_opts__image_import_plugins="[image_conversion]") as node:
        image = begin(node, qcow2_of(size), disk_format="qcow2", container_format="bare")
        task = node.finished(image)
        assert task["status"] == "failure"
        assert message in task["message"]
        assert watched.made == [0]
        assert_nothing_is_left(node)


def test_s40_the_disk_of_an_ova_stops_at_the_quota(start: Start, watched: Watched, web: Any):
    archive = ova(bytes(20 * MIB))
    with start() as node:
        task = import_ova(node, page(web, archive), "admin,member,reader")
        assert task["status"] == "failure"
        assert f"the limit is {QUOTA} bytes" in task["message"]
        assert max(watched.made) <= QUOTA
        assert_nothing_is_left(node)


@pytest.mark.parametrize("announce", [True, False])
def test_s40_a_download_stops_at_the_quota_of_staged_data(start: Start, web: Any, announce: bool):
    """Data that an import fetches reserve their room in the same way."""
    with start({"image_stage_total": 8}) as node:
        image = node.create()
        node.begin(image, "web-download", arguments=page(web, bytes(20 * MIB), announce=announce))
        task = node.finished(image)
        assert task["status"] == "failure"
        assert "image_stage_total is exceeded: the limit is 8 MiB" in task["message"]
        assert_nothing_is_left(node)


def test_s40_the_disk_keeps_a_reserve(start: Start, watched: Watched):
    with start(import_tools__min_free_space=1 << 60) as node:
        image = begin(node, gzip.compress(bytes(MIB)))
        task = node.finished(image)
        assert task["status"] == "failure"
        assert re.search("not enough space in the staging directory of this host", task["message"])
        assert str(node.folder) not in task["message"]
        assert watched.made == [0]
        assert_nothing_is_left(node)


def test_s40_room_that_others_give_back_is_waited_for(start: Start, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(room, "Reservation", partial(Reservation, patience=120))
    with start() as node:
        first = node.create()
        octets = {"Content-Type": "application/octet-stream"}
        node.call("PUT", f"/v2/images/{first}/file", 204, data=bytes(6 * MIB), headers=octets)
        refused = wait_for_refusal(monkeypatch)
        second = begin(node, gzip.compress(bytes(5 * MIB)))
        wait_for(lambda: refused, "a step that is refused")
        node.call("DELETE", f"/v2/images/{first}", 204)
        assert node.finished(second)["status"] == "success"


def wait_for_refusal(monkeypatch: pytest.MonkeyPatch) -> list[Exception]:
    """Return a list to which each refusal of a step is added."""
    refused: list[Exception] = []
    ask = Reservation._ask

    def note(self: Reservation, at_least: int, at_most: int) -> int:
        try:
            return ask(self, at_least, at_most)
        except Exception as error:
            refused.append(error)
            raise

    monkeypatch.setattr(Reservation, "_ask", note)
    return refused


def test_s40_an_image_that_is_deleted_stops_its_unpacking(start: Start, monkeypatch: pytest.MonkeyPatch):
    write = Output.write
    deleted: list[Any] = []
    with start(upload__lease=3) as node:

        def delete_first(self: Output, piece: bytes) -> None:
            if not deleted:
                deleted.append(node.call("DELETE", f"/v2/images/{images[0]}", 204))
                # The import learns it when it renews its lease.
                work = self._room
                assert isinstance(work, room.WorkRoom)
                wait_for(lambda: usage(node).stage == 0 or work._job.lease.lost)
            write(self, piece)

        images: list[str] = []
        monkeypatch.setattr(Output, "write", delete_first)
        images.append(node.create(container_format="compressed"))
        node.stage(images[0], gzip.compress(bytes(200 * MIB), 1))
        node.begin(images[0], "glance-direct")
        wait_for(lambda: deleted, "the delete")
        assert_nothing_is_left(node)


def test_s40_a_tool_that_writes_by_itself_stops_at_the_quota(start: Start, watched: Watched):
    """The kernel stops it, long before it is looked at the next time."""
    options = {"image_import_opts__image_import_plugins": "[image_conversion]"}
    with start(**options, image_conversion__output_format="qcow2") as node:
        task = node.finished(begin(node, random_bytes(30 * MIB), container_format="bare"))
        assert task["status"] == "failure"
        assert f"the limit is {QUOTA} bytes" in task["message"]
        assert [0 < size <= QUOTA for size in watched.made] == [True]
        assert_never_exceeded(watched)
        assert_nothing_is_left(node)
