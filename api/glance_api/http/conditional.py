"""Conditional requests: validators of documents and of image data (RFC 9110 sections 8.8, 13 and 14)."""

from hashlib import blake2b

from flask import Response, request

from glance_common.model.image import Image

LONGEST_TAGS = 16 * 1024
"""Characters of If-None-Match that are looked at; a longer one is as if it were not there, which is always safe."""


def revalidated(document: bytes) -> Response:
    """Return a JSON document with its ETag; a client that sends it in If-None-Match gets 304.

    The tag is made of the body, because what an image document shows differs from caller to caller. It is weak, because
    the document may be sent compressed.
    """
    tag = blake2b(document, digest_size=16).hexdigest()
    response = Response(status=304) if _is_known(tag) else Response(document, content_type="application/json")
    response.set_etag(tag, weak=True)
    # Shared caches must not hand one caller's view of an image to another.
    response.headers["Cache-Control"] = "private, no-cache"
    return response


def data_tag(image: Image) -> str:
    """Return the strong validator of an image's data, which never change once they are there (promise I2)."""
    return image.os_hash_value or image.checksum or image.id


def has_data(tag: str) -> bool:
    """Say whether the client told in If-None-Match that it has these data."""
    return _is_known(tag)


def wants_range(tag: str) -> bool:
    """Say whether a Range header counts: If-Range may bind it to data that the client has a part of.

    A date in If-Range never matches, as data have no Last-Modified.
    """
    condition = request.headers.get("If-Range")
    return condition is None or condition.strip() == f'"{tag}"'


def _is_known(tag: str) -> bool:
    named = request.environ.get("HTTP_IF_NONE_MATCH")
    if not named or len(named) > LONGEST_TAGS:
        return False
    return request.if_none_match.contains_weak(tag)
