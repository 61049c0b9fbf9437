"""What is wrong with a value, in words for its sender and not in those of Python."""

from enum import StrEnum
from typing import Any

import pytest
from jsonschema import Draft4Validator, Draft202012Validator, FormatChecker

from glance_common.model.schema_errors import MAX_SHOWN, sentence


class Word(StrEnum):
    ONE = "one"


OBJECT = {"properties": {"a": {}}, "additionalProperties": False}


@pytest.mark.parametrize(
    ("schema", "value", "text"),
    [
        ({"type": "string"}, None, "must be string"), ({"type": ["null", "string"]}, 1, "must be null or string"),
        ({"enum": [Word.ONE, None, True, 2.5]}, "x", "'x' is not one of 'one', null, true, 2.5"),
        ({"enum": ["a"]}, {"b": [None, False, "c"]}, '{"b": [null, false, "c"]} is not one of \'a\''),
        ({"enum": ["a"]}, 'é"\n\ud800', "'é\"\\n\ud800' is not one of 'a'"),
        ({"enum": ["a"]}, 10**30, f"{10**30} is not one of 'a'"),
        ({"required": ["a", "b"]}, {"a": 1}, "'b' is a required property"),
        (OBJECT, {"a": 1, "b": 1, "c": 1}, "additional properties are not allowed: b, c"),
        ({"minLength": 1}, "", "shorter than 1 characters"), ({"maxLength": 1}, "ab", "longer than 1 characters"),
        ({"minimum": 0}, -1, "-1 is less than the minimum of 0"),
        ({"maximum": 9}, 10, "10 is greater than the maximum of 9"),
        ({"minItems": 1}, [], "has less than 1 elements"), ({"maxItems": 0}, [None], "has more than 0 elements"),
        ({"uniqueItems": True}, [None, None], "has equal elements"),
        ({"minProperties": 1}, {}, "has less than 1 properties"),
        ({"maxProperties": 0}, {"a": None}, "has more than 0 properties"),
        ({"pattern": "^{a}$"}, "b\\", "'b\\\\' does not match the pattern ^{a}$"),
        ({"format": "ipv4"}, "x", "'x' is not a 'ipv4'"),
        ({"not": {}}, [None], "[null] does not have one of the forms that are allowed (not)"),
    ],
)
@pytest.mark.parametrize("draft", [Draft4Validator, Draft202012Validator])
def test_sentences(draft: Any, schema: dict[str, Any], value: Any, text: str) -> None:
    (error, *_) = draft(schema, format_checker=FormatChecker()).iter_errors(value)
    assert sentence(error) == text


@pytest.mark.parametrize(
    ("schema", "value"),
    [({"enum": ["a"]}, "x" * 10**6), ({"enum": ["a"]}, ["x" * 10**6]), ({"required": ["x" * 10**6]}, {}),
     ({"additionalProperties": False}, {f"name {number}": None for number in range(10_000)})],
)
def test_s59_a_sentence_is_short_however_long_the_value_is(schema: dict[str, Any], value: Any) -> None:
    (error, *_) = Draft4Validator(schema).iter_errors(value)
    assert len(sentence(error)) < 2 * MAX_SHOWN
