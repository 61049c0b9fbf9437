"""The values and protocols between an import and its parts (API section 11.2, configuration section 1.5).

A *source* gives the bytes that an import stages, a *plugin* changes a staged image before it goes to the stores.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol


class ImportFailed(Exception):
    """The import cannot continue; the text becomes the message of the task and holds only what its owner may know.

    Trying again needs another image, another source or an operator.
    """


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What a plugin knows about the image and its importer."""

    id: str
    disk_format: str
    container_format: str
    properties: Mapping[str, str | None] = field(default_factory=dict)
    roles: tuple[str, ...] = ()
    """The roles of the caller, in lower case."""


@dataclass(frozen=True, slots=True)
class ImportChanges:
    """What a source or a plugin says about the image; None = as it was, ``properties`` are added or replaced.

    ``path`` is a file in the work folder that takes the place of the staged data.
    """

    path: Path | None = None
    disk_format: str | None = None
    container_format: str | None = None
    properties: Mapping[str, str | None] = field(default_factory=dict)
    virtual_size: int | None = None


@dataclass(frozen=True, slots=True)
class ImportSource:
    """An opened source. Iterate ``pieces`` once, within the ``with`` block of the function that opened it.

    ``pieces`` raises ImportFailed when the peer stops sending too early; ``announced`` is the number of bytes to come,
    None when it is unknown, so the reader must cap what it takes (S-61). ``facts`` is what the source knows about the
    image, for example the formats of the image that is copied.
    """

    pieces: Iterator[bytes]
    announced: int | None
    facts: ImportChanges = ImportChanges()


class WriteRoom(Protocol):
    """How much a plugin may write: what the quotas of the image's owner and the disk have room for (S-40)."""

    def cover(self, size: int, *, wait: bool = True) -> None:
        """See to it that the result being made may have ``size`` bytes; to be called before they are written.

        With ``wait``, a refusal is repeated for some seconds, as others may give room back. Raises TooLarge with the
        limit, Gone, Conflict, Unavailable.
        """

    def left(self) -> int | None:
        """Return how many bytes the result may have at most, as the quotas are now; None without quotas."""


@dataclass(frozen=True, slots=True)
class Work:
    """Where a plugin may write and how much, and how it learns that its result is not wanted any more.

    ``folder`` is private to one import and on the file system of the staging store. ``still_wanted`` is called every
    second or so while something takes long, and raises what then comes out of the plugin.
    """

    folder: Path
    still_wanted: Callable[[], None]
    room: WriteRoom


class Plugin(Protocol):
    """One entry of ``[image_import_opts] image_import_plugins``."""

    name: ClassVar[str]

    def apply(self, image: ImageFacts, path: Path, work: Work) -> ImportChanges:
        """Look at the staged data at ``path``, which stays untouched, and return what becomes of the image.

        What it writes into the work folder is covered by ``work.room`` before it is written.

        Raises ImportFailed, UnsupportedMediaType for unsafe content (S-39), TooLarge, and what ``still_wanted`` raises.
        """
