"""What a message of the delete queue may say."""

import json
from uuid import uuid4

import pytest

from glance_common.delete_queue.message import BadMessage, Nudge, decode, encode

LOCATION = str(uuid4())


def body(**changes):
    return json.dumps({"version": 1, "location": LOCATION, "request_id": "req-1"} | changes)


@pytest.mark.parametrize("request_id", ["req-1", None])
def test_what_was_encoded_is_decoded(request_id):
    nudge = Nudge(LOCATION, request_id)
    assert decode(encode(nudge)) == nudge


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (b"{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "not an object"),
        ("null", "not an object"),
        (body(version=2), "version"),
        (body(version=None), "version"),
        (body(location=None), "location"),
        (body(location=17), "location"),
        (body(location="../../etc/passwd"), "location"),
        (body(location="{" + LOCATION + "}"), "location"),
    ],
)
def test_what_is_no_message_is_refused_with_the_reason(text, reason):
    with pytest.raises(BadMessage, match=reason):
        decode(text)


@pytest.mark.parametrize("request_id", [17, "", "two\nlines", "x" * 256, "req-\u6f22", ["a"]])
def test_an_odd_request_id_is_left_out_and_the_bytes_go_all_the_same(request_id):
    assert decode(body(request_id=request_id)) == Nudge(LOCATION, None)


def test_a_newer_publisher_may_say_more():
    assert decode(body(colour="red")) == Nudge(LOCATION, "req-1")


def test_a_location_is_named_as_the_registry_names_it():
    assert decode(body(location=LOCATION.upper())) == Nudge(LOCATION.lower(), "req-1")
