"""A file goes to a client: an error belongs to the one of them that fails, whatever its number."""

import errno
import os
import socket
import threading
from contextlib import ExitStack

import pytest
from tests.support.waiting import wait_for

from glance_common.body import ClientDisconnected, FileBody
from glance_common.server import ServerSettings
from glance_common.server.answering import Answering
from glance_common.server.arrival import Arrival
from glance_common.server.connection import Connection
from glance_common.server.intake import IntakeLimits
from glance_common.server.master import gunicorn_config
from glance_common.server.sending import SendStep
from glance_common.stores.contract import StoreUnavailable

KIB = 1024
DATA = os.urandom(300 * KIB)
SETTINGS = ServerSettings("127.0.0.1", 0)
LIMITS = IntakeLimits(head=8 * KIB, request_line=KIB, line=KIB, document=1000 * KIB, is_transfer=lambda _head: False)
CONFIG = gunicorn_config(SETTINGS, "test")
OF_BOTH = [errno.EIO, errno.ETIMEDOUT, errno.ESHUTDOWN, errno.ECONNREFUSED, errno.EHOSTDOWN, errno.ENOPROTOOPT]
"""Errors that both a file on a network's file system and a socket can have."""


class Client:
    """A client that reads all that comes."""

    def __init__(self, sock):
        self._sock = sock
        self._taken = bytearray()
        self._thread = threading.Thread(target=self._take, daemon=True)
        self._thread.start()

    def _take(self):
        while piece := self._sock.recv(KIB * KIB):
            self._taken += piece

    def ask(self, method="GET"):
        self._sock.sendall(f"{method} /file HTTP/1.1\r\nHost: here\r\n\r\n".encode())

    def taken(self):
        """Return what came, once the server has ended the connection."""
        self._thread.join(60)
        assert not self._thread.is_alive()
        return bytes(self._taken)


class FailingSocket:
    """A socket that takes ``most`` bytes and fails then."""

    def __init__(self, sock, most, number):
        self._sock, self._left, self._number = sock, most, number

    def fileno(self):
        return self._sock.fileno()

    def send(self, data):
        if not self._left:
            raise OSError(self._number, os.strerror(self._number))
        sent = self._sock.send(data[:self._left])
        self._left -= sent
        return sent


@pytest.fixture
def pair():
    """A client and the server's connection with it."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        sock = stack.enter_context(socket.create_connection(listener.getsockname()))
        accepted = listener.accept()
        stack.enter_context(accepted[0])
        client = Client(sock)
        yield client, Connection(CONFIG, accepted, listener.getsockname(), SETTINGS, None, LIMITS)
        accepted[0].close()
        client.taken()


@pytest.fixture
def fd(tmp_path):
    path = tmp_path / "data"
    path.write_bytes(DATA)
    opened = os.open(path, os.O_RDONLY)
    yield opened
    os.close(opened)


@pytest.fixture
def failing(monkeypatch):
    """Have an operation on files fail from an offset on."""
    def fail(name, number, at=0):
        real = getattr(os, name)

        def operation(*args):
            offset = args[2]
            if offset >= at:
                raise OSError(number, os.strerror(number))
            if name == "sendfile":
                args = (*args[:3], min(args[3], at - offset))
            return real(*args)

        monkeypatch.setattr(os, name, operation)

    return fail


def ended(conn):
    conn.sock.close()


@pytest.mark.parametrize("number", OF_BOTH)
def test_a_file_that_cannot_be_read_is_no_client_that_left(pair, fd, failing, number):
    client, conn = pair
    failing("sendfile", number, at=100 * KIB)
    failing("preadv", number)
    failing("pread", number)
    steps = []
    with pytest.raises(OSError, match=os.strerror(number)):
        conn.send_file(fd, 0, len(DATA), steps.append)
    assert sum(steps) == 100 * KIB
    with pytest.raises(OSError, match=os.strerror(number)):
        conn.send_some_of_file(fd, 100 * KIB, KIB)
    ended(conn)
    assert client.taken() == DATA[:100 * KIB]


@pytest.mark.parametrize("number", [*OF_BOTH, errno.ENOBUFS, errno.ENOMEM])
def test_a_client_that_left_in_the_middle_of_a_piece_is_no_error_of_the_file(pair, fd, failing, number):
    """What it has of the piece is not known: a rest from elsewhere would begin at the wrong byte."""
    _client, conn = pair
    failing("sendfile", number)
    conn.sock = FailingSocket(conn.sock, most=100 * KIB, number=number)
    steps = []
    with pytest.raises(ClientDisconnected, match=os.strerror(number)):
        conn.send_file(fd, 0, len(DATA), steps.append)
    assert steps == []
    with pytest.raises(ClientDisconnected):
        conn.send_some_of_file(fd, 0, KIB)
    with pytest.raises(ClientDisconnected):
        conn.send_some(memoryview(DATA))
    with pytest.raises(ClientDisconnected):
        conn.send(DATA)
    with pytest.raises(ClientDisconnected):
        conn.send_end(DATA)


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOMEM, errno.EIO])
def test_a_file_that_can_be_read_goes_on_where_the_kernel_could_not_send_it(pair, fd, failing, number):
    client, conn = pair
    failing("sendfile", number, at=100 * KIB)
    steps = []
    conn.send_file(fd, 0, 200 * KIB, steps.append)
    at = 200 * KIB
    while at < len(DATA):
        at += conn.send_some_of_file(fd, at, len(DATA) - at)
    ended(conn)
    assert sum(steps) == 200 * KIB
    assert client.taken() == DATA


# --- answers ---


class Continued:
    """A file whose rest comes from elsewhere, unless that fails too."""

    def __init__(self, fd, is_elsewhere):
        self._fd, self._is_elsewhere = fd, is_elsewhere

    def fileno(self):
        return self._fd

    def rest(self, sent, error):
        if not self._is_elsewhere:
            raise error
        yield DATA[sent:]


class Rest(FileBody):
    """A file whose rest fails; ``has_rest`` says whether a thread tries it."""

    def __init__(self, error, descriptor=-1, *, has_rest=True):
        self._error, self._descriptor, self._has_rest = error, descriptor, has_rest

    @property
    def descriptor(self):
        return self._descriptor

    def ready(self):
        return 0, len(DATA)

    def failed(self, error):
        return self._has_rest

    def sent(self, count):
        raise AssertionError(count)

    def __iter__(self):
        raise self._error

    def close(self):
        pass


def answered(pair, make_body, method="GET"):
    """Return the answering of one request, with its result."""
    client, conn = pair
    client.ask(method)
    wait_for(lambda: conn.proceed() is Arrival.REQUEST)
    conn.begin()

    def application(environ, start_response):
        start_response("200 OK", [("Content-Length", str(len(DATA)))])
        return make_body(environ)

    answering = Answering(application, CONFIG, lambda: True)
    return answering, answering.answer(next(conn.parser), conn)


@pytest.mark.parametrize("is_elsewhere", [True, False])
@pytest.mark.parametrize("is_short", [True, False])
def test_a_file_without_a_first_byte_is_a_503_unless_it_is_elsewhere(pair, fd, failing, caplog, is_elsewhere, is_short):
    if is_short:
        os.lseek(fd, 0, os.SEEK_END)
    else:
        for name in ("sendfile", "preadv", "pread"):
            failing(name, errno.EIO)
    answered(pair, lambda environ: environ["wsgi.file_wrapper"](Continued(fd, is_elsewhere)))
    ended(pair[1])
    head, _, body = pair[0].taken().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 " if is_elsewhere else b"HTTP/1.1 503 ")
    assert (body == DATA) == is_elsewhere
    assert ("could not begin" in caplog.text) != is_elsewhere
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("has_rest", [True, False])
def test_the_sender_answers_503_too(pair, fd, failing, has_rest):
    for name in ("sendfile", "pread"):
        failing(name, errno.EIO)
    answering, sending = answered(pair, lambda _environ: Rest(StoreUnavailable("gone"), fd, has_rest=has_rest))
    if has_rest:
        assert sending.proceed() is SendStep.REST
        assert answering.rest(sending) is False
    else:
        with pytest.raises(OSError, match="Input/output error") as raised:
            sending.proceed()
        sending.error = raised.value
        sending.end()
    ended(pair[1])
    assert pair[0].taken().startswith(b"HTTP/1.1 503 ")


def test_a_header_alone_needs_nothing_of_the_file(pair, fd, failing):
    failing("pread", errno.EIO)
    answered(pair, lambda environ: environ["wsgi.file_wrapper"](Continued(fd, is_elsewhere=False)), "HEAD")
    ended(pair[1])
    assert pair[0].taken().startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(("error", "is_defect"), [
    (StoreUnavailable("the disk is gone"), False), (OSError(5, "Input/output error"), False),
    (ValueError("a defect"), True),
])
def test_what_is_no_defect_is_told_in_one_line(pair, caplog, error, is_defect):
    answering, sending = answered(pair, lambda _environ: Rest(error))
    assert answering.rest(sending) is False
    assert f"was cut: {error}" in caplog.text
    assert ("Traceback" in caplog.text) == is_defect
    assert sending.error is error
    assert error.__traceback__ is None, "frames hold what they were about"
