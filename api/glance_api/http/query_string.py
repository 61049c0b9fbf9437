"""The query string of a list request, as every version of the API reads it."""

from urllib.parse import parse_qsl

from glance_common.model.errors import BadRequest

MAX_FILTERS = 250
"""Parameters of one request; far more than a client has use for."""

SORT_KEYS = ("name", "status", "container_format", "disk_format", "size", "id", "created_at", "updated_at")
"""What lists of images are sorted by."""

Pairs = list[tuple[str, str]]


def pairs_of(query_string: str) -> Pairs:
    """Return names and values of a query string (still quoted). Raises BadRequest."""
    try:
        # A server hands raw bytes on as Latin-1.
        text = query_string.encode("latin-1").decode()
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_FILTERS)
    except UnicodeError:
        raise BadRequest("the query string is not UTF-8") from None
    except ValueError:
        raise BadRequest(f"a request has at most {MAX_FILTERS} parameters") from None
    for name, value in pairs:
        if "\0" in name or "\0" in value:
            raise BadRequest(f"parameter {name!r} holds a NUL character")
    return pairs


def page_limit(text: str | None, default: int, largest: int) -> int:
    """Return the number of rows that ``limit`` asks for, at most ``largest``. Raises BadRequest."""
    if text is None:
        return min(default, largest)
    if not (text.isascii() and text.isdigit()):
        raise BadRequest(f"limit must be a number that is not negative, not {text[:40]!r}")
    return min(int(text[:20]), largest)
