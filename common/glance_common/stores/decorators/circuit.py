"""A store that is down or hangs answers at once, and takes no threads from other stores.

Every driver has time limits. But until they are over a call holds its thread, and the next call begins anew: a store
that hangs would take all threads of a process. So failures open a *circuit*: for a while nothing is asked. And only a
share of the threads may wait for the first answer of one store.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from glance_common.stores.contract import (
    Blob,
    DataAccess,
    Delete,
    Store,
    Stored,
    StoredObject,
    StoreError,
    StoreResting,
    StoreUnavailable,
    WriteDenied,
)
from glance_common.stores.decorators.base import BlobWrapper, Wrapper

FAILURES = 3
"""Calls in a row that end without an answer until the circuit opens: one alone may be a connection that was closed."""

REST = 10.0
"""Seconds that an open circuit asks nothing; then one call tries."""

PATIENCE = 0.5
"""Seconds that a store may take all places without an answer until further calls are refused at once."""

STUCK = 2.0
"""Seconds after which a piece that does not come counts as a call that waits."""


class Circuit:
    """The state of one store in one process: whether it may be asked, and how many calls wait for it."""

    def __init__(self, store: str, most_waiting: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._most = most_waiting
        self._clock = clock
        self._changed = threading.Condition()
        self._failures = 0
        self._opened_at: float | None = None
        self._is_trying = False
        self._waiting = 0
        self._moved_at = clock()
        self._streams: dict[int, float] = {}
        self._reason = ""

    @contextmanager
    def call(self) -> Iterator[None]:
        """Make one call in the block. Raises StoreResting at once while the circuit is open or the store hangs."""
        is_trial = self.enter()
        try:
            with self.verdict():
                yield
        finally:
            self.leave(is_trial)

    @contextmanager
    def verdict(self) -> Iterator[None]:
        """Learn from how the block ends: StoreUnavailable speaks against the store, every other answer for it.

        Errors that are none of a store say nothing.
        """
        try:
            yield
        except WriteDenied:
            self._note(None)
            raise
        except StoreUnavailable as error:
            self._note(str(error))
            raise
        except StoreError:
            self._note(None)
            raise
        self._note(None)

    def begin_wait(self, stream: object) -> None:
        """Note that a transfer waits for the store from now on."""
        with self._changed:
            self._streams[id(stream)] = self._clock()

    def end_wait(self, stream: object) -> None:
        """Note that the transfer no longer waits."""
        with self._changed:
            self._streams.pop(id(stream), None)

    def enter(self) -> bool:
        """Take a place among the calls that wait; return whether this is the one that tries a store after its rest.

        ``leave`` gives the place back. Raises StoreResting while the circuit is open or the store hangs.
        """
        with self._changed:
            self._refuse_when_open()
            while self._hanging() >= self._most:
                left = self._moved_at + PATIENCE - self._clock()
                if left <= 0:
                    raise StoreResting(f"{self._store}: {self._most} calls wait for the store already")
                self._changed.wait(left)
                self._refuse_when_open()
            self._waiting += 1
            self._moved_at = self._clock()
            is_trial = self._opened_at is not None
            self._is_trying |= is_trial
            return is_trial

    def leave(self, is_trial: bool) -> None:
        """Give the place back; ``is_trial`` is what ``enter`` returned."""
        with self._changed:
            self._waiting -= 1
            if is_trial:
                self._is_trying = False
            self._changed.notify()

    def _refuse_when_open(self) -> None:
        if self._opened_at is None:
            return
        left = self._opened_at + REST - self._clock()
        if left > 0 or self._is_trying:
            raise StoreResting(f"{self._store} is asked again in {max(left, 0):.0f} s: {self._reason}")

    def _hanging(self) -> int:
        late = self._clock() - STUCK
        return self._waiting + sum(since < late for since in self._streams.values())

    def _note(self, failure: str | None) -> None:
        with self._changed:
            if failure is None:
                self._failures, self._opened_at = 0, None
                self._moved_at = self._clock()
                return
            self._failures += 1
            if self._failures >= FAILURES or self._opened_at is not None:
                self._opened_at, self._reason = self._clock(), failure


class Guarded(Wrapper):
    """A store whose calls go through a circuit."""

    def __init__(self, inner: Store, circuit: Circuit) -> None:
        super().__init__(inner)
        self._circuit = circuit

    def add(self, key: str, pieces: Iterable[bytes], size: int | None) -> Stored:
        """See the contract. What the source does, and the time that it takes, says nothing about the store."""
        source = _Source(pieces, self._circuit)
        try:
            with self._circuit.verdict():
                return self.inner.add(key, source, size)
        except _SourceFailed as failed:
            raise failed.error from None
        finally:
            source.end()

    def open(self, key: str, offset: int = 0, length: int | None = None) -> Blob:
        """See the contract."""
        with self._circuit.call():
            return _GuardedBlob(self.inner.open(key, offset, length), self._circuit)

    def size(self, key: str) -> int:
        """See the contract."""
        with self._circuit.call():
            return self.inner.size(key)

    def delete_by(self, delete: Delete, key: str) -> None:
        """See the contract."""
        with self._circuit.call():
            delete(key)

    def set_access(self, key: str, access: DataAccess) -> None:
        """See the contract."""
        with self._circuit.call():
            self.inner.set_access(key, access)

    def check(self) -> None:
        """See the contract. Always asks: this is how a monitor finds out."""
        self.inner.check()

    def identity(self) -> str:
        """See the contract."""
        with self._circuit.call():
            return self.inner.identity()

    def walk(self, after: str | None = None) -> Iterator[StoredObject]:
        """See the contract."""
        found = self.inner.walk(after)
        while True:
            with self._circuit.call():
                entry = next(found, None)
            if entry is None:
                return
            yield entry


class _Source:
    """The pieces of an ``add``: between two pieces the store is at work.

    Until the first one is asked for, the ``add`` is a call that waits like others.
    """

    def __init__(self, pieces: Iterable[bytes], circuit: Circuit) -> None:
        self._pieces = pieces
        self._circuit = circuit
        self._is_trial = circuit.enter()
        self._has_place = True

    def end(self) -> None:
        """Wait for the store no more."""
        self._give_place_back()
        self._circuit.end_wait(self)

    def _give_place_back(self) -> None:
        if self._has_place:
            self._has_place = False
            self._circuit.leave(self._is_trial)

    def __iter__(self) -> Iterator[bytes]:
        self._give_place_back()
        pieces = iter(self._pieces)
        while True:
            self._circuit.end_wait(self)
            try:
                piece = next(pieces, None)
            except StoreUnavailable as error:
                # Of another store, which is copied from.
                raise _SourceFailed(error) from error
            if piece is None:
                break
            self._circuit.begin_wait(self)
            yield piece
        self._circuit.begin_wait(self)


class _SourceFailed(Exception):
    """Carries an error of the source past the verdict about the store."""

    def __init__(self, error: StoreUnavailable) -> None:
        super().__init__()
        self.error = error


class _GuardedBlob(BlobWrapper):
    """An opened read whose waits are known to the circuit."""

    def __init__(self, inner: Blob, circuit: Circuit) -> None:
        super().__init__(inner)
        self._circuit = circuit

    def __iter__(self) -> Iterator[bytes]:
        pieces = iter(self.inner)
        while True:
            self._circuit.begin_wait(self)
            try:
                with self._circuit.verdict():
                    piece = next(pieces, None)
            finally:
                self._circuit.end_wait(self)
            if piece is None:
                return
            yield piece
