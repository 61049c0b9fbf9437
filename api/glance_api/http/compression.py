"""Compressed documents, for clients far away (option ``compress_documents``)."""

import gzip

from flask import Response, request

SMALLEST = 1024
"""Bytes: a smaller document fits one network packet anyway."""

LONGEST_HEADER = 1024
"""Characters of an ``Accept-Encoding`` that is looked at; a client that sends more gets its documents as they are."""

LEVEL = 1
"""The fastest; a list of images shrinks to a tenth with it."""


def compressed(response: Response) -> Response:
    """Compress a JSON document when the client accepts it; every other answer stays as it is."""
    if response.mimetype != "application/json" or response.direct_passthrough:
        return response
    response.vary.add("Accept-Encoding")
    if "Content-Encoding" in response.headers or len(request.headers.get("Accept-Encoding", "")) > LONGEST_HEADER:
        return response
    if not request.accept_encodings.quality("gzip"):
        return response
    document = response.get_data()
    if len(document) >= SMALLEST:
        response.set_data(gzip.compress(document, LEVEL))
        response.headers["Content-Encoding"] = "gzip"
    return response
