"""When enough of a request is here: never a boundary moved, never a wait for what the parser refuses anyway."""

import pytest

from glance_common.server.intake import Intake, IntakeLimits, RequestRefused

LIMITS = IntakeLimits(
    head=2000, request_line=200, line=500, document=1000, is_transfer=lambda head: head.target.startswith("/data")
)
GET = b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"


def post(*headers, body=b"", target=b"/document"):
    return b"\r\n".join([b"POST " + target + b" HTTP/1.1", b"Host: a", *headers, b"", body])


CHUNKED = b"Transfer-Encoding: chunked"
COMPLETE = {
    "no body": GET,
    "an empty line first": b"\r\n" + GET,
    "a counted body": post(b"Content-Length: 5", body=b"12345"),
    "an empty body": post(b"content-length: 0"),
    "a chunked body": post(CHUNKED, body=b"5\r\nhello\r\n2;a=b\r\nxy\r\n0\r\n\r\n"),
    "a trailer": post(CHUNKED, body=b"5\r\nhello\r\n0\r\nX-A: b\r\nX-C: d\r\n\r\n"),
    "a line end in a chunk": post(CHUNKED, body=b"7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n"),
    "two codings": post(b"Transfer-Encoding: gzip, chunked", body=b"1\r\nx\r\n0\r\n\r\n"),
    "codings in two lines": post(b"Transfer-Encoding: gzip", CHUNKED, body=b"1\r\nx\r\n0\r\n\r\n"),
}


@pytest.mark.parametrize("what", COMPLETE)
def test_a_request_is_complete_with_its_last_byte_and_not_before(what):
    request = COMPLETE[what]
    intake = Intake(LIMITS)
    for position in range(len(request)):
        assert intake.add(request[position : position + 1]) is (position == len(request) - 1), position
    assert bytes(intake.buffer) == request
    assert Intake(LIMITS).add(request + GET) is True


@pytest.mark.parametrize("request_", [
    b"GET /hello HTTP/1.1\nHost: a\n",
    b"\nGET",
    b"x" * 300,
    post(b"Content-Length: 5", b"Content-Length: 50"),
    post(b"Content-Length: 5", CHUNKED),
    post(b"Content-Length: +5"),
    post(b"Content-Length: " + b"9" * 5000),
    post("Content-Length: ٤٢".encode()),
    post(b"Transfer-Encoding: xchunked"),
    post(CHUNKED, body=b"-5\r\n"),
    post(CHUNKED, body=b"+5\r\n"),
    post(CHUNKED, body=b"0x5\r\n"),
    post(CHUNKED, body=b"\r\n"),
    post(CHUNKED, body=b"f" * 40 + b"\r\n"),
    post(CHUNKED, body=b"2;" + b"x" * 600),
    post(CHUNKED, body=b"2\r\nabcd\r\n"),
])
def test_what_the_parser_refuses_waits_for_nothing(request_):
    assert Intake(LIMITS).add(request_)


def test_what_the_application_refuses_unread_waits_for_nothing():
    intake = Intake(LIMITS)
    assert intake.add(post(b"Content-Length: 1001"))
    assert intake.is_document


@pytest.mark.parametrize("size", [b"3e9", b"ffffff", b"0" * 40 + b"3e9"])
def test_s59_a_chunk_that_is_announced_is_no_reason_to_hold_a_thread(size):
    intake = Intake(LIMITS)
    assert intake.add(post(CHUNKED, body=size + b"\r\n")) is False
    assert intake.add(b"x" * 1000) is False
    assert intake.add(b"x") is True


@pytest.mark.parametrize(("length", "rest"), [(b"0000000000000000000005", b"12345"), (b"0" * 400, b"")])
def test_zeros_before_a_length_change_nothing(length, rest):
    intake = Intake(LIMITS)
    assert intake.add(post(b"Content-Length: " + length)) is (not rest)
    assert not rest or intake.add(rest)
    zeros = Intake(LIMITS)
    assert zeros.add(post(CHUNKED, body=b"0" * 30 + b"5\r\nhello\r\n")) is False
    assert zeros.add(b"000\r\n\r\n") is True


def test_s59_a_trailer_has_a_bound():
    intake = Intake(LIMITS)
    with pytest.raises(RequestRefused, match="trailer"):
        intake.add(post(CHUNKED, body=b"0\r\n" + b"\r" * 600))


def test_values_of_one_name_are_joined_as_the_application_sees_them():
    seen = []
    limits = IntakeLimits(
        head=2000, request_line=200, line=500, document=1000, is_transfer=lambda head: bool(seen.append(head))
    )
    Intake(limits).add(post(b"Content-Length: 5", b"Accept: a", b"ACCEPT: b"))
    assert seen[0].headers["accept"] == "a,b"


def test_only_a_client_of_http_1_1_is_invited():
    intake = Intake(LIMITS)
    intake.add(post(b"Content-Length: 5", b"Expect: 100-continue").replace(b"HTTP/1.1", b"HTTP/1.0"))
    assert not intake.invites


def test_s59_a_header_of_very_many_lines_is_the_parsers():
    limits = IntakeLimits(head=2000, request_line=200, line=500, document=1000, is_transfer=lambda _: False, fields=10)
    intake = Intake(limits)
    assert intake.add(post(b"Content-Length: 5", *[b"a:"] * 20))
    assert not intake.is_document


def test_image_data_are_never_collected():
    intake = Intake(LIMITS)
    assert intake.add(post(b"Content-Length: 999", b"Expect: 100-continue", target=b"/data"))
    assert (intake.is_document, intake.is_collected, intake.invites) == (False, False, False)


@pytest.mark.parametrize(("body", "invites"), [(b"", True), (b"1", False), (b"12345", False)])
def test_a_client_that_waits_for_it_is_invited(body, invites):
    intake = Intake(LIMITS)
    intake.add(post(b"Content-Length: 5", b"Expect: 100-Continue", body=body))
    assert intake.invites is invites


def add_for_ever(intake, data):
    while not intake.add(data):
        pass


def test_an_endless_header_is_refused():
    intake = Intake(LIMITS)
    with pytest.raises(RequestRefused) as refused:
        add_for_ever(intake, b"X-A: " + b"y" * 93 + b"\r\n")
    assert refused.value.status.startswith("431")
    assert len(intake.buffer) == 2100


def test_chunks_of_one_byte_are_refused_before_they_fill_the_memory():
    intake = Intake(IntakeLimits(head=2000, request_line=200, line=500, document=100_000, is_transfer=lambda _: False))
    intake.add(post(CHUNKED))
    with pytest.raises(RequestRefused) as refused:
        add_for_ever(intake, b"1\r\nx\r\n" * 100)
    assert refused.value.status.startswith("413")
    assert len(intake.buffer) < 300_000


@pytest.mark.parametrize(("first", "urgent"), [
    (b"GET /healthcheck HTTP/1.1", True), (b"HEAD /healthcheck?x HTTP/1.1", True),
    (b"GET /healthcheckx HTTP/1.1", False), (b"POST /healthcheck HTTP/1.1", False), (b"GET /v2/images HTTP/1.1", False),
])
def test_health_checks_are_recognized(first, urgent):
    intake = Intake(LIMITS)
    assert intake.add(first + b"\r\nHost: a\r\n\r\n")
    assert intake.is_urgent is urgent
