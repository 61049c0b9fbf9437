"""The folder of a dump: for each image ``<id>`` (its description, JSON) and ``<id>.img`` (its data)."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import orjson

from glance_api.replicator.content import DataDigests
from glance_api.replicator.documents import ReplicaImage, is_id
from glance_api.replicator.peer import ReplicationError

LARGEST_DESCRIPTION = 8 * 1024 * 1024
_READ = 1024 * 1024


class DumpFolder:
    """One folder. Every method raises ReplicationError when files cannot be read or written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_dir():
            raise ReplicationError(f"there is no folder {path}.")

    def ids(self) -> list[str]:
        """Return the ids of the images that are described here, in order."""
        try:
            return sorted(name for name in os.listdir(self.path) if is_id(name))
        except OSError as error:
            raise _trouble(self.path, error) from None

    def is_described(self, image_id: str) -> bool:
        """Tell whether there is a description of the image."""
        return (self.path / image_id).exists()

    def has_data(self, image_id: str) -> bool:
        """Tell whether the data of the image are here, whole."""
        return self._data(image_id).exists()

    def describe(self, image: ReplicaImage) -> None:
        """Write the description of an image."""
        # As v1 describes it, which the original's load reads, and what v2 knows besides.
        is_public = image.fields.get("visibility") == "public"
        document = {**image.fields, "id": image.id, "is_public": is_public, "properties": image.properties}
        target = self.path / image.id
        unfinished = target.with_suffix(".tmp")
        try:
            unfinished.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
            unfinished.rename(target)
        except OSError as error:
            raise _trouble(target, error) from None

    def read(self, image_id: str) -> ReplicaImage:
        """Return the image that a description is about."""
        path = self.path / image_id
        try:
            with path.open("rb") as file:
                content = file.read(LARGEST_DESCRIPTION + 1)
            document = orjson.loads(content)
        except OSError as error:
            raise _trouble(path, error) from None
        except ValueError:
            raise ReplicationError(f"{path} is not JSON.") from None
        # The original writes the description without the id in some releases; the name of the file is the id.
        image = ReplicaImage.of({"id": image_id, **document} if isinstance(document, dict) else document)
        if image.id != image_id:
            raise ReplicationError(f"{path} describes another image: {image.id}.")
        return image

    def pieces(self, image: ReplicaImage, chunk: int) -> Iterator[bytes]:
        """Yield the data of an image."""
        path = self._data(image.id)
        try:
            with path.open("rb") as file:
                while piece := file.read(chunk):
                    yield piece
        except OSError as error:
            raise _trouble(path, error) from None

    def here(self, image: ReplicaImage) -> int:
        """Return how many bytes of the image an earlier dump, which broke off, has left."""
        try:
            size = self._part(image.id).stat().st_size
        except FileNotFoundError:
            return 0
        return size if size <= image.size else 0

    def keep(self, image: ReplicaImage, pieces: Iterable[bytes], offset: int) -> None:
        """Write the data from ``offset`` on; they get their name only when all of them are right.

        What came stays for the next try, unless it is damaged.
        """
        part = self._part(image.id)
        digests = DataDigests(image)
        try:
            with part.open("r+b" if offset else "wb") as file:
                while file.tell() < offset and (piece := file.read(min(_READ, offset - file.tell()))):
                    digests.add(piece)
                file.truncate(offset)
                for piece in pieces:
                    file.write(piece)
                    digests.add(piece)
                file.flush()
                os.fsync(file.fileno())
            try:
                digests.check()
            except ReplicationError:
                part.unlink()
                raise
            part.rename(self._data(image.id))
        except OSError as error:
            raise _trouble(part, error) from None

    def _data(self, image_id: str) -> Path:
        return self.path / f"{image_id}.img"

    def _part(self, image_id: str) -> Path:
        return self.path / f"{image_id}.img.part"


def _trouble(path: Path, error: OSError) -> ReplicationError:
    return ReplicationError(f"{path}: {error.strerror}")
