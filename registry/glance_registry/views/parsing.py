"""What views share: who calls, what the body says field by field, and how an answer is written.

A wrong body is a BadRequest that names the field and the rule (S-54); nothing below the views meets untyped data.
"""

from __future__ import annotations

import re
from typing import Any

import orjson
from flask import Response, current_app, g, request
from sqlalchemy import Engine

from glance_common.model import errors
from glance_common.model.context import RequestContext
from glance_common.model.json_text import refuse_nul
from glance_common.model.pages import MAX_PAGE_ROWS
from glance_registry.housekeeping import Housekeeping
from glance_registry.records.bounds import Bounds

UUID = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")
MAX_BIGINT = 2**63 - 1
MAX_KEY = 8192
"""Characters of the key of a location, which may be an encrypted URL."""
ENGINE = "GLANCE_ENGINE"
BOUNDS = "GLANCE_BOUNDS"
HOUSEKEEPING = "GLANCE_HOUSEKEEPING"
MAX_NAMED = 10
"""Unknown fields that a message names, each with at most 40 characters: an answer must not echo a large body."""


def engine() -> Engine:
    """Return the engine that ``create_app`` was given."""
    found: Engine = current_app.config[ENGINE]
    return found


def bounds() -> Bounds:
    """Return the bounds that ``create_app`` was given."""
    found: Bounds = current_app.config[BOUNDS]
    return found


def page_rows(fields: Fields) -> int:
    """Return how many rows a page holds: what the field ``limit`` asks for, within the bounds. Raises BadRequest."""
    asked = fields.optional_integer("limit", maximum=MAX_PAGE_ROWS)
    return min(bounds().default_rows if asked is None else asked, bounds().rows)


def row_count(text: str) -> int:
    """Return ``limit`` of a query string. Raises BadRequest unless it is a number of rows that a page may have."""
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) <= MAX_PAGE_ROWS):
        raise errors.BadRequest(f"limit must be a whole number from 0 to {MAX_PAGE_ROWS}", field="limit")
    return int(text)


def housekeeping() -> Housekeeping:
    """Return the housekeeping of this process."""
    found: Housekeeping = current_app.config[HOUSEKEEPING]
    return found


def caller() -> RequestContext:
    """Return the verified context of this request."""
    context: RequestContext = g.context
    return context


def path_id(text: str, kind: str = "image") -> str:
    """Return the uuid in a path, lower-case; a malformed one is as absent as an unknown one (S-43)."""
    if UUID.fullmatch(text) is None:
        raise errors.NotFound(f"No {kind} found with ID {text}")
    return text.lower()


def answer(document: Any, status: int = 200) -> Response:
    """Return ``document`` as a JSON answer."""
    return raw_answer(orjson.dumps(document), status)


def poll_answer(document: Any, *, found: bool) -> Response:
    """Return ``document`` as the answer to a poll; the request's log line has level DEBUG when nothing was ``found``.

    Idle workers ask every few seconds, and that would be most of the log.
    """
    g.is_idle_poll = not found
    return answer(document)


def is_idle_poll() -> bool:
    """Return whether this request was a poll that found nothing."""
    return bool(g.get("is_idle_poll", False))


def raw_answer(text: str | bytes, status: int = 200) -> Response:
    """Return JSON text, as the database built it, without parsing it."""
    return Response(text, status, content_type="application/json")


def no_content() -> Response:
    """Return 204."""
    return Response(status=204)


def body() -> Fields:
    """Return the fields of the request's JSON object; raise BadRequest when it is anything else."""
    return Fields.parse(request.get_data(), "the body")


class Fields:
    """A JSON object, read field by field. ``where`` names it in messages."""

    def __init__(self, values: dict[str, Any], where: str) -> None:
        self.values = values
        self._where = where

    @classmethod
    def parse(cls, text: str | bytes, where: str) -> Fields:
        """Parse ``text``; raise BadRequest unless it is a JSON object without NUL characters."""
        given = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        try:
            values = orjson.loads(given)
        except orjson.JSONDecodeError as error:
            raise errors.BadRequest(f"{where} is not JSON: {error}") from None
        if not isinstance(values, dict):
            raise errors.BadRequest(f"{where} must be a JSON object")
        if b"\\u0000" in given:
            refuse_nul(values, where)
        return cls(values, where)

    def given(self, name: str) -> bool:
        """Tell whether the field is there, null included."""
        return name in self.values

    def only(self, *names: str) -> None:
        """Refuse fields that are not in ``names``."""
        unknown = sorted(set(self.values) - set(names))
        if unknown:
            named = ", ".join(name[:40] for name in unknown[:MAX_NAMED])
            more = f" and {len(unknown) - MAX_NAMED} more" if len(unknown) > MAX_NAMED else ""
            raise errors.BadRequest(f"{self._where} has unknown fields: {named}{more}")

    def uuid(self, name: str) -> str:
        """Return a field that must be a uuid, lower-case."""
        value = self.values.get(name)
        if not isinstance(value, str) or UUID.fullmatch(value) is None:
            raise self._wrong(name, "a uuid")
        return value.lower()

    def text(self, name: str, maximum: int = 255) -> str:
        """Return a field that must be a text of 1 to ``maximum`` characters."""
        value = self.values.get(name)
        if not isinstance(value, str) or not 0 < len(value) <= maximum:
            raise self._wrong(name, f"a text of 1 to {maximum} characters")
        return value

    def optional_text(self, name: str, maximum: int = 255) -> str | None:
        """Return a field that may be absent, null or a text of at most ``maximum`` characters."""
        value = self.values.get(name)
        if value is not None and (not isinstance(value, str) or len(value) > maximum):
            raise self._wrong(name, f"null or a text of at most {maximum} characters")
        return value

    def integer(self, name: str, minimum: int = 0, maximum: int = MAX_BIGINT) -> int:
        """Return a field that must be a whole number from ``minimum`` to ``maximum``."""
        value = self.values.get(name)
        if type(value) is not int or not minimum <= value <= maximum:
            raise self._wrong(name, f"a whole number from {minimum} to {maximum}")
        return value

    def optional_integer(self, name: str, maximum: int = MAX_BIGINT) -> int | None:
        """Return a field that may be absent, null or a whole number from 0 to ``maximum``."""
        return None if self.values.get(name) is None else self.integer(name, maximum=maximum)

    def number(self, name: str, maximum: float = 10.0**9) -> float:
        """Return a field that must be a number from 0 to ``maximum``, such as seconds."""
        value = self.values.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= maximum:
            raise self._wrong(name, f"a number from 0 to {maximum:g}")
        return float(value)

    def boolean(self, name: str, default: bool | None = None) -> bool:
        """Return a field that must be true or false; absent means ``default`` when that is given."""
        value = self.values.get(name, default)
        if not isinstance(value, bool):
            raise self._wrong(name, "true or false")
        return value

    def choice(self, name: str, allowed: tuple[str, ...]) -> str:
        """Return a field that must be one of ``allowed``."""
        value = self.values.get(name)
        if not isinstance(value, str) or value not in allowed:
            raise self._wrong(name, f"one of {', '.join(allowed)}")
        return value

    def texts(self, name: str, maximum: int = 255) -> list[str]:
        """Return a field that must be a list of texts of at most ``maximum`` characters each."""
        value = self.values.get(name)
        if not isinstance(value, list) or not all(isinstance(item, str) and len(item) <= maximum for item in value):
            raise self._wrong(name, f"a list of texts of at most {maximum} characters")
        return value

    def uuids(self, name: str, most: int) -> list[str]:
        """Return a field that must be a list of 1 to ``most`` uuids, lower-case and each once."""
        value = self.values.get(name)
        rule = f"a list of 1 to {most} uuids"
        if not isinstance(value, list) or not 0 < len(value) <= most:
            raise self._wrong(name, rule)
        if not all(isinstance(item, str) and UUID.fullmatch(item) for item in value):
            raise self._wrong(name, rule)
        return list(dict.fromkeys(item.lower() for item in value))

    def optional_texts(self, name: str) -> list[str] | None:
        """Return a field that may be absent, null or a list of texts."""
        return None if self.values.get(name) is None else self.texts(name)

    def mapping(self, name: str, largest: int | None = None) -> dict[str, Any]:
        """Return a field that must be an object, of at most ``largest`` bytes as JSON; absent means empty."""
        value = self.values.get(name, {})
        if not isinstance(value, dict):
            raise self._wrong(name, "an object")
        if largest is not None and (size := len(orjson.dumps(value))) > largest:
            raise errors.TooLarge(f"{name} takes at most {largest} bytes, this takes {size}", field=name)
        return value

    def objects(self, name: str) -> list[Fields]:
        """Return a field that must be a list of objects."""
        value = self.values.get(name)
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise self._wrong(name, "a list of objects")
        return [Fields(item, f"{name}[{number}]") for number, item in enumerate(value)]

    def _wrong(self, name: str, rule: str) -> errors.BadRequest:
        state = "must be" if name in self.values else "is missing; it must be"
        return errors.BadRequest(f"{name} {state} {rule}", field=name)
