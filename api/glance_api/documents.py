"""JSON documents of clients: parsed once, and refused when no field of ours could hold what is in them (S-54, S-59)."""

from typing import Any

import orjson

from glance_common.errors import BadRequest
from glance_common.json_depth import MAX_DEPTH


def parse(raw: bytes) -> Any:
    """Return the object or array in ``raw``.

    Raises BadRequest for an empty body, for what is not JSON, nests too deeply, or holds a NUL character, which the
    database cannot keep; the message names the field.
    """
    if not raw.strip():
        raise BadRequest("the request needs a body in JSON")
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the body is not valid JSON: {error}") from None
    if not isinstance(document, dict | list):
        raise BadRequest("the body must be a JSON object or array")
    _check(document, "body", 1)
    return document


def _check(value: Any, where: str, depth: int) -> None:
    if isinstance(value, str):
        if "\0" in value:
            raise BadRequest(f"{where} holds a NUL character")
    elif isinstance(value, dict | list):
        if depth > MAX_DEPTH:
            raise BadRequest(f"the body nests more than {MAX_DEPTH} objects and arrays within each other")
        entries = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in entries:
            if isinstance(key, str) and "\0" in key:
                raise BadRequest(f"a field name in {where} holds a NUL character")
            _check(inner, f"{where}.{key}" if isinstance(value, dict) else f"{where}[{key}]", depth + 1)
