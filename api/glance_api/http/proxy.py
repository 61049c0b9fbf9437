"""What the proxy in front says about the client: its address, and the scheme, host and path that it asked for.

``Forwarded`` (RFC 7239) says it, or the older ``X-Forwarded-For``, ``-Proto``, ``-Host`` and ``-Port``; what
``Forwarded`` does not tell is taken from these. ``X-Forwarded-Prefix`` has no counterpart there. Each proxy puts what
it knows at the end, so the last element of ``Forwarded``, and the last value of the others, is that of the proxy in
front: the client wrote what comes before. What is malformed is not believed: then the request itself says where it came
to.

The layer exists only with ``enable_proxy_headers_parsing``: otherwise no header is looked at (S-82).
"""

import re
from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from urllib.parse import unquote
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

MAX_HEADER = 4096
"""Characters of a header that is looked at: a longer one is malformed."""

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - the token of RFC 9110
# Many proxies leave out the quotes that RFC 7239 wants around an address or host with a port.
_PAIR = re.compile(rf'[ \t]*({_TOKEN})=([!#-+\--:<-~]+|"(?:[^"\\]|\\.)*")[ \t]*')
_ESCAPED = re.compile(r"\\(.)")
_NAME = r"(?:[0-9A-Za-z._~-]+|\[[0-9A-Fa-f:.]+\])"
_PORT = re.compile(r"[1-9][0-9]{0,3}|[1-5][0-9]{4}|6(?:[0-4][0-9]{3}|5(?:[0-4][0-9]{2}|5(?:[0-2][0-9]|3[0-5])))")
_HOST = re.compile(rf"({_NAME})(?::({_PORT.pattern}))?")
_PREFIX = re.compile(r"(?:/[0-9A-Za-z._~!$&'()*+,;=:@%-]+)+")
_ESCAPES = re.compile(r"(?:[^%]|%[0-9A-Fa-f]{2})*")
_PORTS = {"http": "80", "https": "443"}


class ProxyHeaders:
    """Wraps ``app``: the environ it sees is that of the client's request to the proxy in front."""

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        _believe(environ)
        return self._app(environ, start_response)


def _believe(environ: WSGIEnvironment) -> None:
    told = _forwarded(environ.get("HTTP_FORWARDED", ""))
    address = _address(told.get("for") or _last(environ, "FOR"))
    if address:
        environ["REMOTE_ADDR"] = address
    scheme = (told.get("proto") or _last(environ, "PROTO")).lower()
    if scheme in _PORTS:
        environ["wsgi.url_scheme"] = scheme
    port = "" if "host" in told else _last(environ, "PORT")
    host = _host(told.get("host") or _last(environ, "HOST"), port, environ)
    if host:
        environ["HTTP_HOST"] = host
    prefix = _prefix(_last(environ, "PREFIX"))
    if prefix is not None:
        environ["SCRIPT_NAME"] = prefix


def _last(environ: WSGIEnvironment, name: str) -> str:
    """Return the last value of a header ``X-Forwarded-…``, empty when there is none."""
    header: str = environ.get(f"HTTP_X_FORWARDED_{name}", "")
    return header.rpartition(",")[2].strip() if len(header) <= MAX_HEADER else ""


def _forwarded(header: str) -> dict[str, str]:
    """Return what the last element of ``Forwarded`` says that is not empty; nothing for a malformed header."""
    if len(header) > MAX_HEADER:
        return {}
    last: dict[str, str] = {}
    told_by = -1
    try:
        for element, name, value in _pairs(header):
            if element != told_by:
                last, told_by = {}, element
            last[name] = value
    except ValueError:
        return {}
    return last


def _pairs(header: str) -> Iterator[tuple[int, str, str]]:
    """Yield element, name and value of each parameter. Raises ValueError for what is no such header."""
    place = element = 0
    while place < len(header):
        pair = _PAIR.match(header, place)
        if pair is not None:
            name, value = pair.groups()
            quoted = value.startswith('"')
            yield element, name.lower(), _ESCAPED.sub(r"\1", value[1:-1]) if quoted else value
            place = pair.end()
        # An element may be empty, and so may be the rest of one (RFC 9110 section 5.6.1).
        rest = header[place:].lstrip(" \t")
        if rest and rest[0] not in ",;":
            raise ValueError(header[place:])
        element += rest.startswith(",")
        place = len(header) - len(rest) + 1


def _address(node: str) -> str:
    """Return the address in a node (``192.0.2.7:80``, ``[2001:db8::1]:80``), empty when it tells none."""
    text = node
    if node.startswith("["):
        text = node[1:].partition("]")[0]
    elif node.count(":") == 1:
        text = node.partition(":")[0]
    try:
        return str(ip_address(text))
    except ValueError:
        # Also "unknown" and the names of RFC 7239 section 6.3, which stand for an address that is kept secret.
        return ""


def _host(told: str, port: str, environ: WSGIEnvironment) -> str:
    """Return the host that the client asked, with its port unless it is the scheme's own; empty when none is told."""
    if not (told or port):
        return ""
    match = _HOST.fullmatch(told or environ.get("HTTP_HOST", ""))
    if match is None:
        return ""
    name, own_port = match.groups()
    wanted = port if _PORT.fullmatch(port) else own_port
    if wanted is None or wanted == _PORTS.get(environ["wsgi.url_scheme"]):
        return name
    return f"{name}:{wanted}"


def _prefix(told: str) -> str | None:
    """Return the path under which the proxy shows the service, None when it tells none."""
    prefix = told.rstrip("/")
    if told.startswith("/") and not prefix:
        return ""
    if _PREFIX.fullmatch(prefix) is None or _ESCAPES.fullmatch(prefix) is None:
        return None
    return unquote(prefix, encoding="latin-1")
