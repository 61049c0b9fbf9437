"""Hashing beside the stream: each algorithm in a thread of its own."""

import hashlib
from collections.abc import Sequence
from typing import Any

import xxhash

from glance_common.background_sink import BackgroundSink

CHECKSUM = "md5"
"""The algorithm of the API's field ``checksum``; a name for the same data, not a protection."""

FINGERPRINT = "xxh3-128"
"""The algorithm of what downloads are verified by: ten times as fast as sha512, against accidents only."""

WAITING = 3
"""Pieces that may wait for one algorithm: enough to ride out jitter, few enough to bound the memory of a transfer."""


class Digests:
    """Hex digests of one stream by several algorithms. ``update`` may block while an algorithm is behind."""

    def __init__(self, algorithms: Sequence[str]) -> None:
        self._hashes = {name: _new(name) for name in algorithms}
        self._sinks = [
            BackgroundSink(f"digest-{name}", found.update, WAITING)
            for name, found in self._hashes.items() if name != FINGERPRINT
        ]
        self._fingerprint = self._hashes.get(FINGERPRINT)

    def update(self, piece: bytes) -> None:
        """Feed the next piece."""
        if self._fingerprint is not None:
            # Handing it to a thread takes as long.
            self._fingerprint.update(piece)
        for sink in self._sinks:
            sink.put(piece)

    def finish(self) -> dict[str, str]:
        """Return algorithm → hex digest, after everything fed was hashed."""
        for sink in self._sinks:
            sink.finish()
        return {name: found.hexdigest() for name, found in self._hashes.items()}

    def close(self) -> None:
        """End the threads; harmless after ``finish``."""
        for sink in self._sinks:
            sink.close()


def _new(algorithm: str) -> Any:
    return xxhash.xxh3_128() if algorithm == FINGERPRINT else hashlib.new(algorithm, usedforsecurity=False)
