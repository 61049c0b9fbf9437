"""The index in an SQLite database, with the table of the original: a database of it is read as it is.

A connection lives for one call: there are few (uses are counted in batches), and a file that was removed or exchanged
meanwhile does no harm.
"""

import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from typing import Any

from glance_api.cache.index.contract import IndexBroken, IndexBusy, IndexEntry, Use

_WAIT = 2.0
"""Seconds to wait for a writer in another process."""

_TABLE = """CREATE TABLE IF NOT EXISTS cached_images (
    image_id TEXT PRIMARY KEY, last_accessed REAL DEFAULT 0.0, last_modified REAL DEFAULT 0.0,
    size INTEGER DEFAULT 0, hits INTEGER DEFAULT 0, checksum TEXT NULL, verified INTEGER NOT NULL DEFAULT 0)"""
_ADDED = "ALTER TABLE cached_images ADD COLUMN verified INTEGER NOT NULL DEFAULT 0"
"""What the original's table does not have: none of its copies counts as verified."""

_SELECT = "SELECT image_id, size, last_modified, verified, hits, last_accessed, checksum FROM cached_images"
_COUNT = "UPDATE cached_images SET hits = hits + ?, last_accessed = MAX(last_accessed, ?) WHERE image_id = ?"
_PUT = """INSERT OR REPLACE INTO cached_images
    (image_id, size, last_modified, verified, hits, last_accessed, checksum) VALUES (?, ?, ?, ?, ?, ?, ?)"""
_NOT_BROKEN = {
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_PERM,
}


class SqliteIndex:
    """Fulfils ``contract.CacheIndex`` with one file, which is made when it is missing."""

    def __init__(self, path: str) -> None:
        self._path = path

    def put(self, entry: IndexEntry) -> None:
        """See the contract."""
        values = (
            entry.image_id, entry.size, entry.modified, entry.verified, entry.hits, entry.accessed, entry.checksum,
        )
        with self._connection() as connection:
            connection.execute(_PUT, values)

    def get(self, image_id: str) -> IndexEntry | None:
        """See the contract."""
        with self._connection() as connection:
            row = connection.execute(f"{_SELECT} WHERE image_id = ?", (image_id,)).fetchone()
        return _entry(row) if row else None

    def all(self) -> dict[str, IndexEntry]:
        """See the contract."""
        with self._connection() as connection:
            rows = connection.execute(_SELECT).fetchall()
        return {str(row[0]): _entry(row) for row in rows}

    def remove(self, image_id: str) -> None:
        """See the contract."""
        with self._connection() as connection:
            connection.execute("DELETE FROM cached_images WHERE image_id = ?", (image_id,))

    def count(self, uses: Mapping[str, Use]) -> list[str]:
        """See the contract."""
        with self._connection() as connection:
            return [
                image_id for image_id, use in uses.items()
                if not connection.execute(_COUNT, (use.hits, use.accessed, image_id)).rowcount
            ]

    def renew(self) -> None:
        """See the contract."""
        for end in ("", "-wal", "-shm", "-journal"):
            with suppress(FileNotFoundError):
                os.unlink(self._path + end)

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self._path, timeout=_WAIT)) as connection:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = NORMAL")
                connection.execute(_TABLE)
                names = {row[1] for row in connection.execute("PRAGMA table_info(cached_images)")}
                if "verified" not in names:
                    with suppress(sqlite3.OperationalError):  # another process has added it
                        connection.execute(_ADDED)
                with connection:
                    yield connection
        except sqlite3.Error as error:
            # The lowest byte is the kind, the others say more.
            kind = getattr(error, "sqlite_errorcode", 0) & 0xFF
            family = IndexBusy if kind in _NOT_BROKEN else IndexBroken
            raise family(f"{self._path}: {error}") from error


def _entry(row: tuple[Any, ...]) -> IndexEntry:
    image_id, size, modified, verified, hits, accessed, checksum = row
    try:
        return IndexEntry(
            str(image_id), int(size or 0), float(modified or 0), int(verified or 0), int(hits or 0),
            float(accessed or 0), checksum,
        )
    except (TypeError, ValueError) as error:
        raise IndexBroken(f"a row holds no numbers: {error}") from error
