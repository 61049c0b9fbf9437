"""Where clients find what the service names: the one place that knows under which address they reach it.

- Links inside of documents (``self``, ``file``, ``schema``, ``first``, ``next``) always begin with ``/v2``: clients put
  them behind the endpoint, which has the prefix of a proxy already.
- ``Location`` is a path on the client's host and has that prefix (API sections 4 and 15), for namespaces a whole URL
  (metadefs section 5). Version documents hold whole URLs.

``public_endpoint`` wins over what the request says of its address.
"""

from urllib.parse import quote, urlsplit
from wsgiref.types import WSGIEnvironment

LOCATION = "glance.location"
"""Key in the environ: the Location of what the request created. The outermost layer sends it, because layers made of
webob (cross-origin requests, Keystone, the profiler) would turn it into another form."""


def url(environ: WSGIEnvironment, public_endpoint: str | None, path: str) -> str:
    """Return the URL of ``path``, which begins with a slash, for the client of this request."""
    if public_endpoint:
        return public_endpoint.rstrip("/") + path
    host = environ.get("HTTP_HOST") or f"{environ['SERVER_NAME']}:{environ['SERVER_PORT']}"
    return f"{environ['wsgi.url_scheme']}://{host}{_mounted(environ)}{path}"


def local_path(environ: WSGIEnvironment, public_endpoint: str | None, path: str) -> str:
    """Return ``path`` as the client of this request has to ask its host for it."""
    prefix = urlsplit(public_endpoint).path.rstrip("/") if public_endpoint else _mounted(environ)
    return prefix + path


def _mounted(environ: WSGIEnvironment) -> str:
    """Return the path under which the service is mounted, empty for the root."""
    return quote(environ.get("SCRIPT_NAME", ""), encoding="latin-1").rstrip("/")
