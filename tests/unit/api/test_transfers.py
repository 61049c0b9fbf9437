"""Bodies of requests as the services read them."""

from flask import request

from glance_api.http.access_log import BYTES_IN
from glance_api.http.transfers import body
from glance_common.body import MIB


def test_a_body_that_is_left_half_read_ends_without_its_request(api):
    """An iterator may be collected long after the answer, in any thread."""
    with api.app.test_request_context("/", method="PUT", data=b"x" * (2 * MIB)):
        pieces, environ = body(), request.environ
        assert len(next(pieces)) == MIB
    pieces.close()
    assert environ[BYTES_IN] == MIB


def test_a_body_belongs_to_the_request_that_asked_for_it(api):
    with api.app.test_request_context("/", method="PUT", data=b"first"):
        pieces = body()
    with api.app.test_request_context("/", method="PUT", data=b"second"):
        assert b"".join(pieces) == b"first"
