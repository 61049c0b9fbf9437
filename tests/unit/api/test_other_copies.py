"""A copy cannot be read to its end: the rest comes from others, and no wrong bytes become a whole image."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from glance_api.content.streams import ByteRange, DamagedData
from glance_api.http import transfers
from glance_api.http.download_bodies import CopyFile, LocalFile
from glance_api.http.transfers import DownloadTransfer
from glance_api.services import other_copies
from glance_api.services.collaborators import Services
from glance_api.services.data import Download
from glance_common.model.image import Image, ImageLocation
from glance_common.model.status import ImageStatus
from glance_common.stores.base import StreamBlob
from glance_common.stores.contract import Blob, RangeUnsupported, StoreUnavailable
from glance_common.stores.drivers.file.blob import FileBlob

KIB = 1024
PIECE = 64 * KIB
DATA = random.Random(1).randbytes(10 * PIECE + 17)
BAD_AT = 3 * PIECE
"""Where the first copy cannot be read any further."""
WRONG = DATA[:-1] + bytes([DATA[-1] ^ 1])
UNREADABLE = OSError(5, "Input/output error")


class Copies:
    """Stores that hold one copy each; counts the reads that are open."""

    def __init__(self, folder: Path) -> None:
        self.open_reads = 0
        self._folder = folder
        self._opens: dict[str, Callable[[int, int], Iterator[bytes]]] = {}
        self._sizes: dict[str, int] = {}

    def add_file(self, name: str, data: bytes, fails_at: int | None = None) -> None:
        """Add a copy in a file of this host; it cannot be read from a byte on."""
        self.add(name, data, fails_at)
        (self._folder / name).write_bytes(data)

    def add(
        self, name: str, data: bytes, fails_at: int | None = None, *, has_ranges: bool = True, is_down: bool = False
    ) -> None:
        """Add a remote copy."""

        def pieces(start: int, end: int) -> Iterator[bytes]:
            if (start, end) != (0, len(data)) and not has_ranges:
                raise RangeUnsupported(name)
            if is_down:
                raise StoreUnavailable(name)
            return self._read(name, data, start, end, fails_at)

        self._opens[name], self._sizes[name] = pieces, len(data)

    def open(self, name: str, offset: int = 0, length: int | None = None) -> Blob:
        size = self._sizes[name]
        pieces = self._opens[name](offset, size if length is None else offset + length)
        self.open_reads += 1
        path = self._folder / name
        if path.exists():
            return OnDisk(os.open(path, os.O_RDONLY), str(path), pieces, self.closed)
        return StreamBlob(size, pieces, self.closed)

    def closed(self) -> None:
        self.open_reads -= 1

    def _read(self, name: str, data: bytes, at: int, end: int, fails_at: int | None) -> Iterator[bytes]:
        while at < end:
            if fails_at is not None and at >= fails_at:
                raise StoreUnavailable(name)
            stop = min(at + PIECE, end)
            yield data[at:stop]
            at = stop

    def __iter__(self) -> Iterator[Any]:
        """Yield the stores, the first of them the one that is read first."""
        for number, name in enumerate(self._opens):
            yield self._store(name, -number)

    def get(self, name: str) -> Any:
        return self._store(name, 0)

    def _store(self, name: str, weight: int) -> Any:
        return SimpleNamespace(id=name, kind="any", weight=weight, open=self.open)


class OnDisk(FileBlob):
    """A copy in a file, whose reads the test fails."""

    def __init__(self, fd: int, path: str, pieces: Iterator[bytes], closed: Callable[[], None]) -> None:
        super().__init__(fd, path, 0, None, PIECE)
        self._pieces, self._closed = pieces, closed

    def __iter__(self) -> Iterator[bytes]:
        return self._pieces

    def close(self) -> None:
        super().close()
        self._closed()


@pytest.fixture
def copies(tmp_path: Path) -> Copies:
    made = Copies(tmp_path)
    made.add_file("first", DATA)
    return made


def services(copies: Copies, mode: str) -> Services:
    settings = SimpleNamespace(verify_downloads=mode, store_type_preference=())
    return cast(Services, SimpleNamespace(stores=copies, settings=settings, cache=None))


def opened(copies: Copies, part: ByteRange | None = None) -> Download:
    """Return the data of the image as they are opened in its first store."""
    places = tuple(ImageLocation(store.id, store.id, store.id, {}) for store in copies)
    image = Image(
        "image", "name", ImageStatus.ACTIVE, "private", "own", "raw", "bare", len(DATA), None, 0, 0, False, False, None,
        "sha256", hashlib.sha256(DATA).hexdigest(), "", "", 1, {}, [], locations=places,
    )
    return Download(image, copies.open("first"), part, "first", location="first")


def rest(copies: Copies, mode: str = "remote", sent: int = BAD_AT, part: ByteRange | None = None) -> bytes:
    """Return what a client has that got the first ``sent`` bytes from the first copy."""
    data = opened(copies, part)
    start = part.start if part else 0
    got = bytearray(DATA[start:start + sent])
    try:
        for piece in other_copies.verified_rest(services(copies, mode), data, sent, UNREADABLE):
            got += piece
    except DamagedData:
        assert len(got) < len(DATA), "what is damaged never has its full length"
        raise
    finally:
        data.blob.close()
        assert copies.open_reads == 0
    return bytes(got)


@pytest.mark.parametrize("mode", ["remote", "always", "never"])
@pytest.mark.parametrize("sent", [0, 1, BAD_AT, len(DATA) - 1])
def test_the_rest_makes_the_image_whole(copies: Copies, mode: str, sent: int):
    copies.add("second", DATA)
    assert rest(copies, mode, sent) == DATA


@pytest.mark.parametrize("mode", ["remote", "always"])
@pytest.mark.parametrize("sent", [0, BAD_AT, len(DATA) - 1])
def test_i8_a_rest_that_is_damaged_never_comes_whole(copies: Copies, mode: str, sent: int):
    copies.add("second", WRONG)
    with pytest.raises(DamagedData):
        rest(copies, mode, sent)


@pytest.mark.parametrize("sent", [1, BAD_AT, len(DATA) - 1])
def test_a_store_that_sends_only_the_whole_has_the_rest_too(copies: Copies, sent: int):
    copies.add("second", DATA, has_ranges=False)
    assert rest(copies, sent=sent) == DATA
    copies.add("third", DATA, is_down=True)
    assert rest(copies, sent=sent) == DATA
    part = ByteRange(PIECE - 1, 4 * PIECE)
    assert rest(copies, part=part, sent=PIECE) == DATA[PIECE - 1:5 * PIECE - 1]


def test_i8_the_part_that_a_local_copy_gave_meanwhile_is_verified_too(copies: Copies):
    copies.add_file("second", DATA, fails_at=BAD_AT + 2 * PIECE)
    copies.add("third", DATA)
    assert rest(copies) == DATA
    copies.add("third", WRONG)
    with pytest.raises(DamagedData):
        rest(copies)


def test_a_local_copy_goes_out_unread_unless_all_are_verified(copies: Copies):
    copies.add_file("second", WRONG)
    assert rest(copies, "remote") == WRONG
    with pytest.raises(DamagedData):
        rest(copies, "always")


def test_without_its_beginning_or_as_a_part_the_rest_is_sent_as_it_is(copies: Copies, tmp_path: Path):
    copies.add("second", WRONG)
    assert rest(copies, "never") == WRONG
    part = ByteRange(PIECE, len(DATA) - PIECE)
    assert rest(copies, part=part, sent=PIECE) == WRONG[PIECE:]
    os.truncate(tmp_path / "first", BAD_AT - 1)
    assert rest(copies) == WRONG


def test_the_first_error_is_told_when_no_copy_has_the_rest(copies: Copies):
    with pytest.raises(OSError, match="Input/output error"):
        rest(copies)
    copies.add("second", DATA, fails_at=BAD_AT + PIECE)
    with pytest.raises(OSError, match="Input/output error"):
        rest(copies)


@pytest.mark.parametrize("kind", ["thread", "sender"])
def test_a_client_that_leaves_ends_the_reads_of_all_copies(copies: Copies, kind: str):
    copies.add("second", DATA)
    data = opened(copies)
    descriptor = data.blob.fileno()
    assert descriptor is not None

    def others(sent: int, error: Exception) -> Any:
        return other_copies.verified_rest(services(copies, "remote"), data, sent, error)

    def done() -> None:
        return None

    body: LocalFile | CopyFile
    if kind == "thread":
        body = LocalFile(data, descriptor, others, done, {})
        pieces = body.rest(BAD_AT, UNREADABLE)
    else:
        body = CopyFile(data, descriptor, others, lambda: done, done)
        body.sent(BAD_AT)
        body.failed(UNREADABLE)
        pieces = iter(body)
    next(pieces)
    assert copies.open_reads == 2
    body.close()
    assert copies.open_reads == 0, "also while something still refers to the pieces"


@pytest.mark.parametrize("is_cached", [True, False])
@pytest.mark.parametrize("has_wrapper", [True, False])
def test_i8_answers_from_a_file_have_a_verified_rest(
    api: Any, monkeypatch: pytest.MonkeyPatch, copies: Copies, is_cached: bool, has_wrapper: bool
):
    copies.add_file("first", DATA, fails_at=BAD_AT)
    copies.add("second", WRONG)
    data = replace(opened(copies), is_cached=is_cached)
    fakes = services(copies, "remote")
    monkeypatch.setattr(transfers, "services", lambda: fakes)
    monkeypatch.setattr(transfers, "context", lambda: None)
    environ = {"wsgi.file_wrapper": (lambda file: file) if has_wrapper else None}
    with ThreadPoolExecutor(1) as readers, api.app.test_request_context("/", environ_overrides=environ):
        monkeypatch.setattr(transfers, "http_services", lambda: SimpleNamespace(readers=readers))
        body: Any = transfers.sendable(DownloadTransfer(data, lambda: None), lambda: None)
        pieces = body.rest(BAD_AT, UNREADABLE) if has_wrapper else iter(body)
        with pytest.raises(DamagedData):
            list(pieces)
        body.close()
    assert copies.open_reads == 0
