"""Bodies field by field: what is accepted, and what the refusal says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from glance_common.model import errors
from glance_common.model.json_text import refuse_nul
from glance_registry.views.parsing import Fields, path_id

ID = "0AbCdEf0-0000-4000-8000-00000000000a"


def fields(**values: Any) -> Fields:
    return Fields.parse(orjson.dumps(values), "the body")


@pytest.mark.parametrize(
    ("read", "right", "wrong"),
    [
        (lambda f: f.uuid("x"), [ID], ["", "x", ID + "0", "{" + ID + "}", ID.replace("-", ""), 5, None]),
        (lambda f: f.text("x"), ["a", "x" * 255], ["", "x" * 256, 5, None, ["a"]]),
        (lambda f: f.optional_text("x"), [None, "", "a"], ["x" * 256, 5, {}]),
        (lambda f: f.integer("x"), [0, 5, 2**63 - 1], [-1, 2**63, 1.0, True, "1", None]),
        (lambda f: f.integer("x", minimum=-5, maximum=5), [-5, 5], [-6, 6]),
        (lambda f: f.optional_integer("x"), [None, 0], [-1, "0", False]),
        (lambda f: f.number("x"), [0, 0.5, 10**9], [-0.1, 10**10, True, "1", None]),
        (lambda f: f.boolean("x"), [True, False], [0, 1, "true", None]),
        (lambda f: f.choice("x", ("a", "b")), ["a", "b"], ["c", "", None, ["a"], 5]),
        (lambda f: f.texts("x"), [[], ["a", ""]], ["a", [5], [None], ["x" * 256], None, {}]),
        (lambda f: f.optional_texts("x"), [None, ["a"]], ["a", [5]]),
        (lambda f: f.mapping("x"), [{}, {"a": 1}], [[], "a", 5, None]),
    ],
)
def test_each_kind_accepts_its_own_and_names_the_field(
    read: Callable[[Fields], Any], right: list[Any], wrong: list[Any]
) -> None:
    for value in right:
        assert read(fields(x=value)) in (value, str(value).lower())
    for value in wrong:
        values = orjson.dumps({"x": value}) if value != 2**63 else b'{"x": 9223372036854775808}'
        with pytest.raises(errors.BadRequest) as caught:
            read(Fields.parse(values, "the body"))
        assert caught.value.message.startswith("x must be ")
        assert caught.value.details == {"field": "x"}


@pytest.mark.parametrize(
    "read", [lambda f: f.uuid("x"), lambda f: f.text("x"), lambda f: f.integer("x"), lambda f: f.boolean("x")]
)
def test_a_missing_field_is_named(read: Callable[[Fields], Any]) -> None:
    with pytest.raises(errors.BadRequest, match="x is missing"):
        read(fields())


def test_absent_fields_with_a_meaning() -> None:
    empty = fields()
    assert (empty.mapping("x"), empty.optional_text("x"), empty.boolean("x", default=True)) == ({}, None, True)


def test_unknown_fields_are_refused_by_name() -> None:
    with pytest.raises(errors.BadRequest, match="the body has unknown fields: y, z"):
        fields(x=1, z=1, y=1).only("x")


@pytest.mark.parametrize("text", ["", "[]", "1", "null", '"a"', "{", "{'a': 1}", '{"a": NaN}', '{"a": "\\ud800"}'])
def test_only_json_objects(text: str) -> None:
    for given in (text, text.encode()):
        with pytest.raises(errors.BadRequest, match="the body"):
            Fields.parse(given, "the body")


@pytest.mark.parametrize("value", ["a\0", ["\0"], {"a": {"b": ["\0"]}}, {"\0": 1}, {"a": [{"\0b": 1}]}])
def test_nul_is_refused_wherever_it_hides(value: Any) -> None:
    with pytest.raises(errors.BadRequest, match="NUL"):
        fields(x=value)
    with pytest.raises(errors.BadRequest, match="NUL"):
        refuse_nul(value, "it")


def test_an_escaped_backslash_before_u0000_is_no_nul() -> None:
    assert Fields.parse(rb'{"x": "\\u0000"}', "the body").text("x") == r"\u0000"


def test_ids_in_paths() -> None:
    assert path_id(ID) == ID.lower()
    for text in ("", "x", ID + "\n", "..", ID[:-1]):
        with pytest.raises(errors.NotFound, match="No image found with ID"):
            path_id(text)
