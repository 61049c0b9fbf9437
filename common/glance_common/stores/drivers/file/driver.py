"""The file store (stores section 3)."""

import heapq
import itertools
import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote, unquote, urlsplit

from oslo_config import cfg

from glance_common.stores.contract import (
    BlobExists,
    BlobNotFound,
    Capabilities,
    DataAccess,
    Delete,
    Stored,
    StoredObject,
    StoreFull,
    StoreUnavailable,
    is_key,
    require_key,
    require_range,
)
from glance_common.stores.drivers.file import options as file_options
from glance_common.stores.drivers.file.blob import FileBlob
from glance_common.stores.drivers.file.directory import Directory, Handle, Unsynced
from glance_common.stores.drivers.file.unfinished import Unfinished
from glance_common.stores.settings import Identities, StoreSettings, Traits

log = logging.getLogger(__name__)

T = TypeVar("T")

_SCHEMES = ("file", "filesystem")

_WALK_BATCH = 100_000
"""Names that a walk holds at a time, about 10 MB. A directory has no order, so each batch reads all of its names."""

_DESCRIBED = 1000
"""Files that a walk asks for size and time at once."""


class FileStore:
    """Images as files ``<directory>/<key>``; fulfils ``contract.Store`` and ``settings.Driver``."""

    kind = "file"
    traits = Traits(place_option="filesystem_store_datadir")
    capabilities = Capabilities(schemes=_SCHEMES, add=True, delete=True, ranges=True, walk=True)

    def __init__(self, settings: StoreSettings, options: file_options.FileOptions, identities: Identities) -> None:
        self.id = settings.id
        self.description = settings.description
        self.weight = settings.weight
        self._options = options
        bits = file_options.directory_mode(options.mode)
        self._directories = [
            Directory(settings.id, place.path, place.priority, bits, identities)
            for place in options.directories
        ]
        self._lock = threading.Lock()
        self._writing: set[str] = set()

    @classmethod
    def options(cls) -> Sequence[cfg.Opt]:
        """Return the options of one file store."""
        return file_options.OPTIONS

    @classmethod
    def build(cls, settings: StoreSettings, identities: Identities) -> "FileStore":
        """Return the store. Raises StoreConfigError."""
        return cls(settings, file_options.parse(settings), identities)

    @classmethod
    def places(cls, settings: StoreSettings) -> Sequence[str]:
        """Return the directories. Raises StoreConfigError."""
        return [place.path for place in file_options.parse(settings).directories]

    @classmethod
    def create_places(cls, settings: StoreSettings) -> Sequence[str]:
        """Create missing directories for owner and group; return them. Raises StoreConfigError, OSError."""
        missing = [path for path in cls.places(settings) if not os.path.isdir(path)]
        for path in missing:
            os.makedirs(path, mode=0o750)
        return missing

    def add(self, key: str, pieces: Iterable[bytes], size: int | None) -> Stored:
        """See the contract. The data are in the kernel's hands piece by piece and on the disk on return."""
        require_key(key)
        with self._sole_writer(key):
            directory = self._choose(key, size or 0)
            with directory.proven() as handle, handle.incoming() as incoming:
                unfinished = Unfinished(handle, incoming, key)
                try:
                    written = unfinished.write(pieces, self._options.thin)
                    unfinished.settle(self._options.mode)
                    unfinished.publish()
                    self._refuse_twin(directory, key)
                    unfinished.secure()
                except BaseException:
                    unfinished.withdraw()
                    raise
                finally:
                    unfinished.close()
        return Stored(written, self._metadata(f"{directory.path}/{key}"))

    def open(self, key: str, offset: int = 0, length: int | None = None) -> FileBlob:
        """See the contract."""
        require_range(offset, length)
        fd, path = self._find(key)
        return FileBlob(fd, path, offset, length, self._options.piece)

    def size(self, key: str) -> int:
        """See the contract."""
        fd, _ = self._find(key)
        try:
            return os.fstat(fd).st_size
        finally:
            os.close(fd)

    def delete(self, key: str) -> None:
        """See the contract. Looks into every directory, so that no copy and no unfinished file of the key remains."""
        with self.deletes() as delete:
            delete(key)

    @contextmanager
    def deletes(self) -> Iterator[Delete]:
        """See the contract of ``DeletesTogether``: each directory is synced once."""
        unsynced = Unsynced()
        try:
            yield partial(self._delete, unsynced)
        finally:
            unsynced.settle()

    def _delete(self, unsynced: Unsynced, key: str) -> None:
        require_key(key)

        def remove(handle: Handle) -> bool:
            unsynced.note(handle)
            return handle.remove(key)

        found, problems = self._each_proven(remove)
        if any(found):
            return
        if problems:
            raise _unavailable(problems)
        raise BlobNotFound(f"{self.id}: there is no {key}")

    def url(self, key: str) -> str:
        """Return ``file:///directory/key`` with the directory that holds the key, else the first one."""
        require_key(key)
        return f"file://{quote(self._place_of(key))}/{key}"

    def key_of(self, url: str) -> str | None:
        """Return the key when the URL is a key directly inside one of the directories.

        Whole paths are compared: with the directory /data, file:///database/… and file:///data/../… are foreign.
        """
        try:
            parts = urlsplit(url)
        except ValueError:
            return None
        if parts.scheme not in _SCHEMES or parts.netloc or parts.query or parts.fragment:
            return None
        place, _, key = unquote(parts.path).rpartition("/")
        ours = any(place == directory.path for directory in self._directories)
        return key if ours and is_key(key) else None

    def details(self) -> dict[str, Any]:
        """Return the directory (a list when there are several), bytes of one read, and whether zeros become holes."""
        places = [directory.path for directory in self._directories]
        return {
            "data_dir": places[0] if len(places) == 1 else places,
            "chunk_size": self._options.piece,
            "thin_provisioning": self._options.thin,
        }

    def check(self) -> None:
        """Raise StoreUnavailable unless every directory is there and is the right one."""
        self._all_proven(Handle.free)

    def walk(self, after: str | None = None) -> Iterator[StoredObject]:
        """See the contract. A directory that cannot be proved ends it: a part would look like the whole."""
        last = after or ""
        while batch := self._keys(last):
            for start in range(0, len(batch), _DESCRIBED):
                yield from self._described(batch[start : start + _DESCRIBED])
            last = batch[-1]

    def _keys(self, after: str) -> list[str]:
        found = heapq.merge(*self._all_proven(lambda handle: handle.keys(after, _WALK_BATCH)))
        return list(itertools.islice((key for key, _ in itertools.groupby(found)), _WALK_BATCH))

    def _described(self, keys: list[str]) -> Iterator[StoredObject]:
        for entry in heapq.merge(*self._all_proven(lambda handle: handle.described(keys))):
            yield StoredObject(*entry)

    def free(self) -> int:
        """Return the bytes that fit into the directory with most room: an image is one file."""
        return max(self._all_proven(Handle.free))

    def identity(self) -> str:
        """Return the uuids of the directories, in their order."""
        self._all_proven(Handle.free)
        return ",".join(directory.identity or "" for directory in self._directories)

    def set_access(self, key: str, access: DataAccess) -> None:
        """Do nothing: the files are the service's own."""

    def presign(self, key: str, seconds: int) -> str | None:  # noqa: ARG002 - part of the protocol
        """Return None: files have no address outside of this host."""
        require_key(key)
        return None

    def _all_proven(self, act: Callable[[Handle], T]) -> list[T]:
        """Act in every directory. Raises StoreUnavailable unless each can be proved."""
        results, problems = self._each_proven(act)
        if problems:
            raise _unavailable(problems)
        return results

    def _each_proven(self, act: Callable[[Handle], T]) -> tuple[list[T], list[StoreUnavailable]]:
        """Act in every directory that can be proved; return the results, and what kept us out of the others."""
        results: list[T] = []
        problems: list[StoreUnavailable] = []
        for directory in self._directories:
            try:
                with directory.proven() as handle:
                    results.append(act(handle))
            except StoreUnavailable as error:
                problems.append(error)
        return results, problems

    def _find(self, key: str) -> tuple[int, str]:
        """Return a descriptor and the path of the file, which lies in a directory that is the right one.

        Raises BlobNotFound when every directory is proved and none holds it.
        """
        require_key(key)
        problems: list[StoreUnavailable] = []
        for directory in self._directories:
            try:
                with directory.opened() as handle:
                    directory.recognise(handle)
                    fd = handle.open_file(key)
                    if fd is not None:
                        return fd, f"{directory.path}/{key}"
                    directory.prove(handle)
            except StoreUnavailable as error:
                problems.append(error)
        if problems:
            raise _unavailable(problems)
        raise BlobNotFound(f"{self.id}: there is no {key}")

    def _choose(self, key: str, size: int) -> Directory:
        """Return the directory of the highest priority with room, among equal ones the one with most free space.

        Directories that are down are passed over: the others can still take uploads. Raises BlobExists when one holds
        the key, StoreFull when none has room, StoreUnavailable when one that is down might have had.
        """
        rooms: list[tuple[int, int, Directory]] = []
        problems: list[StoreUnavailable] = []
        for directory in self._directories:
            try:
                with directory.proven() as handle:
                    if handle.holds(key):
                        raise BlobExists(f"{directory.path}/{key} exists already")
                    rooms.append((directory.priority, handle.free(), directory))
            except StoreUnavailable as error:
                log.warning("store %s: %s", self.id, error)
                problems.append(error)
        fitting = [room for room in rooms if room[1] >= size]
        if fitting:
            return max(fitting, key=lambda room: room[:2])[2]
        if problems:
            raise _unavailable(problems)
        raise StoreFull(f"{self.id}: no directory has {size} bytes free")

    @contextmanager
    def _sole_writer(self, key: str) -> Iterator[None]:
        """Let one thread write a key: within a directory the link would decide, across several nothing does."""
        with self._lock:
            if key in self._writing:
                raise BlobExists(f"{self.id}: {key} is being written")
            self._writing.add(key)
        try:
            yield
        finally:
            with self._lock:
                self._writing.discard(key)

    def _refuse_twin(self, mine: Directory, key: str) -> None:
        """Raise BlobExists when another process published the key in another directory meanwhile.

        Both look only after their own link, so at least one sees the other; maybe both withdraw, never both stay.
        """
        for directory in self._directories:
            if directory is mine:
                continue
            if self._holds(directory, key):
                raise BlobExists(f"{directory.path}/{key} exists already")

    def _place_of(self, key: str) -> str:
        if len(self._directories) > 1:
            for directory in self._directories:
                if self._holds(directory, key):
                    return directory.path
        return self._directories[0].path

    def _holds(self, directory: Directory, key: str) -> bool:
        """Say whether the key is there; a directory that is down or is not the right one holds nothing of ours."""
        try:
            with directory.opened() as handle:
                directory.recognise(handle)
                return handle.holds(key)
        except StoreUnavailable as error:
            log.warning("store %s: %s", self.id, error)
            return False

    def _metadata(self, path: str) -> dict[str, object]:
        if not self._options.metadata:
            return {}
        entry = self._options.metadata_of(path)
        if entry is None:
            log.error("store %s: no mountpoint of filesystem_store_metadata_file holds %s", self.id, path)
            return {}
        return dict(entry)


def _unavailable(problems: list[StoreUnavailable]) -> StoreUnavailable:
    return StoreUnavailable("; ".join(str(problem) for problem in problems))
