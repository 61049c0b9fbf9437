"""JSON documents of clients: parsed once, and refused when no field of ours could hold what is in them (S-54, S-59).

All of it is linear in the bytes of the document, because it runs before the policy is asked.
"""

from typing import Any

import orjson

from glance_common.model.errors import BadRequest
from glance_common.model.json_depth import check_depth
from glance_common.model.json_text import refuse_nul

MAX_BRACKETS = 50_000
"""Signs ``[`` and ``{`` in a body, those within texts counted; 1000 operations of a PATCH need 1001.

Each object and array costs time once more in the collector of garbage: 350 000 of them took 0.3 s for 1 MiB.
"""


def parse(raw: bytes) -> Any:
    """Return the object or array in ``raw``.

    Raises BadRequest for an empty body, for what is not JSON, has too many objects and arrays, nests too deeply, or
    holds a NUL character, which the database cannot keep; the message names the field.
    """
    if not raw.strip():
        raise BadRequest("the request needs a body in JSON")
    if raw.count(b"[") + raw.count(b"{") > MAX_BRACKETS:
        raise BadRequest(f"the body is JSON with more than {MAX_BRACKETS} signs [ and {{, those within texts counted")
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the body is not valid JSON: {error}") from None
    if not isinstance(document, dict | list):
        raise BadRequest("the body must be a JSON object or array")
    try:
        check_depth(document)
    except BadRequest as error:
        raise BadRequest(f"the body nests {error.message}") from None
    # JSON has this character only as an escape, and few documents have any.
    if b"\\u0000" in raw:
        refuse_nul(document, "body")
    return document
