"""Wrappers: what they log, what they never log, what they ask again."""

import logging
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from glance_common.fetch import deadlines
from glance_common.model.errors import Gone
from glance_common.stores.contract import (
    BlobNotFound,
    Capabilities,
    Stored,
    StoreFull,
    StoreUnavailable,
    WriteDenied,
)
from glance_common.stores.decorators.base import Logged, Retrying, shown

SECRET_URL = "https://user:hunter2@example.org/image.raw?X-Amz-Signature=hunter2"


def scripted(*answers: Any) -> Any:
    """Return a Scripted store, which is none by its type."""
    return Scripted(*answers)


class Scripted:
    """A store whose answers are given: an exception is raised, anything else is returned."""

    id, kind, description, weight = "scripted", "test", "text", 3
    capabilities = Capabilities(("x",), add=True, delete=True, ranges=True)

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.calls: list[tuple[Any, ...]] = []

    def _next(self, *call: Any) -> Any:
        self.calls.append(call)
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def add(self, key: str, pieces: Iterable[bytes], size: int | None) -> Any:
        return self._next("add", key, b"".join(pieces), size)

    def open(self, key: str, offset: int = 0, length: int | None = None) -> Any:
        return self._next("open", key, offset, length)

    def size(self, key: str) -> Any:
        return self._next("size", key)

    def delete(self, key: str) -> Any:
        return self._next("delete", key)

    def url(self, key: str) -> Any:
        return self._next("url", key)

    def key_of(self, url: str) -> Any:
        return self._next("key_of", url)

    def check(self) -> Any:
        return self._next("check")


@pytest.mark.parametrize("wrapper", [Logged, Retrying])
def test_a_wrapper_is_the_store(wrapper: Any):
    blob = object()
    inner = scripted(Stored(1, {}), blob, 5, None, "u", "k", None)
    store = wrapper(inner)
    assert (store.id, store.kind, store.description, store.weight) == ("scripted", "test", "text", 3)
    assert store.capabilities is inner.capabilities
    assert store.add("k", [b"x"], 1) == Stored(1, {})
    assert store.open("k", 1, 2) is blob
    assert store.size("k") == 5
    store.delete("k")
    assert (store.url("k"), store.key_of("u")) == ("u", "k")
    store.check()
    assert inner.calls == [
        ("add", "k", b"x", 1),
        ("open", "k", 1, 2),
        ("size", "k"),
        ("delete", "k"),
        ("url", "k"),
        ("key_of", "u"),
        ("check",),
    ]


@pytest.mark.parametrize("operation", ["open", "size", "delete"])
def test_unavailable_is_asked_again(operation: str):
    pauses: list[float] = []
    inner = scripted(StoreUnavailable("1"), StoreUnavailable("2"), 7)
    store = Retrying(inner, pauses=(0.5, 2.0), sleep=pauses.append)
    assert getattr(store, operation)("k") in {7, None}
    assert pauses == [0.5, 2.0]
    assert len(inner.calls) == 3


@pytest.mark.parametrize(("took", "calls"), [(1.0, 3), (2.5, 2), (60.0, 1)])
@pytest.mark.parametrize("operation", ["open", "size", "delete"])
def test_a_store_that_let_us_wait_is_not_asked_again(operation: str, took: float, calls: int):
    """The caller waits for the store's own timeout, and not for several of them."""
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += took
        return now - took

    inner = scripted(*(StoreUnavailable(str(number)) for number in range(3)))
    with pytest.raises(StoreUnavailable):
        getattr(Retrying(inner, sleep=lambda seconds: None, clock=clock), operation)("k")
    assert len(inner.calls) == calls


@pytest.mark.parametrize("operation", ["open", "size", "delete"])
def test_the_last_error_comes_out(operation: str):
    inner = scripted(*(StoreUnavailable(str(number)) for number in range(3)))
    with pytest.raises(StoreUnavailable, match="2"):
        getattr(Retrying(inner, sleep=lambda seconds: None), operation)("k")


@pytest.mark.parametrize("error", [BlobNotFound("x"), WriteDenied("x"), OSError("x"), KeyboardInterrupt()])
@pytest.mark.parametrize("operation", ["open", "size", "delete"])
def test_other_errors_are_not_asked_again(operation: str, error: BaseException):
    inner = scripted(error)
    with pytest.raises(type(error)):
        getattr(Retrying(inner), operation)("k")
    assert len(inner.calls) == 1


def test_i7_the_pause_between_tries_ends_with_the_work():
    """An hour is the pause here: what ends it is the scope in which the store is asked."""

    def over() -> None:
        raise Gone("the image was deleted")

    inner = scripted(StoreUnavailable("x"))
    with deadlines.within(still_wanted=over), pytest.raises(Gone):
        Retrying(inner, pauses=[3600]).open("k")
    assert len(inner.calls) == 1
    inner = scripted(StoreUnavailable("x"), 5)
    with deadlines.within(0.05):
        assert Retrying(inner, pauses=[3600]).size("k") == 5


def test_add_is_never_tried_again():
    inner = scripted(StoreUnavailable("x"))
    with pytest.raises(StoreUnavailable):
        Retrying(inner).add("k", [b"x"], None)
    assert len(inner.calls) == 1


def facts(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name in {"store", "key", "bytes", "ms", "error"}}


def test_one_line_an_operation(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG, "glance_common.stores")
    store = Logged(scripted(Stored(42, {}), object(), 5, None))
    store.add("k", [b"x"], 1)
    store.open("k")
    store.size("k")
    store.delete("k")
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("INFO", "store add"),
        ("DEBUG", "store open"),
        ("DEBUG", "store size"),
        ("INFO", "store delete"),
    ]
    first = facts(caplog.records[0])
    assert first.pop("ms") >= 0
    assert first == {"store": "scripted", "key": "k", "bytes": 42}


@pytest.mark.parametrize(
    ("error", "level", "text"),
    [
        (StoreUnavailable("the disk is away"), "WARNING", "StoreUnavailable: the disk is away"),
        (StoreFull("no room"), "INFO", "StoreFull: no room"),
        (RuntimeError("password hunter2"), "INFO", "RuntimeError"),
    ],
)
def test_errors_are_logged_and_come_out(caplog: pytest.LogCaptureFixture, error: Exception, level: str, text: str):
    caplog.set_level(logging.DEBUG, "glance_common.stores")
    with pytest.raises(type(error)) as caught:
        Logged(scripted(error)).size("k")
    assert caught.value is error
    assert caplog.records[0].levelname == level
    assert facts(caplog.records[0])["error"] == text


def test_s06_s75_no_credentials_in_the_log(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG, "glance_common.stores")
    store = Logged(scripted(object(), 5, BlobNotFound("x")))
    store.open(SECRET_URL)
    store.size(SECRET_URL)
    with pytest.raises(BlobNotFound):
        store.delete(SECRET_URL)
    assert len(caplog.records) == 3
    assert all(facts(record)["key"] == "https://***@example.org/image.raw" for record in caplog.records)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("11111111-2222-3333-4444-555555555555.1", "11111111-2222-3333-4444-555555555555.1"),
        (SECRET_URL, "https://***@example.org/image.raw"),
        ("http://a:b@c@host/x", "http://***@host/x"),
        ("http://host/a@b", "http://host/a@b"),
        ("http://u:p@[::1", "http://***@[::1"),
        ("http://host?x@y", "http://host"),
    ],
)
def test_shown(key: str, text: str):
    assert shown(key) == text


def test_a_source_that_fails_is_logged_without_its_text(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG, "glance_common.stores")

    def source() -> Iterator[bytes]:
        yield b"x"
        raise ValueError("token hunter2")

    with pytest.raises(ValueError, match="hunter2"):
        Logged(scripted()).add("k", source(), None)
    assert facts(caplog.records[0])["error"] == "ValueError"
