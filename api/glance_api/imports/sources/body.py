"""The body of an HTTP answer as the pieces of a source."""

import time
from collections.abc import Iterator

import requests
import urllib3.exceptions

from glance_api.imports.contract import ImportFailed

PIECE = 1024 * 1024
_ENOUGH_FOR_A_PIECE = 128 * 1024
LEAST_RATE = 1024
"""Bytes a second, averaged over ``WINDOW`` seconds: a peer that drips must not hold a worker for ever."""
WINDOW = 60.0


def announced_size(response: requests.Response) -> int | None:
    """Return the Content-Length of the answer, None without a usable one."""
    text = response.headers.get("Content-Length", "").strip()
    usable = text.isascii() and text.isdigit() and len(text) < 20 and "Transfer-Encoding" not in response.headers
    return int(text) if usable else None


def pieces_of(response: requests.Response, announced: int | None) -> Iterator[bytes]:
    """Yield the body as it was sent. Raises ImportFailed when it ends early, breaks off or comes too slowly.

    Without an announced size and without chunks the end of the connection is the end of the image: nothing can tell a
    broken connection from it but the hash or the format of the image.
    """
    received = 0
    for piece in _joined(_raw(response)):
        received += len(piece)
        if announced is not None and received > announced:
            raise ImportFailed(f"the source sends more than the {announced} bytes that it announced")
        yield piece
    if announced is not None and received < announced:
        raise ImportFailed(f"the source sent {received} of the {announced} bytes that it announced")


def _raw(response: requests.Response) -> Iterator[bytes]:
    window_start, in_window = time.monotonic(), 0
    while True:
        try:
            # read1 returns what is there; read would wait for the whole piece while the peer drips.
            piece: bytes = response.raw.read1(PIECE, decode_content=False)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise ImportFailed(f"the source stopped sending ({type(error).__name__})") from error
        if not piece:
            return
        in_window += len(piece)
        waited = time.monotonic() - window_start
        if waited >= WINDOW:
            if in_window < LEAST_RATE * waited:
                raise ImportFailed(f"the source sends less than {LEAST_RATE} bytes a second")
            window_start, in_window = time.monotonic(), 0
        yield piece


def _joined(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Join what comes in small parts: every piece is hashed, inspected and written by itself."""
    held: list[bytes] = []
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= _ENOUGH_FOR_A_PIECE:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)
