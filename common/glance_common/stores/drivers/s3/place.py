"""Where an s3 store has its objects, and the URLs that name them (stores section 5, S-02)."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from glance_common.stores.contract import is_key

SCHEMES = ("s3", "s3+http", "s3+https")
_DEFAULT_PORTS = (":80", ":443")


class BadHost(ValueError):
    """The text is no address of a server; the message says what it must be."""


@dataclass(frozen=True, slots=True)
class S3Place:
    """A bucket of a server. ``server`` is host, maybe port and path, without scheme."""

    secure: bool
    server: str
    bucket: str

    @property
    def endpoint(self) -> str:
        """The URL of the server."""
        return f"{'https' if self.secure else 'http'}://{self.server}"

    @property
    def name(self) -> str:
        """What the place is called in logs and in the registry: the same over http and https."""
        return f"s3://{_plain(self.server)}/{self.bucket}"

    def url(self, key: str) -> str:
        """Return the location URL of a key."""
        return f"{'s3+https' if self.secure else 's3'}://{self.server}/{self.bucket}/{key}"

    def key_of(self, url: str) -> str | None:
        """Return the key that a location URL names, None when it is not one of this place.

        Older installations wrote ``s3://<access key>:<secret>@<server>/<bucket>/<key>``, where the secret may hold
        slashes. What stands before the last @ is dropped: the store has its own credentials (STO-22).
        """
        scheme, _, rest = url.partition("://")
        parts = rest.rpartition("@")[2].rsplit("/", 2)
        if scheme.lower() not in SCHEMES or len(parts) != 3:
            return None
        server, bucket, key = parts
        return key if is_key(key) and bucket == self.bucket and _plain(server) == _plain(self.server) else None


def parse_host(text: str) -> tuple[bool, str]:
    """Return whether https is used, and the server without its scheme. Raises BadHost."""
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = "http", text
    try:
        parts = urlsplit(f"{scheme}://{rest}")
        has_port = parts.port != 0
    except ValueError:
        raise BadHost("must be a host, maybe with scheme, port and path") from None
    if scheme not in ("http", "https") or not parts.hostname or not has_port or any(map(str.isspace, text)):
        raise BadHost("must be a host, maybe with scheme (http or https), port and path")
    if "@" in rest or parts.query or parts.fragment:
        raise BadHost("must have no user, password, query or fragment")
    return scheme == "https", rest.rstrip("/")


def _plain(server: str) -> str:
    """Return one spelling of the same server. A default port may be written or not."""
    host, slash, path = server.strip("/").partition("/")
    host = host.lower()
    for port in _DEFAULT_PORTS:
        host = host.removesuffix(port)
    return host + slash + path
