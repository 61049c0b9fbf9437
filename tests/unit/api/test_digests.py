"""Digests beside the stream equal those of hashlib, whatever the pieces, and leave no thread behind."""

import hashlib
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glance_common.digests import Digests

BEFORE: set[threading.Thread] = set()


@pytest.fixture(autouse=True)
def _others():
    BEFORE.clear()
    BEFORE.update(threading.enumerate())


def hashing_threads():
    return [thread for thread in set(threading.enumerate()) - BEFORE if thread.name.startswith("digest-")]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(st.binary(max_size=5000), max_size=8))
def test_digests_equal_those_of_the_whole(pieces):
    digests = Digests(("md5", "sha512", "md5"))
    for piece in pieces:
        digests.update(piece)
    whole = b"".join(pieces)
    assert digests.finish() == {
        "md5": hashlib.md5(whole).hexdigest(),
        "sha512": hashlib.sha512(whole).hexdigest(),
    }
    assert hashing_threads() == []


def test_one_piece_needs_no_thread():
    digests = Digests(("md5",))
    digests.update(b"small")
    assert hashing_threads() == []
    assert digests.finish() == {"md5": hashlib.md5(b"small").hexdigest()}


def test_an_abandoned_stream_ends_its_threads():
    digests = Digests(("md5", "sha256"))
    for _ in range(10):
        digests.update(b"x" * 100_000)
    assert len(hashing_threads()) == 2
    digests.close()
    assert hashing_threads() == []


def test_an_unknown_algorithm_is_refused_before_any_byte():
    with pytest.raises(ValueError, match="no-such-hash"):
        Digests(("no-such-hash",))
