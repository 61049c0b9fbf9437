"""Which requests bring image data: the server reads those while they come, and collects every other body first."""

from urllib.parse import unquote, urlsplit

from glance_api.http.versions import requested
from glance_common.server import RequestHead

_DATA = frozenset({"file", "stage"})


def is_transfer(head: RequestHead) -> bool:
    """Tell whether the body of a request is image data: uploads and staging of v2, every image with a body in v1."""
    version, rest = requested(unquote(_path(head.target)), head.headers.get("accept", ""))
    segments = rest.strip("/").split("/")
    if segments[0] != "images":
        return False
    if version.startswith("v1"):
        return head.method in ("POST", "PUT") and len(segments) <= 2
    return head.method == "PUT" and len(segments) == 3 and segments[2] in _DATA


def _path(target: str) -> str:
    """Return the path of a request's target, empty when it has none."""
    if not target.startswith("/"):
        try:
            return urlsplit(target).path
        except ValueError:
            return ""
    return target.partition("?")[0].partition("#")[0]
