"""The MongoDB database of one store: its connection, its time limits, and what its errors mean."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from oslo_config import cfg

from glance_common.stores.contract import StoreError, StoreFull, StoreUnavailable
from glance_common.stores.settings import StoreSettings

if TYPE_CHECKING:
    from pymongo.collection import Collection

OPTIONS: Sequence[cfg.Opt] = [
    cfg.StrOpt(
        "mongodb_store_uri", secret=True,
        help="Address of the MongoDB servers, mongodb://[user:password@]host[:port][,…]/[database]. Kind gridfs.",
    ),
    cfg.StrOpt("mongodb_store_db", help="Name of the database; by default the one in mongodb_store_uri."),
    cfg.FloatOpt(
        "mongodb_store_timeout", default=30.0, min=0.1,
        help="Seconds for each call to the servers: to find one, to connect, to answer.",
    ),
]

_IDLE_MS = 60_000
"""Milliseconds after which an unused connection is closed."""

FILES, CHUNKS, MARK = "fs.files", "fs.chunks", "glance_store"
"""Collections: those of GridFS by their usual names, and the one with the mark of the store."""

_REFUSED = {13: "refuses this user", 18: "refuses the user or the password"}
_FULL = frozenset({14031})
"""MongoDB's codes of errors: unauthorized, authentication failed; out of disk space."""


class Database:
    """Reaches the database; connects at the first call, after the fork of a worker."""

    def __init__(self, uri: str, name: str, place: str, timeout: float) -> None:
        """``place``: servers and database, for people and the registry; ``timeout``: seconds for each call."""
        from pymongo import MongoClient, ReadPreference
        from pymongo.uri_parser import parse_uri
        from pymongo.write_concern import WriteConcern

        self._timeout = timeout
        given = parse_uri(uri)["options"]
        self._is_limited = "maxPoolSize" in given
        own: dict[str, Any] = {}
        if not self._is_limited:
            # Each read has a connection for itself, so the threads bound their number; the library's default is 100.
            own["maxPoolSize"] = 0
            if "maxIdleTimeMS" not in given:
                own["maxIdleTimeMS"] = _IDLE_MS
        # Nothing is connected yet: the client does that by itself, in each process.
        self._client: MongoClient[dict[str, Any]] = MongoClient(
            uri, connect=False, timeoutMS=int(timeout * 1000), serverSelectionTimeoutMS=int(timeout * 1000),
            connectTimeoutMS=int(timeout * 1000), retryWrites=False, appname="glance", **own,
        )
        # What was acknowledged must be found at once: a secondary may not have it yet, whatever the URI prefers.
        self._database = self._client.get_database(
            name, write_concern=WriteConcern("majority", j=True), read_preference=ReadPreference.PRIMARY
        )
        self.place = place

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def collection(self, name: str) -> "Collection[dict[str, Any]]":
        """Return a collection of the database."""
        return self._database[name]

    def can_stream(self) -> bool:
        """Say whether a read may hold a connection, on which the server sends the next batches unasked.

        Not where the URI limits the connections: reads would take them from all other calls. Not from a router to
        shards: only those from release 7.1 on could. Waits for a server when none was reached yet. Raises errors of the
        library, so ask it within ``asked``.
        """
        return not self._is_limited and not self._client.is_mongos

    def free(self) -> int | None:
        """Return the free bytes on the server's disk; None when it does not tell this user."""
        from pymongo.errors import OperationFailure

        try:
            facts = self._database.command("dbStats")
        except OperationFailure:
            return None
        # Both are 0 for a database that has no collection yet.
        total, used = facts.get("fsTotalSize"), facts.get("fsUsedSize")
        return max(int(total - used), 0) if total and used else None

    @contextmanager
    def asked(self, share: float = 1.0) -> Iterator[None]:
        """Bound the calls of the block together, by that share of the timeout, and translate the library's errors."""
        import pymongo
        from pymongo.errors import PyMongoError

        try:
            with pymongo.timeout(self._timeout * share):
                yield
        except PyMongoError as error:
            raise self._meaning(error) from error

    def _meaning(self, error: Exception) -> StoreError:
        code = getattr(error, "code", None)
        if code in _FULL:
            return StoreFull(f"{self.place}: the disk of the server is full")
        if code in _REFUSED:
            return StoreUnavailable(f"{self.place} {_REFUSED[code]}")
        # The texts of the library show the state of every server, and may show documents.
        told = f"error {code}" if code is not None else type(error).__name__
        return StoreUnavailable(f"{self.place} does not answer or cannot do it: {told}")


def open_database(settings: StoreSettings) -> Database:
    """Return the database that the options name. Raises StoreConfigError."""
    uri, name, place = _parse(settings)
    return Database(uri, name, place, settings.value("mongodb_store_timeout"))


def place_of(settings: StoreSettings) -> str:
    """Return servers and database, for people and the registry. Raises StoreConfigError."""
    _, _, place = _parse(settings)
    return place


def _parse(settings: StoreSettings) -> tuple[str, str, str]:
    """Return address, name of the database, and place. Raises StoreConfigError."""
    try:
        from pymongo.errors import PyMongoError
        from pymongo.uri_parser import parse_uri
    except ImportError:
        raise settings.refuse(
            "mongodb_store_db", "needs the package pymongo: pip install 'glance-services[gridfs]'"
        ) from None
    uri: str = settings.value("mongodb_store_uri") or ""
    if uri.startswith("mongodb+srv:"):
        # It would ask the DNS at the start, and name other servers, so another place, when the answer changes.
        raise _refused_uri(settings, "must name the servers: mongodb+srv is not supported")
    try:
        parsed = parse_uri(uri, validate=True)
    except (PyMongoError, ValueError):
        # The text of the error would repeat the address, which may hold a password.
        raise _refused_uri(settings, "must be mongodb://[user:password@]host[:port]/[database]") from None
    name: str | None = settings.value("mongodb_store_db") or parsed["database"]
    if not name:
        raise settings.refuse("mongodb_store_db", "must be set when mongodb_store_uri names no database")
    # In one order, however they are written: the registry knows the place by this name.
    hosts = ",".join(sorted(f"{host}:{port}" for host, port in parsed["nodelist"]))
    return uri, name, f"mongodb://{hosts}/{name}"


def _refused_uri(settings: StoreSettings, allowed: str) -> Exception:
    from glance_common.stores.settings import StoreConfigError

    return StoreConfigError(settings.group, "mongodb_store_uri", "***", allowed)
