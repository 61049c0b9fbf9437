"""Options of the file driver, parsed and checked (configuration section 1.7, stores section 3)."""

import json
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oslo_config import cfg

from glance_common.stores.settings import StoreSettings

_PRIORITY = re.compile(r"-?[0-9]{1,9}")
_MODE = re.compile(r"(0o)?[0-7]{1,4}")
_NO_GUARD = "Files are read and written in the thread that asks; a file system that hangs is a matter of its mount."

OPTIONS: list[cfg.Opt] = [
    cfg.StrOpt(
        "filesystem_store_datadir", default="/var/lib/glance/images",
        help="Directory of the image data. Not together with filesystem_store_datadirs.",
    ),
    cfg.MultiStrOpt(
        "filesystem_store_datadirs",
        help="Several directories, one a line, as path or path:priority. The highest priority that has room "
        "gets the data; among equal ones the one with most free space. Priority 0 when left out.",
    ),
    cfg.StrOpt(
        "filesystem_store_metadata_file",
        help="JSON file with one object or a list of objects {id, mountpoint, ...}; the one whose mountpoint holds the "
        "image becomes metadata of its location.",
    ),
    cfg.StrOpt(
        "filesystem_store_file_perm", default="0",
        help="Octal mode of image files, for example 0644 for a hypervisor that reads them directly; 0 leaves them to "
        "the service and its group (0640 less the umask). Must let the owner read.",
    ),
    cfg.IntOpt("filesystem_store_chunk_size", default=65536, min=4096, max=16 * 1024**2, help="Bytes of one read."),
    cfg.BoolOpt("filesystem_thin_provisioning", default=False, help="Write blocks of zeros as holes."),
    cfg.IntOpt(
        "filesystem_store_timeout", default=0, min=0, help="Without effect.",
        deprecated_for_removal=True, deprecated_reason=_NO_GUARD,
    ),
    cfg.IntOpt(
        "filesystem_store_thread_pool_size", default=10, min=1, help="Without effect.",
        deprecated_for_removal=True, deprecated_reason=_NO_GUARD,
    ),
    cfg.IntOpt(
        "filesystem_store_threadpool_threshold", default=75, min=1, max=100, help="Without effect.",
        deprecated_for_removal=True, deprecated_reason=_NO_GUARD,
    ),
]


@dataclass(frozen=True, slots=True)
class DataDir:
    """One directory as configured."""

    path: str
    priority: int


@dataclass(frozen=True, slots=True)
class FileOptions:
    """The options of one file store, checked."""

    directories: tuple[DataDir, ...]
    """At least one, the highest priority first."""
    mode: int | None
    """Mode of image files, or None to leave it to the umask."""
    piece: int
    thin: bool
    metadata: tuple[dict[str, Any], ...]

    def metadata_of(self, path: str) -> dict[str, Any] | None:
        """Return the metadata entry whose mountpoint holds ``path``, the closest one; None when there is none."""
        fitting = [entry for entry in self.metadata if _holds(entry["mountpoint"], path)]
        return max(fitting, key=lambda entry: len(entry["mountpoint"]), default=None)


def _holds(mountpoint: str, path: str) -> bool:
    """Compare whole path components: /data must not match /database."""
    return os.path.commonpath([mountpoint, path]) == os.path.normpath(mountpoint)


def parse(settings: StoreSettings) -> FileOptions:
    """Return the options of the store. Raises StoreConfigError."""
    return FileOptions(
        directories=_directories(settings),
        mode=_mode(settings),
        piece=settings.value("filesystem_store_chunk_size"),
        thin=settings.value("filesystem_thin_provisioning"),
        metadata=_metadata(settings),
    )


def directory_mode(file_mode: int | None) -> int:
    """Return the search bits that a directory needs so that users who may read its files can reach them."""
    bits = 0
    if file_mode is not None and file_mode & stat.S_IRGRP:
        bits |= stat.S_IXGRP
    if file_mode is not None and file_mode & stat.S_IROTH:
        bits |= stat.S_IXOTH
    return bits


def _directories(settings: StoreSettings) -> tuple[DataDir, ...]:
    """Choose between the two options. The default of ``filesystem_store_datadir`` gives way to the other one, so that
    the empty line ``filesystem_store_datadir =`` that older files needed is understood but not needed."""
    one: str = (settings.value("filesystem_store_datadir") or "").strip()
    several = [entry for entry in settings.value("filesystem_store_datadirs") or [] if entry.strip()]
    explicit = settings.is_set("filesystem_store_datadir") and one != ""
    if explicit and several and settings.is_set("filesystem_store_datadirs"):
        raise settings.refuse(
            "filesystem_store_datadirs",
            "cannot be used together with filesystem_store_datadir; set only one of the two",
        )
    if several and not explicit:
        return _several(settings, several)
    if not one:
        raise settings.refuse("filesystem_store_datadir", "must be set, or filesystem_store_datadirs")
    return (DataDir(_path(settings, "filesystem_store_datadir", one), 0),)


def _several(settings: StoreSettings, entries: list[str]) -> tuple[DataDir, ...]:
    option = "filesystem_store_datadirs"
    priorities: dict[str, int] = {}
    for entry in entries:
        text, colon, number = entry.strip().rpartition(":")
        if not colon:
            text, number = number, "0"
        if _PRIORITY.fullmatch(number) is None:
            raise settings.refuse(option, f"{entry!r} must be path or path:priority with an integer as priority")
        path = _path(settings, option, text)
        if priorities.setdefault(path, int(number)) != int(number):
            raise settings.refuse(option, f"names {path} twice with different priorities")
    ordered = sorted(priorities.items(), key=lambda item: -item[1])
    return tuple(DataDir(path, priority) for path, priority in ordered)


def _path(settings: StoreSettings, option: str, text: str) -> str:
    if not text.startswith("/"):
        raise settings.refuse(option, f"{text!r} must be an absolute path")
    # normpath keeps two leading slashes, which would make two names of one directory.
    return os.path.normpath("/" + text.lstrip("/"))


def _mode(settings: StoreSettings) -> int | None:
    text = settings.value("filesystem_store_file_perm").strip()
    if _MODE.fullmatch(text) is None or int(text, 8) > 0o777:
        raise settings.refuse("filesystem_store_file_perm", "must be an octal mode up to 777, like 0644; 0 = leave")
    mode = int(text, 8)
    if mode == 0:
        return None
    if not mode & stat.S_IRUSR:
        raise settings.refuse("filesystem_store_file_perm", "must let the owner read (bit 0400)")
    return mode


def _metadata(settings: StoreSettings) -> tuple[dict[str, Any], ...]:
    option = "filesystem_store_metadata_file"
    path = settings.value(option)
    if not path:
        return ()
    try:
        document = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise settings.refuse(option, f"cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise settings.refuse(option, f"must hold JSON: {error}") from None
    entries = document if isinstance(document, list) else [document]
    for entry in entries:
        if not isinstance(entry, dict) or not all(isinstance(entry.get(key), str) for key in ("id", "mountpoint")):
            raise settings.refuse(option, "must hold an object or a list of objects with the strings id and mountpoint")
        if not entry["mountpoint"].startswith("/"):
            raise settings.refuse(option, f"mountpoint {entry['mountpoint']!r} must be an absolute path")
    return tuple(entries)
