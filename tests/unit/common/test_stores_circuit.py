"""A store that is down or hangs: answered at once, and no danger for other stores."""

import threading
from collections.abc import Callable, Iterator

import pytest
from tests.support.stores import bare
from tests.support.waiting import wait_for

from glance_common.stores.base import BaseStore, StreamBlob
from glance_common.stores.contract import (
    BlobNotFound,
    Capabilities,
    Stored,
    StoreResting,
    StoreUnavailable,
    WriteDenied,
)
from glance_common.stores.decorators import circuit
from glance_common.stores.decorators.base import Retrying
from glance_common.stores.decorators.circuit import Circuit, Guarded

KEY = "11111111-1111-4111-8111-111111111111"


class _Scripted(BaseStore):
    """Does what the test says at each call."""

    kind = "scripted"
    capabilities = Capabilities(schemes=("x",), add=True, delete=True, ranges=True)

    def __init__(self) -> None:
        self.id, self.description, self.weight = "scripted", None, 0
        self.act: Callable[[], object] = lambda: None
        self.calls = 0

    def _called(self) -> None:
        self.calls += 1
        self.act()

    def identity(self) -> str:
        self._called()
        return "identity"

    def open(self, key: str, offset: int = 0, length: int | None = None) -> StreamBlob:
        self._called()
        return StreamBlob(3, iter([b"one"]))

    def add(self, key, pieces, size):
        self._called()
        return Stored(sum(map(len, pieces)), {})


class _Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def down() -> None:
    raise StoreUnavailable("no answer")


@pytest.fixture
def clock() -> _Clock:
    return _Clock()


@pytest.fixture
def store() -> _Scripted:
    return _Scripted()


@pytest.fixture
def guarded(store, clock) -> Guarded:
    return Guarded(store, Circuit("store scripted", 2, clock))


def fail(guarded: Guarded, times: int) -> None:
    for _ in range(times):
        with pytest.raises(StoreUnavailable):
            guarded.open(KEY)


def test_after_some_failures_nothing_is_asked_for_a_while(guarded, store, clock):
    store.act = down
    fail(guarded, circuit.FAILURES)
    assert store.calls == circuit.FAILURES
    with pytest.raises(StoreUnavailable, match="asked again in 10 s: no answer"):
        guarded.open(KEY)
    with pytest.raises(StoreUnavailable, match="asked again"):
        guarded.add(KEY, [b"x"], 1)
    assert store.calls == circuit.FAILURES
    clock.now += circuit.REST
    with pytest.raises(StoreUnavailable, match=r"^no answer$"):
        guarded.open(KEY)
    fail(guarded, 1)
    assert store.calls == circuit.FAILURES + 1, "one try, then the next rest"
    clock.now += circuit.REST
    store.act = lambda: None
    assert b"".join(guarded.open(KEY)) == b"one"
    store.act = down
    fail(guarded, circuit.FAILURES - 1)
    assert store.calls == 2 * circuit.FAILURES + 1, "it was closed by the success"


@pytest.mark.parametrize("error", [BlobNotFound("none"), WriteDenied("read-only")])
def test_other_errors_say_that_the_store_answers(guarded, store, error):
    def answer() -> None:
        raise error

    store.act = down
    fail(guarded, circuit.FAILURES - 1)
    store.act = answer
    with pytest.raises(type(error)):
        guarded.open(KEY)
    store.act = down
    fail(guarded, circuit.FAILURES - 1)
    assert store.calls == 2 * circuit.FAILURES - 1


def test_errors_of_the_source_say_nothing_about_the_store(guarded, store):
    def source() -> Iterator[bytes]:
        yield b"x"
        raise StoreUnavailable("of the store that is copied from")

    for _ in range(2 * circuit.FAILURES):
        with pytest.raises(StoreUnavailable, match="copied from"):
            guarded.add(KEY, source(), None)
    assert guarded.add(KEY, [b"data"], None).size == 4


def test_a_monitor_always_asks(guarded, store):
    store.act = down
    fail(guarded, circuit.FAILURES)
    with pytest.raises(StoreUnavailable, match=r"^no answer$"):
        guarded.check()


def test_only_some_calls_wait_for_a_store_that_hangs(store, monkeypatch):
    monkeypatch.setattr(circuit, "PATIENCE", 0.01)
    guarded = Guarded(store, Circuit("store scripted", 2))
    release = threading.Event()
    store.act = lambda: bool(release.wait(60))
    threads = [threading.Thread(target=guarded.open, args=(KEY,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    wait_for(lambda: store.calls == 2)
    with pytest.raises(StoreUnavailable, match="2 calls wait for the store already"):
        guarded.open(KEY)
    with pytest.raises(StoreUnavailable, match="wait for the store already"):
        guarded.add(KEY, [b"x"], 1)
    assert store.calls == 2
    release.set()
    for thread in threads:
        thread.join()
    assert guarded.add(KEY, [b"data"], 4).size == 4


def test_streams_that_do_not_come_on_count_too(store, clock, monkeypatch):
    monkeypatch.setattr(circuit, "PATIENCE", 0.0)
    guarded = Guarded(store, Circuit("store scripted", 2, clock))
    release = threading.Event()

    inside = threading.Barrier(3, timeout=60)

    def hangs(key, pieces, size):
        for _ in pieces:
            inside.wait()
            release.wait(60)
        return Stored(1, {})

    monkeypatch.setattr(store, "add", hangs)
    threads = [threading.Thread(target=guarded.add, args=(KEY, [b"x"], 1)) for _ in range(2)]
    for thread in threads:
        thread.start()
    inside.wait()
    assert len(guarded._circuit._streams) == 2
    assert b"".join(guarded.open(KEY)) == b"one", "they may only be slow"
    clock.now += circuit.STUCK + 1
    with pytest.raises(StoreUnavailable, match="wait for the store already"):
        guarded.open(KEY)
    release.set()
    for thread in threads:
        thread.join()
    assert b"".join(guarded.open(KEY)) == b"one"
    assert guarded._circuit._streams == {}


def test_uploads_that_the_store_has_not_begun_wait_as_others_do(store, monkeypatch):
    monkeypatch.setattr(circuit, "PATIENCE", 0.01)
    guarded = Guarded(store, Circuit("store scripted", 2))
    release = threading.Event()
    store.act = lambda: bool(release.wait(60))
    threads = [threading.Thread(target=guarded.add, args=(KEY, [b"x"], 1)) for _ in range(2)]
    for thread in threads:
        thread.start()
    wait_for(lambda: store.calls == 2)
    with pytest.raises(StoreResting, match="2 calls wait for the store already"):
        guarded.add(KEY, [b"x"], 1)
    release.set()
    for thread in threads:
        thread.join()
    assert guarded._circuit._waiting == 0
    assert guarded.add(KEY, [b"data"], 4).size == 4
    assert guarded._circuit._waiting == 0


def test_a_store_that_was_not_asked_is_not_asked_again_either(guarded, store):
    store.act = down
    retrying = Retrying(guarded, sleep=lambda seconds: None)
    with pytest.raises(StoreUnavailable):
        retrying.open(KEY)
    assert store.calls == circuit.FAILURES
    slept: list[float] = []
    with pytest.raises(StoreResting):
        Retrying(guarded, sleep=slept.append).open(KEY)
    assert slept == []


def test_patience_ends_with_the_last_answer(store, clock, monkeypatch):
    """Calls that come when the store has been silent for long are refused at once."""
    guarded = Guarded(store, Circuit("store scripted", 1, clock))
    release = threading.Event()
    store.act = lambda: bool(release.wait(60))
    thread = threading.Thread(target=guarded.open, args=(KEY,))
    thread.start()
    wait_for(lambda: store.calls == 1)
    clock.now += circuit.PATIENCE
    with pytest.raises(StoreResting):
        guarded.open(KEY)
    release.set()
    thread.join()


def test_a_slow_source_is_not_the_stores_fault(store, clock):
    guarded = Guarded(store, Circuit("store scripted", 1, clock))

    def source() -> Iterator[bytes]:
        clock.now += 60
        assert b"".join(guarded.open(KEY)) == b"one"
        yield b"x"

    assert guarded.add(KEY, source(), None).size == 1


def test_stores_of_one_peer_get_one(guarded):
    assert isinstance(bare(guarded), _Scripted)


def test_only_the_call_that_tries_ends_the_trial(store, clock, monkeypatch):
    """A call that began before the circuit opened ends after it: the one that tries is still alone."""
    circuit_of_store = Circuit("store scripted", 9, clock)
    guarded = Guarded(store, circuit_of_store)
    early = circuit_of_store.enter()
    store.act = down
    fail(guarded, circuit.FAILURES)
    clock.now += circuit.REST
    trial = circuit_of_store.enter()
    assert (early, trial) == (False, True)
    circuit_of_store.leave(early)
    for call in (lambda: guarded.open(KEY), lambda: guarded.add(KEY, [b"x"], 1)):
        with pytest.raises(StoreResting):
            call()
    circuit_of_store.leave(trial)
    store.act = lambda: None
    assert guarded.add(KEY, [b"x"], 1).size == 1
