"""Requests that two parsers could read in two ways: each is refused with a 4xx and the connection ends (RFC 9112).

A proxy in front of the service may see one request where we see two; what stands behind the doubtful one is never
served on the same connection.
"""

import re

import pytest

ANSWER = re.compile(rb"^HTTP/1\.1 \d", re.MULTILINE)
PYTHON = re.compile(rb"'|\\x|&#x27;|<html|\([0-9]+, ")
SMUGGLED = b"GET /hello?smuggled HTTP/1.1\r\nHost: a\r\n\r\n"


def post(*headers: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join([b"POST /upload HTTP/1.1", b"Host: a", *headers, b"", body])


CHUNKED = b"Transfer-Encoding: chunked"
LENGTHS = {
    "two lengths": post(b"Content-Length: 0", b"Content-Length: 42", body=SMUGGLED),
    "two lengths, shorter last": post(b"Content-Length: 42", b"Content-Length: 0", body=SMUGGLED),
    "two lengths in one line": post(b"Content-Length: 0, 42", body=SMUGGLED),
    "a sign": post(b"Content-Length: +42", body=SMUGGLED),
    "negative": post(b"Content-Length: -1", body=SMUGGLED),
    "hexadecimal": post(b"Content-Length: 0x2a", body=SMUGGLED),
    "underscores": post(b"Content-Length: 4_2", body=SMUGGLED),
    "other digits": post("Content-Length: ٤٢".encode(), body=SMUGGLED),
    "empty": post(b"Content-Length:", body=SMUGGLED),
    "a space before the colon": post(b"Content-Length : 42", body=SMUGGLED),
    "length and chunks": post(b"Content-Length: 5", CHUNKED, body=b"0\r\n\r\n" + SMUGGLED),
    "chunks and length": post(CHUNKED, b"Content-Length: 47", body=b"0\r\n\r\n" + SMUGGLED),
    "thousands of digits": post(b"Content-Length: " + b"9" * 5_000, body=SMUGGLED),
}
CODINGS = {
    "unknown": post(b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n" + SMUGGLED),
    "chunked first": post(b"Transfer-Encoding: chunked, identity", body=b"0\r\n\r\n" + SMUGGLED),
    "chunked twice": post(b"Transfer-Encoding: chunked, chunked", body=b"0\r\n\r\n" + SMUGGLED),
    "two lines": post(CHUNKED, CHUNKED, body=b"0\r\n\r\n" + SMUGGLED),
    "a space before the colon": post(b"Transfer-Encoding : chunked", body=b"0\r\n\r\n" + SMUGGLED),
    "a control character": post(b"Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n" + SMUGGLED),
    "quotes": post(b'Transfer-Encoding: "chunked"', body=b"0\r\n\r\n" + SMUGGLED),
    "folded": post(b"Transfer-Encoding:\r\n chunked", body=b"0\r\n\r\n" + SMUGGLED),
    "http 1.0": post(CHUNKED, body=b"0\r\n\r\n" + SMUGGLED).replace(b"HTTP/1.1", b"HTTP/1.0", 1),
}
HEADS = {
    "folded": post(b"X-A: b", b" c: d"),
    "nul in a value": post(b"X-A: b\0c"),
    "nul in a name": post(b"X-A\0: b"),
    "bare cr": post(b"X-A: b\rX-Roles: admin"),
    "no colon": post(b"X-A"),
    "empty name": post(b": b"),
    "space in a name": post(b"X A: b"),
    "tab in front": post(b"\tX-A: b"),
    "too many": post(*[b"X-%d: y" % number for number in range(500)]),
    "two versions": b"GET /hello HTTP/1.1 HTTP/1.1\r\nHost: a\r\n\r\n",
    "no version": b"GET /hello\r\nHost: a\r\n\r\n",
    "another version": b"GET /hello HTTP/9.9\r\nHost: a\r\n\r\n",
    "a space in the target": b"GET /hello /x HTTP/1.1\r\nHost: a\r\n\r\n",
    "a method of signs": b"G{}T /hello HTTP/1.1\r\nHost: a\r\n\r\n",
    "no target": b"GET  HTTP/1.1\r\nHost: a\r\n\r\n",
    "tls on a plain port": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\r\n\r\n",
    "http 2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}
CHUNKS = {
    "a sign": b"+2\r\nab\r\n0\r\n\r\n",
    "negative": b"-2\r\nab\r\n0\r\n\r\n",
    "prefix": b"0x2\r\nab\r\n0\r\n\r\n",
    "underscore": b"0_2\r\nab\r\n0\r\n\r\n",
    "longer than its size": b"2\r\nabcd\r\n0\r\n\r\n",
    "bare line feeds": b"2\nab\n0\n\n",
    "a line feed in an extension": b"2;a\nb\r\nab\r\n0\r\n\r\n",
    "an endless extension": b"2;" + b"x" * 100_000 + b"\r\nab\r\n0\r\n\r\n",
    "a size beyond all": b"f" * 40 + b"\r\nab\r\n0\r\n\r\n",
    "a length in the trailer": b"2\r\nab\r\n0\r\nContent-Length: 99\r\n\r\n",
    "no size": b"\r\nab\r\n0\r\n\r\n",
}


@pytest.fixture
def server(make_server):
    # What leaves the server waiting for more ends soon.
    return make_server(client_timeout=2).start()


def answers(server, request: bytes) -> bytes:
    """Return all that the server says on one connection until it closes it."""
    with server.connect() as client:
        client.send(request)
        return client.read_to_end()


def test_s54_lengths_that_can_be_read_in_two_ways(server):
    for what, request in LENGTHS.items():
        refused(server, what, request)


def test_s54_codings_that_can_be_read_in_two_ways(server):
    for what, request in CODINGS.items():
        refused(server, what, request)


def test_s54_s58_heads_that_are_none(server):
    for what, request in HEADS.items():
        refused(server, what, request + SMUGGLED)


@pytest.mark.parametrize(
    ("request_", "status", "text"),
    [
        (HEADS["no version"], b"400 Bad Request", b"the first line of the request must be: METHOD TARGET HTTP/1.1\n"),
        (HEADS["another version"], b"400 Bad Request", b"the version of HTTP must be 1.0 or 1.1\n"),
        (HEADS["a method of signs"], b"400 Bad Request", b"the method of the request is not a token\n"),
        (HEADS["space in a name"], b"400 Bad Request", b"the name of a header is malformed\n"),
        (LENGTHS["a sign"], b"400 Bad Request", b"a header is malformed or contradicts another one: CONTENT-LENGTH\n"),
        (CODINGS["unknown"], b"501 Not Implemented", b"Transfer-Encoding: only chunked is supported\n"),
        (HEADS["too many"], b"431 Request Header Fields Too Large", b"the headers are too many or too long\n"),
        (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n", b"414 URI Too Long",
         b"the first line of the request is too long\n"),
    ],
)
def test_a_request_that_is_none_is_told_what_is_wrong(server, request_, status, text):
    head, _, body = answers(server, request_).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 " + status + b"\r\n")
    assert body == text


def refused(server, what: str, request: bytes) -> None:
    heard = answers(server, request)
    status = heard[9:12]
    assert status[:1] == b"4" or status in (b"501", b"505"), (what, heard)
    assert len(ANSWER.findall(heard)) == 1, (what, heard)
    assert b"smuggled" not in heard
    assert b"Traceback" not in heard
    assert b"\r\nContent-Type: text/plain; charset=UTF-8\r\n" in heard, (what, heard)
    # Nothing in the form in which Python writes it.
    assert not PYTHON.search(heard), (what, heard)
    assert not server.events("uploaded"), what
    assert "Traceback" not in server.log(), (what, server.log())


@pytest.mark.parametrize("what", CHUNKS)
def test_s54_chunks_that_are_none(server, what):
    heard = answers(server, post(CHUNKED, body=CHUNKS[what]) + SMUGGLED)
    assert heard[9:12] == b"400", heard
    assert len(ANSWER.findall(heard)) == 1, heard
    assert not server.events("uploaded")


def test_s42_trailers_say_nothing_about_the_caller(server):
    """What comes behind a chunked body never joins the headers; the next request is found behind it."""
    body = b"2\r\nab\r\n0\r\nX-Roles: admin\r\n\r\n"
    with server.connect() as client:
        client.send(post(CHUNKED, body=body) + b"GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert client.response()[0] == 200
        status, _, hello = client.response()
    assert status == 200
    assert b"admin" not in hello


def test_an_absolute_target_is_a_path_of_ours(server):
    heard = answers(server, b"GET http://elsewhere/hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert heard[9:12] == b"200"
