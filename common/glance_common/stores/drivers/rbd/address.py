"""The URLs of images in a pool: rbd://<fsid>/<pool>/<image>/<snapshot>, and the short form rbd://<image>."""

from dataclasses import dataclass
from urllib.parse import quote, unquote

from glance_common.stores.contract import is_key

SCHEME = "rbd"

SNAPSHOT = "snap"
"""Name of the snapshot that makes an image whole, and that Nova and Cinder clone from."""


@dataclass(frozen=True, slots=True)
class RbdPlace:
    """A pool of a cluster."""

    fsid: str
    pool: str

    @property
    def name(self) -> str:
        """What the registry knows the place by."""
        return f"{SCHEME}://{self.fsid}/{quote(self.pool, safe='')}"

    def url(self, key: str) -> str:
        """Return the URL of an image, as Nova and Cinder take it apart."""
        return f"{self.name}/{key}/{SNAPSHOT}"

    def key_of(self, url: str) -> str | None:
        """Return the key that the URL names; None for other clusters, pools and snapshots, and for every other form."""
        scheme, separator, rest = url.partition("://")
        if scheme.lower() != SCHEME or not separator or not rest.isascii():
            return None
        parts = [unquote(part) for part in rest.split("/")]
        if len(parts) == 1:
            (key,) = parts
        elif len(parts) == 4:
            fsid, pool, key, snapshot = parts
            if (fsid, pool, snapshot) != (self.fsid, self.pool, SNAPSHOT):
                return None
        else:
            return None
        return key if is_key(key) else None
