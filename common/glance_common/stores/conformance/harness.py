"""One harness a driver: a store to test, how data get into it, and what may not be left behind."""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import closing
from uuid import uuid4

from glance_common.stores.contract import InUse, Store

PATIENCE = 120.0
"""Seconds that data may be in use by a reader or writer that is gone."""

DATA = bytes(range(256)) * 5000
"""1.28 MB: more than one piece for every driver."""


class Harness(ABC):
    """A store under test.

    ``part``: bytes of the parts in which the store writes large objects, None when it writes in one go.
    ``in_flight``: bytes that ``add`` may hold in memory at a time. ``read_ahead``: bytes that a read may hold.
    ``local``: the data are files of this host.
    ``exclusive``: of several ``add`` of one key at the same moment one succeeds. Where a server cannot promise that,
    the registry alone does: it never hands out a key twice. ``many``: objects that the test of ``walk`` writes.
    """

    part: int | None = None
    in_flight: int = 4 * 1024 * 1024
    read_ahead: int = 12 * 1024 * 1024
    local: bool = False
    exclusive: bool = True
    many: int = 25

    def __init__(self, store: Store) -> None:
        self.store = store

    @abstractmethod
    def objects(self) -> Sequence[str]:
        """Return the names of all that is in the store but its own mark, as its server lists them."""

    @abstractmethod
    def unfinished(self) -> Sequence[str]:
        """Return what unfinished writes left: files, parts, uploads. Some of it may be in ``objects`` as well."""

    def new_key(self) -> str:
        """Return a key under which there is nothing."""
        return str(uuid4())

    def put(self, data: bytes) -> str:
        """Bring data into the store and return their key."""
        key = self.new_key()
        self.store.add(key, [data], len(data))
        return key

    def read(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        """Return what a reader gets."""
        with closing(self.store.open(key, offset, length)) as blob:
            return b"".join(blob)

    def delete(self, key: str) -> None:
        """Delete a key, again while its data are in use: a server may find out late that a writer died."""
        until = time.monotonic() + PATIENCE
        while True:
            try:
                self.store.delete(key)
            except InUse:
                assert time.monotonic() < until, f"{key} stays in use"
                time.sleep(0.2)
            else:
                return

    def checked(self) -> Iterator["Harness"]:
        """Give the harness to a test; then nothing unfinished may be there, and nothing once all is deleted."""
        yield self
        assert list(self.unfinished()) == []
        for key in {entry.key for entry in self.store.walk()}:
            self.delete(key)
        assert list(self.objects()) == []


class RemoteHarness(Harness):
    """A store behind a network."""

    port: int
    """Where the server is on 127.0.0.1."""

    timeout: float
    """Seconds after which a call without an answer has to fail."""

    first_piece: int = 64 * 1024
    """Bytes of the first piece of a read at most."""

    @abstractmethod
    def at(self, port: int) -> Store:
        """Return the same store as if its server were at another port of 127.0.0.1."""

    @abstractmethod
    def without_place(self) -> Store:
        """Return a store whose bucket, container or database does not exist."""

    @abstractmethod
    def with_wrong_credentials(self) -> Store:
        """Return the same store with credentials that its server refuses."""

    @abstractmethod
    def exchanged(self) -> Store:
        """Return the same store, as the registry knows it, over another place that belongs to another store."""

    @abstractmethod
    def write_until_killed(self, key: str) -> None:
        """Begin to add data without end under ``key`` in another process, and kill it -9 in the middle of a part."""
