"""The URLs of volumes: cinder://<store>/<volume>, and the form of older records, cinder://<volume>."""

import re
from dataclasses import dataclass
from urllib.parse import quote

SCHEME = "cinder"

_VOLUME = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class CinderPlace:
    """Where the volumes of a store are: the project of its user, and the type of the volumes.

    ``project`` is empty when the volumes belong to the projects of the callers.
    """

    store: str
    server: str
    project: str
    type: str

    @property
    def name(self) -> str:
        """What the registry knows the place by."""
        return f"{SCHEME}://{self.server}/{quote(self.project, safe='')}/{quote(self.type, safe='')}"

    def url(self, key: str) -> str:
        """Return the URL of an image."""
        return f"{SCHEME}://{self.store}/{key}"

    def key_of(self, url: str) -> str | None:
        """Return the id of the volume that the URL names; None for other stores, and for every other form."""
        scheme, separator, rest = url.partition("://")
        if scheme.lower() != SCHEME or not separator:
            return None
        store, slash, key = rest.rpartition("/")
        if slash and store != self.store:
            return None
        return key.lower() if _VOLUME.fullmatch(key) else None
