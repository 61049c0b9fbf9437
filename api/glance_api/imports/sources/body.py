"""The body of an HTTP answer as the pieces of a source."""

from collections.abc import Iterator

from glance_api.imports.contract import ImportFailed
from glance_common.fetch.url_session import FetchFailed, Response

PIECE = 1024 * 1024


def refuse_encoded(response: Response) -> None:
    """Raise ImportFailed when the body is not the image, but an encoded form of it that was not asked for."""
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        raise ImportFailed("the source sends the image only in an encoded form (Content-Encoding)")


def announced_size(response: Response) -> int | None:
    """Return the Content-Length of the answer, None without a usable one."""
    text = response.headers.get("Content-Length", "").strip()
    usable = text.isascii() and text.isdigit() and len(text) < 20 and "Transfer-Encoding" not in response.headers
    return int(text) if usable else None


def pieces_of(response: Response, announced: int | None) -> Iterator[bytes]:
    """Yield the body as it was sent. Raises ImportFailed when it ends early, breaks off or comes too slowly.

    Without an announced size and without chunks the end of the connection is the end of the image: nothing can tell a
    broken connection from it but the hash or the format of the image.
    """
    received = 0
    while piece := _next(response):
        received += len(piece)
        if announced is not None and received > announced:
            raise ImportFailed(f"the source sends more than the {announced} bytes that it announced")
        yield piece
    if announced is not None and received < announced:
        raise ImportFailed(f"the source sent {received} of the {announced} bytes that it announced")


def _next(response: Response) -> bytes:
    try:
        return response.read(PIECE)
    except FetchFailed as error:
        raise ImportFailed(f"the source {error}") from error
