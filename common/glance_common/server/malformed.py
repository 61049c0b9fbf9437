"""What a client is told whose request the parser does not take. gunicorn's own texts show how Python writes a value."""

import logging

from gunicorn.http import errors

from glance_common.server.connection import Connection
from glance_common.server.intake import RequestRefused

LOG = logging.getLogger(__name__)

MAX_SHOWN = 80
"""Characters of a header's name that are told."""

_BAD = "400 Bad Request"
_REFUSALS: dict[type[Exception], tuple[str, str]] = {
    errors.InvalidRequestLine: (_BAD, "the first line of the request must be: METHOD TARGET HTTP/1.1"),
    errors.InvalidRequestMethod: (_BAD, "the method of the request is not a token"),
    errors.InvalidHTTPVersion: (_BAD, "the version of HTTP must be 1.0 or 1.1"),
    errors.InvalidHeaderName: (_BAD, "the name of a header is malformed"),
    errors.InvalidHeader: (_BAD, "a header is malformed or contradicts another one"),
    errors.ObsoleteFolding: (_BAD, "a header must not go on in a second line"),
    errors.InvalidSchemeHeaders: (_BAD, "the headers that tell the scheme contradict each other"),
    errors.UnsupportedTransferCoding: ("501 Not Implemented", "Transfer-Encoding: only chunked is supported"),
    errors.ExpectationFailed: ("417 Expectation Failed", "Expect: only 100-continue is supported"),
    errors.LimitRequestLine: ("414 URI Too Long", "the first line of the request is too long"),
    errors.LimitRequestHeaders: ("431 Request Header Fields Too Large", "the headers are too many or too long"),
}


def refused(conn: Connection, error: Exception) -> bool:
    """Tell the client why the parser did not take its request; return False for any other error."""
    known = _REFUSALS.get(type(error))
    if known is None:
        return False
    status, text = known
    name = getattr(error, "hdr", None)
    if type(error) is errors.InvalidHeader and isinstance(name, str) and name.isascii() and name.isprintable():
        text = f"{text}: {name[:MAX_SHOWN]}"
    LOG.warning("a request of %s is refused: %s", conn.client, text)
    conn.reject(RequestRefused(status, text))
    return True
