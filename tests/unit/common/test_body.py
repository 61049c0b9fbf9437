"""Pieces of one size, and no end that is not the end."""

import io
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glance_common.body import READ_BODY, ClientDisconnected, ClientTooSlow, read_pieces


class Trickle(io.BytesIO):
    """Gives at most ``most`` bytes a read, as sockets do."""

    def __init__(self, data, most):
        super().__init__(data)
        self.most = most

    def read(self, size=-1):
        return super().read(min(size, self.most))


def environ(stream, length=None):
    return {"wsgi.input": stream, "CONTENT_LENGTH": "" if length is None else str(length)}


@given(st.binary(max_size=200), st.integers(1, 50), st.integers(1, 60), st.booleans())
def test_pieces_are_exact_and_whole(data, piece, most, announced):
    pieces = list(read_pieces(environ(Trickle(data, most), len(data) if announced else None), piece))
    assert b"".join(pieces) == data
    assert all(len(each) == piece for each in pieces[:-1])
    assert all(pieces)


@given(st.binary(max_size=100), st.integers(1, 100), st.integers(1, 30))
def test_fewer_bytes_than_announced_are_a_disconnect(data, missing, piece):
    with pytest.raises(ClientDisconnected, match=f"after {len(data)} of {len(data) + missing} bytes"):
        list(read_pieces(environ(io.BytesIO(data), len(data) + missing), piece))


def test_bytes_behind_the_announced_length_are_not_read():
    stream = io.BytesIO(b"0123456789next request")
    assert list(read_pieces(environ(stream, 10), 4)) == [b"0123", b"4567", b"89"]
    assert stream.read() == b"next request"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (TimeoutError("30 s"), ClientTooSlow), (ClientTooSlow("slow"), ClientTooSlow),
        (OSError("gone"), ClientDisconnected), (ValueError("Invalid chunk size: b'zz'"), ClientDisconnected),
    ],
)
def test_errors_of_the_server_are_the_clients_end(error, kind):
    class Broken:
        def read(self, size):
            raise error

    with pytest.raises(kind) as caught:
        list(read_pieces(environ(Broken())))
    # The server's words show how Python writes bytes, and clients read these.
    assert "b'" not in str(caught.value)


def test_s59_small_parts_take_no_more_memory_than_their_bytes():
    data = bytes(256 * 1024)
    tracemalloc.start()
    try:
        assert list(read_pieces(environ(Trickle(data, 2)), len(data))) == [data]
        assert tracemalloc.get_traced_memory()[1] < 4 * len(data)
    finally:
        tracemalloc.stop()


def test_the_servers_direct_way_is_preferred():
    fast = {READ_BODY: io.BytesIO(b"fast").read, **environ(io.BytesIO(b"slow"), 4)}
    assert list(read_pieces(fast)) == [b"fast"]
