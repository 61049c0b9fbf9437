"""Ranges, intake and verified reads: the rules of bytes under way."""

import hashlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glance_api.content.formats import FormatRules, Inspection
from glance_api.content.streams import (
    ByteRange,
    DamagedData,
    StreamChecks,
    UploadStream,
    parse_content_range,
    parse_range,
    verified,
)
from glance_common.digests import Digests
from glance_common.model.errors import BadRequest, Gone, RangeNotSatisfiable, TooLarge


def intake(pieces, *, announced=None, cap=1000, disk_format="raw", still_wanted=lambda: None):
    return UploadStream(
        pieces,
        announced=announced,
        cap=cap,
        digests=Digests(("md5", "sha512")),
        inspection=Inspection(disk_format, "bare", FormatRules()),
        checks=StreamChecks(still_wanted),
    )


@pytest.mark.parametrize(
    ("header", "start", "length"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-", 0, 100),
        ("bytes=10-19", 10, 10),
        ("bytes=-5", 95, 5),
        ("bytes=99-99", 99, 1),
        ("bytes = 1 - 2", 1, 2),
        ("BYTES=1-2", 1, 2),
    ],
)
def test_ranges_within_the_image(header, start, length):
    assert parse_range(header, 100) == ByteRange(start, length)


@pytest.mark.parametrize("header", ["bytes=90-200", "bytes=-500", "bytes=0-99"])
def test_s55_a_range_beyond_the_end_is_clipped(header):
    part = parse_range(header, 100)
    assert part.start + part.length == 100


@pytest.mark.parametrize(
    "header",
    ["bytes=100-", "bytes=100-200", "bytes=5-4", "bytes=-0", "bytes=-", "bytes", "chunks=1-2", "bytes=a-b", "",
     "bytes=\uff11-\uff12"],
)
def test_ranges_that_cannot_be_satisfied(header):
    with pytest.raises(RangeNotSatisfiable) as caught:
        parse_range(header, 100)
    assert caught.value.details == {"size": 100}


def test_several_ranges_are_refused():
    with pytest.raises(BadRequest, match="one range"):
        parse_range("bytes=0-1,5-6", 100)


@given(st.integers(1, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_satisfiable_range_always_lies_within_the_image(size, first, last):
    try:
        part = parse_range(f"bytes={first}-{last}", size)
    except RangeNotSatisfiable:
        assert first >= size or last < first
    else:
        assert part.start == first
        assert 0 < part.length <= size - first


def test_the_legacy_request_header_content_range():
    assert parse_content_range("bytes 10-19/100", 100) == ByteRange(10, 10)
    assert parse_content_range("bytes 10-19/*", 100).content_range(100) == "bytes 10-19/100"
    for bad in ("bytes 10-100/100", "bytes 10-100/*", "bytes 5-4/100", "bytes 0-1/99", "bytes=0-1", "bytes */100"):
        with pytest.raises(RangeNotSatisfiable):
            parse_content_range(bad, 100)


def test_intake_passes_the_bytes_on_and_knows_their_digests():
    pieces = [b"a" * 300, b"b" * 300, b"c"]
    flow = intake(pieces, announced=601)
    assert b"".join(flow) == b"".join(pieces)
    assert flow.received.size == 601
    assert flow.received.virtual_size == 601
    assert flow.received.digests == {
        "md5": hashlib.md5(b"".join(pieces)).hexdigest(),
        "sha512": hashlib.sha512(b"".join(pieces)).hexdigest(),
    }


def test_s08_the_size_cap_holds_while_streaming():
    flow = intake(b"x" * 400 for _ in range(10))
    with pytest.raises(TooLarge, match="image_size_cap, 1000 bytes"):
        list(flow)


@pytest.mark.parametrize(("announced", "text"), [(5, "more than the 5 bytes"), (7, "6 bytes, but 7 were announced")])
def test_the_announced_size_is_held_to(announced, text):
    with pytest.raises(BadRequest, match=text):
        list(intake([b"abc", b"def"], announced=announced))


def test_an_attempt_that_is_over_stops_at_the_next_piece():
    def gone():
        raise Gone("the image was deleted")

    with pytest.raises(Gone):
        next(iter(intake([b"abc"], still_wanted=gone)))


def test_received_is_unknown_before_the_end():
    flow = intake([b"abc", b"def"])
    next(iter(flow))
    with pytest.raises(RuntimeError):
        _ = flow.received


@given(st.lists(st.binary(max_size=50)))
def test_verified_data_come_out_unchanged(pieces):
    whole = b"".join(pieces)
    assert b"".join(verified(pieces, len(whole), "md5", hashlib.md5(whole).hexdigest())) == whole


@pytest.mark.parametrize("pieces", [[b"abc", b"deX"], [b"abc"], [b"abc", b"def", b"g"], []])
def test_s69_damaged_data_never_reach_their_announced_length(pieces):
    good = b"abcdef"
    out = []
    with pytest.raises(DamagedData):
        out.extend(verified(pieces, len(good), "sha512", hashlib.sha512(good).hexdigest()))
    assert len(b"".join(out)) < len(good)


HOSTILE_RANGES = [
    "bytes=" + " " * 5_000 + "-" + " " * 5_000 + "x", "bytes" + " " * 100_000 + "x", "bytes=" + " " * 100_000,
    "bytes=" + "-" * 100_000, "=" * 100_000, "bytes=1" + " \t" * 50_000 + "-2",
]


@pytest.mark.parametrize("header", HOSTILE_RANGES, ids=range(len(HOSTILE_RANGES)))
def test_s59_a_range_that_is_long_or_no_range_is_refused_at_once(header):
    before = time.process_time()
    for parse, text in ((parse_range, header), (parse_content_range, header.replace("=", " "))):
        with pytest.raises(RangeNotSatisfiable):
            parse(text, 100)
    # It took minutes with a pattern that backtracks.
    assert time.process_time() - before < 5


@pytest.mark.parametrize("header", ["bytes=1-+2", "bytes=1-2-3", "bytes=1=2-3", "bytes=1 2-3", "byte s=1-2", "bytes=1"])
def test_s55_signs_that_do_not_belong_into_a_range(header):
    with pytest.raises(RangeNotSatisfiable):
        parse_range(header, 100)
