"""Image data on their way: fetched again from where they broke off, and never passed on whole unless they are right."""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import closing

from glance_api.replicator.apis import ImageApi
from glance_api.replicator.documents import ReplicaImage
from glance_api.replicator.peer import ReplicationError, TemporaryTrouble
from glance_common.fetch.deadlines import pause
from glance_common.fetch.url_session import BrokenOff
from glance_common.retry import Backoff

MOST_FAILURES = 5
"""Tries in succession that bring no byte."""

_OF_ANY_LENGTH = {"shake_128", "shake_256"}


class DataDigests:
    """Digests of data as they pass, for those that the image has."""

    def __init__(self, image: ReplicaImage) -> None:
        self._image = image
        self._size = 0
        self._expected: dict[str, str] = {}
        algorithm, value = image.fields.get("os_hash_algo"), image.fields.get("os_hash_value")
        if isinstance(value, str) and algorithm in hashlib.algorithms_guaranteed - _OF_ANY_LENGTH:
            self._expected[str(algorithm)] = value
        if isinstance(checksum := image.fields.get("checksum"), str):
            self._expected["md5"] = checksum
        self._hashes = {name: hashlib.new(name, usedforsecurity=False) for name in self._expected}

    def add(self, piece: bytes) -> None:
        """Take the next bytes. Raises ReplicationError when they are more than the image has."""
        self._size += len(piece)
        if self._size > self._image.size:
            raise ReplicationError(f"more than the {self._image.size} bytes of the image came.")
        for each in self._hashes.values():
            each.update(piece)

    def check(self) -> None:
        """Raise ReplicationError unless the data are those of the image."""
        if self._size != self._image.size:
            raise ReplicationError(f"{self._size} bytes came, the image has {self._image.size}.")
        for name, value in self._expected.items():
            if self._hashes[name].hexdigest() != value:
                raise ReplicationError(f"the data are damaged: their {name} is not that of the image.")


def checked(pieces: Iterable[bytes], image: ReplicaImage) -> Iterator[bytes]:
    """Yield the pieces, the last one only when size and digests are those of the image. Raises ReplicationError.

    Less than the whole size is yielded of data that are wrong: the server must not take them for complete.
    """
    digests = DataDigests(image)
    held = b""
    for piece in pieces:
        digests.add(piece)
        if held:
            yield held
        held = piece
    digests.check()
    if held:
        yield held


def fetched(api: ImageApi, image: ReplicaImage, chunk: int, offset: int = 0) -> Iterator[bytes]:
    """Yield the data of an image from ``offset``, going on where a transfer broke off. Raises ReplicationError."""
    backoff = Backoff(first=1.0, most=30.0)
    failures = 0
    while offset < image.size:
        try:
            for piece in _opened(api, image, chunk, offset):
                offset += len(piece)
                if offset > image.size:
                    raise ReplicationError(f"more than the {image.size} bytes of the image came.")
                failures = 0
                backoff.reset()
                yield piece
            if offset == image.size:
                return
            reason = "the data ended early"
        except (BrokenOff, TemporaryTrouble) as error:
            reason = f"the server {error}" if isinstance(error, BrokenOff) else str(error)
        failures += 1
        if failures > MOST_FAILURES:
            raise TemporaryTrouble(f"{reason}; given up at byte {offset} of {image.size}.")
        pause(backoff.next())


def _opened(api: ImageApi, image: ReplicaImage, chunk: int, offset: int) -> Iterator[bytes]:
    """Yield what one answer brings from ``offset`` on; a server without ranges sends what lies before, too."""
    response, at = api.open_data(image.id, offset)
    with closing(response):
        while piece := response.read(chunk):
            at += len(piece)
            if at > offset:
                yield piece[-min(at - offset, len(piece)):]
                offset = at
