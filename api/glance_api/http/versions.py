"""Version discovery and version selection (API section 1).

A WSGI layer ahead of authentication: the version documents need no token, and whatever version string a client uses,
the layers behind see ``/v1/…`` or ``/v2/…``. Minor versions only announce features, all of them run the same code.
"""

import re
from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import orjson

from glance_api.http import links

MEDIA_TYPE = "application/vnd.openstack.images-"
UNVERSIONED = ("healthcheck",)
"""First path segments that are no version and are still answered behind this layer."""

_ALWAYS = ("2.7", "2.6", "2.5", "2.4", "2.3", "2.2", "2.1", "2.0")
_MULTI_STORE = ("2.13", "2.12", "2.11", "2.10", "2.9", "2.8")
_SINGLE_STORE = ("2.9",)
_CURRENT = "2.17"
_CACHE_CURRENT, _CACHE = "2.18", ("2.17", "2.16", "2.15", "2.14")
"""What an image cache adds and what there is besides."""
_LEADING = "2.15"
_V1 = ("1.1", "1.0")
_IN_PATH = re.compile(r"v[0-9][0-9.]{0,8}")
_AFTER_VERSION = re.compile(r"[,;\s]")


def current(with_cache: bool) -> str:
    """Return the newest minor version."""
    return _CACHE_CURRENT if with_cache else _CURRENT


def advertised(multi_store: bool, with_v1: bool, with_cache: bool) -> list[tuple[str, str]]:
    """Return the versions with their status, in the order in which they are listed."""
    by_stores = _MULTI_STORE if multi_store else _SINGLE_STORE
    leading = (_CACHE_CURRENT, *_CACHE, *by_stores) if with_cache else (_LEADING, *by_stores, _CURRENT)
    newest = current(with_cache)
    return [
        (version, "CURRENT" if version == newest else "SUPPORTED")
        for version in (*leading, *_ALWAYS, *(_V1 if with_v1 else ()))
    ]


class Versions:
    """Wraps ``app``: answers version documents, and hands on requests of a known version under ``/v1`` or ``/v2``."""

    def __init__(
        self, app: WSGIApplication, *, multi_store: bool, with_v1: bool, with_cache: bool, public_endpoint: str | None
    ) -> None:
        self._app = app
        self._public_endpoint = public_endpoint
        self._advertised = advertised(multi_store, with_v1, with_cache)
        # Version in a request → first segment of the path behind this layer.
        self._known = {f"v{version}": f"v{version[0]}" for version, _ in self._advertised}
        self._known |= {major: major for major in self._known.values()}

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        path: str = environ.get("PATH_INFO", "")
        first, slash, rest = path.lstrip("/").partition("/")
        if first == "versions":
            return self._document(environ, start_response, "200 OK")
        if first in UNVERSIONED:
            return self._app(environ, start_response)
        wanted = _media_type_version(environ.get("HTTP_ACCEPT", ""))
        major = self._known.get(wanted or first)
        if major is None:
            return self._document(environ, start_response, "300 Multiple Choices")
        # The version in Accept wins over the one in the URL, which may be missing then.
        environ["PATH_INFO"] = f"/{major}{slash}{rest}" if first in self._known else f"/{major}{path}"
        return self._app(environ, start_response)

    def _document(self, environ: WSGIEnvironment, start_response: StartResponse, status: str) -> list[bytes]:
        base = links.url(environ, self._public_endpoint, "/v")
        versions = [
            {"id": f"v{version}", "status": state, "links": [{"rel": "self", "href": f"{base}{version[0]}/"}]}
            for version, state in self._advertised
        ]
        body = orjson.dumps({"versions": versions})
        start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]


def requested(path: str, accept: str) -> tuple[str, str]:
    """Return the version that a request asks for, empty when it names none, and the path behind it."""
    first, _, rest = path.lstrip("/").partition("/")
    in_path = _IN_PATH.fullmatch(first) is not None
    version = _media_type_version(accept) or (first if in_path else "")
    return version, rest if in_path else path


def _media_type_version(accept: str) -> str | None:
    """Return the version in ``Accept: application/vnd.openstack.images-v2.1``, None when it names none."""
    if not accept.startswith(MEDIA_TYPE):
        return None
    return _AFTER_VERSION.split(accept.removeprefix(MEDIA_TYPE), maxsplit=1)[0]
