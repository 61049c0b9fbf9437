"""Reconcile and verify in themselves: merging in bounded memory, the rate, and how copies are proved."""

from __future__ import annotations

import hashlib
import io
import itertools
import threading
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from glance_common import progress
from glance_common.model.status import ImageStatus, LocationStatus
from glance_common.model.stored_copy import Damage, StoredCopy
from glance_common.stores.base import StreamBlob
from glance_common.stores.contract import BlobNotFound, StoredObject, StoreUnavailable
from glance_scrubber import table
from glance_scrubber.proof import CopyProof, ProofResult, prove
from glance_scrubber.rate import Rate
from glance_scrubber.reconcile import merged

DATA = b"the data of an image" * 1000


def copy_of(key: str = "k", **values: Any) -> StoredCopy:
    fields: dict[str, Any] = {
        "id": "i", "image_id": "i", "store": "fast", "key": key, "status": LocationStatus.ACTIVE, "size": len(DATA),
        "fingerprint": f"xxh3-128:{xxhash.xxh3_128_hexdigest(DATA)}", "lent": False,
        "image_status": ImageStatus.ACTIVE, "image_size": len(DATA), "owner": None,
        "checksum": hashlib.md5(DATA, usedforsecurity=False).hexdigest(), "os_hash_algo": "sha512",
        "os_hash_value": hashlib.sha512(DATA).hexdigest(),
    }
    return StoredCopy(**{**fields, **values})


def stored(key: str) -> StoredObject:
    return StoredObject(key, 1, 0.0)


@given(st.sets(st.text()), st.sets(st.text()))
def test_both_sides_meet_by_their_keys(left: set[str], right: set[str]) -> None:
    objects = (stored(key) for key in sorted(left))
    copies = (copy_of(key) for key in sorted(right))
    pairs = [(one and one.key, two and two.key) for one, two in merged(objects, copies)]
    assert pairs == [
        (key if key in left else None, key if key in right else None) for key in sorted(left | right)
    ]


def test_many_objects_take_no_memory() -> None:
    count = 100_000
    keys = [f"{number:08d}" for number in range(count)]

    def objects() -> Iterator[StoredObject]:
        yield from map(stored, keys)

    copy = copy_of()
    tracemalloc.start()
    for _ in merged(objects(), (copy for _ in itertools.repeat(None, 0))):
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


class OneBlob:
    """A store with one object, or an error instead."""

    def __init__(self, data: bytes | Exception, size: int | None = None) -> None:
        self.data = data
        self.size = size

    def open(self, _key: str) -> StreamBlob:
        if isinstance(self.data, Exception):
            raise self.data
        size = len(self.data) if self.size is None else self.size
        return StreamBlob(size, iter([self.data[:7], self.data[7:]]))


def found(store: OneBlob, copy: StoredCopy | None = None, each: Any = lambda _: True) -> CopyProof:
    return prove(store, copy or copy_of(), each)  # type: ignore[arg-type]  # only open is used


def test_right_data_are_right() -> None:
    assert found(OneBlob(DATA)) == CopyProof(ProofResult.RIGHT, read=len(DATA))


@pytest.mark.parametrize("position", [0, 6, 7, len(DATA) // 2, len(DATA) - 1])
@pytest.mark.parametrize("known", [
    {}, {"fingerprint": None}, {"os_hash_algo": None, "os_hash_value": None},
    {"fingerprint": None, "os_hash_algo": None, "os_hash_value": None}, {"os_hash_algo": "unheard-of"},
])
def test_a_flipped_bit_anywhere_is_found_by_every_digest(position: int, known: dict[str, Any]) -> None:
    for bit in range(8):
        data = bytearray(DATA)
        data[position] ^= 1 << bit
        finding = found(OneBlob(bytes(data)), copy_of(**known))
        assert (finding.result, finding.damage) == (ProofResult.DAMAGED, Damage.DIGEST)


def test_a_wrong_hash_is_found_beside_a_right_fingerprint() -> None:
    finding = found(OneBlob(DATA), copy_of(os_hash_value="0" * 128))
    assert (finding.result, finding.detail.split()[0]) == (ProofResult.DAMAGED, "sha512")


def test_sizes_and_absence_are_damage_and_trouble_is_none() -> None:
    assert found(OneBlob(DATA + b"x")).damage is Damage.SIZE
    assert found(OneBlob(DATA[:-1], size=len(DATA))).damage is Damage.SIZE
    assert found(OneBlob(BlobNotFound("gone"))).damage is Damage.MISSING
    finding = found(OneBlob(StoreUnavailable("away")))
    assert (finding.result, finding.damage, finding.detail) == (ProofResult.UNREADABLE, None, "StoreUnavailable: away")


def test_without_a_digest_only_the_size_is_known() -> None:
    copy = copy_of(fingerprint=None, os_hash_algo=None, os_hash_value=None, checksum=None)
    assert found(OneBlob(DATA), copy).result is ProofResult.UNPROVED


def test_a_stop_ends_the_reading() -> None:
    assert found(OneBlob(DATA), each=lambda _: False) == CopyProof(ProofResult.STOPPED, read=7)


class Waits(threading.Event):
    """A stop that never comes; its waits are noted and let the clock go on."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0

    def wait(self, timeout: float | None = None) -> bool:
        self.now += timeout or 0.0
        return False


def test_the_rate_holds_over_time_and_unused_time_is_no_burst() -> None:
    stop = Waits()
    rate = Rate(10.0, stop, clock=lambda: stop.now)
    began = stop.now
    for _ in range(100):
        assert rate.take(5)
    assert stop.now - began == pytest.approx(49.0)
    stop.now += 1000
    began = stop.now
    for _ in range(10):
        rate.take(10)
    assert stop.now - began == pytest.approx(9.0)


def test_no_rate_waits_for_nothing_and_a_stop_is_heard() -> None:
    stop = threading.Event()
    assert Rate(0, stop).take(10**12) is True
    stop.set()
    assert Rate(0, stop).take(1) is False
    assert Rate(1, stop).take(10**9) is False


def test_a_table_is_printed_block_by_block_and_cannot_steer_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(table, "ROWS", 2)
    assert table.show(("one", "two"), [(str(number), "\x1b[2Jx") for number in range(5)]) == 5
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["one", "two"]
    assert len(lines) == 6
    assert not any("\x1b" in line for line in lines)
    assert table.show(("one",), []) == 0
    assert capsys.readouterr().out == ""


def test_progress_is_shown_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "EVERY", 0.001)
    out = io.StringIO()
    with progress.shown(lambda: "half", out):
        pass
    assert out.getvalue() == ""
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True, raising=False)
    seen = threading.Event()

    def line() -> str:
        seen.set()
        return "half"

    with progress.shown(line, terminal):
        assert seen.wait(60)
    assert "half" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r\x1b[K")
    assert [progress.amount(size) for size in (1, 1500, 2e6, 3e9, 4e12)] == [
        "1 bytes", "1.5 KB", "2.0 MB", "3.0 GB", "4.0 TB",
    ]
