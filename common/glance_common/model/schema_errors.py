"""What a value breaks of a JSON schema, in words for its sender.

The library's own messages show Python's form of values and lists. Here texts stand between quotes, as in all messages,
and other values as JSON, the sender's language.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

MAX_SHOWN = 200
"""Characters of a value or of a list of names that a message shows."""


class BrokenRule(Protocol):
    """What is read of the library's error."""

    @property
    def validator(self) -> Any:
        """The keyword of the schema that the value breaks."""

    @property
    def validator_value(self) -> Any:
        """What the schema says under that keyword."""

    @property
    def instance(self) -> Any:
        """The value."""

    @property
    def schema(self) -> Any:
        """The part of the schema."""


_WITH_RULE = {
    "minLength": "shorter than {rule} characters",
    "maxLength": "longer than {rule} characters",
    "minimum": "{value} is less than the minimum of {rule}",
    "maximum": "{value} is greater than the maximum of {rule}",
    "minItems": "has less than {rule} elements",
    "maxItems": "has more than {rule} elements",
    "uniqueItems": "has equal elements",
    "minProperties": "has less than {rule} properties",
    "maxProperties": "has more than {rule} properties",
    "pattern": "{value} does not match the pattern {rule}",
    "format": "{value} is not a '{rule}'",
}
"""Keyword of a schema → what is wrong with a value."""


def sentence(error: BrokenRule) -> str:
    """Return what is wrong with the value, without its place."""
    rule, value = error.validator_value, error.instance
    match error.validator:
        case "type":
            return f"must be {rule if isinstance(rule, str) else ' or '.join(rule)}"
        case "enum":
            return f"{_shown(value)} is not one of {', '.join(map(_shown, rule))}"
        case "required":
            missing = next((name for name in rule if name not in value), "")
            return f"{_shown(missing)} is a required property"
        case "additionalProperties":
            known: Mapping[str, Any] = error.schema.get("properties", {})
            return f"additional properties are not allowed: {_names(name for name in value if name not in known)}"
        case keyword if keyword in _WITH_RULE:
            return _WITH_RULE[keyword].format(rule=rule, value=_shown(value))
    return f"{_shown(value)} does not have one of the forms that are allowed ({error.validator})"


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, str):
        return shortened(text, MAX_SHOWN)
    inner = text[1:-1].replace('\\"', '"')
    return f"'{shortened(inner, MAX_SHOWN)}'"


def _names(names: Iterable[str]) -> str:
    return shortened(", ".join(names), MAX_SHOWN)


def shortened(text: str, most: int) -> str:
    """Return what fits into a message: names and values of clients may be of any length."""
    return text if len(text) <= most else f"{text[:most]}…"
