"""The index in extended attributes of the copies, ``user.glance.*``: it goes with the files and needs none of its own.
"""

import errno
import os
from collections.abc import Mapping

from glance_api.cache.index.contract import IndexBusy, IndexEntry, Use
from glance_api.cache.wanted import is_cacheable

_PREFIX = "user.glance."
_NOT_THERE = {errno.ENODATA, errno.ENOENT}


class XattrIndex:
    """Fulfils ``contract.CacheIndex``. A counted use may be lost when two processes count at the same moment."""

    def __init__(self, directory: str) -> None:
        self._directory = directory

    def put(self, entry: IndexEntry) -> None:
        """See the contract."""
        self._set(entry.image_id, {
            "verified": str(entry.verified), "hits": str(entry.hits), "last_accessed": repr(entry.accessed),
            "checksum": entry.checksum or "",
        })

    def get(self, image_id: str) -> IndexEntry | None:
        """See the contract."""
        path = f"{self._directory}/{image_id}"
        try:
            seen = os.stat(path, follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise IndexBusy(f"{path}: {error.strerror}") from error
        return IndexEntry(
            image_id, seen.st_size, seen.st_mtime, _count(path, "verified"), _count(path, "hits"),
            _number(path, "last_accessed"), _text(path, "checksum") or None,
        )

    def all(self) -> dict[str, IndexEntry]:
        """See the contract."""
        try:
            names = [name for name in os.listdir(self._directory) if is_cacheable(name)]
        except OSError as error:
            raise IndexBusy(f"{self._directory}: {error.strerror}") from error
        found = ((name, self.get(name)) for name in names)
        return {name: entry for name, entry in found if entry is not None}

    def remove(self, image_id: str) -> None:
        """Do nothing: the attributes go with the file."""

    def count(self, uses: Mapping[str, Use]) -> list[str]:
        """See the contract; the attributes of a copy are its entry."""
        for image_id, use in uses.items():
            path = f"{self._directory}/{image_id}"
            self._set(image_id, {
                "hits": str(_count(path, "hits") + use.hits),
                "last_accessed": repr(max(_number(path, "last_accessed"), use.accessed)),
            })
        return []

    def renew(self) -> None:
        """Do nothing: an attribute that is no number counts as 0."""

    def _set(self, image_id: str, values: Mapping[str, str]) -> None:
        path = f"{self._directory}/{image_id}"
        try:
            for name, value in values.items():
                os.setxattr(path, _PREFIX + name, value.encode(), follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NOT_THERE:
                raise IndexBusy(f"{path}: {error.strerror}") from error


def are_possible(directory: str) -> bool:
    """Say whether the file system of the directory keeps such attributes."""
    try:
        os.setxattr(directory, _PREFIX + "probe", b"1")
        os.removexattr(directory, _PREFIX + "probe")
    except OSError:
        return False
    return True


def _text(path: str, name: str) -> str:
    try:
        return os.getxattr(path, _PREFIX + name, follow_symlinks=False).decode(errors="replace")
    except OSError as error:
        if error.errno in _NOT_THERE:
            return ""
        raise IndexBusy(f"{path}: {error.strerror}") from error


def _number(path: str, name: str) -> float:
    try:
        return float(_text(path, name) or 0)
    except ValueError:
        return 0.0


def _count(path: str, name: str) -> int:
    text = _text(path, name)
    return int(text) if text.isascii() and text.isdigit() else 0
