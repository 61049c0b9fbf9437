"""What JSON documents may hold whatever they are about: depth, number of values, text."""

import time

import pytest

from glance_common.model.errors import BadRequest
from glance_common.model.json_depth import MAX_DEPTH, check_depth, has_at_most
from glance_common.model.json_text import refuse_nul


def nested(depth, kind):
    document = [] if kind is list else {}
    for _ in range(depth - 1):
        document = [document] if kind is list else {"a": document}
    return document


@pytest.mark.parametrize("kind", [list, dict])
def test_s59_documents_nest_so_deep_and_no_deeper(kind):
    check_depth(nested(MAX_DEPTH, kind))
    with pytest.raises(BadRequest, match=f"more than {MAX_DEPTH}"):
        check_depth(nested(MAX_DEPTH + 1, kind))
    check_depth("text")


@pytest.mark.parametrize(
    ("document", "values"), [("text", 0), ([], 0), ([1, 2], 2), ({"a": [1, {"b": 2}], "c": "d"}, 5), ([[[[]]]], 3)]
)
def test_values_are_counted_on_every_level(document, values):
    assert has_at_most(document, values)
    assert values == 0 or not has_at_most(document, values - 1)


@pytest.mark.parametrize(
    ("document", "place"),
    [
        ("\0", "body holds"), ({"a": "x\0"}, "body.a holds"), ({"a": [1, {"b": ["", "\0"]}]}, "body.a[1].b[1] holds"),
        ({"a": {"b\0": 1}}, "body.a: a field name holds"), ({"k" * 90: "\0"}, f"body.{'k' * 80} holds"),
    ],
)
def test_s54_the_place_of_a_nul_is_named(document, place):
    with pytest.raises(BadRequest) as caught:
        refuse_nul(document, "body")
    assert caught.value.message == f"{place} a NUL character"


def test_s54_text_without_nul_is_taken():
    refuse_nul({"a": ["b", None, 1.5, True, {"\\u0000": "\\0"}]}, "body")


def test_s59_a_nul_is_looked_for_in_linear_time():
    document = {"k" * 1_000_000: [0] * 300_000}
    before = time.process_time()
    refuse_nul(document, "body")
    # With a text of its place for each value: 300 GB of text.
    assert time.process_time() - before < 10
