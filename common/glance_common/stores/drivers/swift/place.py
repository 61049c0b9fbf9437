"""Where a swift store has its objects, and the URLs and keys that name them (stores section 6, S-02).

A key is the id of an image. Images of older installations may be in another container or account than new ones; their
keys are ``<container>/<id>`` and ``<reference>/<container>/<id>``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

from glance_common.stores.contract import BadLocation, is_key
from glance_common.stores.drivers.swift.logins import SwiftLogin

SCHEMES = ("swift", "swift+http", "swift+https", "swift+config")
_DEFAULT_PORTS = (":80", ":443")


@dataclass(frozen=True, slots=True)
class SwiftObject:
    """Where one object is: the reference of its account, its container and its name."""

    reference: str
    container: str
    name: str


@dataclass(frozen=True, slots=True)
class SwiftPlace:
    """The containers of a store. ``reference`` is the account that is written to, "" without a file of references."""

    logins: Mapping[str, SwiftLogin]
    reference: str
    container: str
    seed: int

    @property
    def name(self) -> str:
        """What the place is called in logs and in the registry: the same for all versions of the login."""
        return self.name_of(self.reference)

    def name_of(self, reference: str) -> str:
        """Return the name of the same container in the account of another reference."""
        login = self.logins[reference]
        project = login.project_id or login.project
        return "/".join(part for part in (f"swift://{_plain(login.server)}", project, self.container) if part)

    def container_of(self, name: str) -> str:
        """Return the container that new data of an image id go to."""
        if not self.seed:
            return self.container
        name = name.lower()
        return f"{self.container}_{name[: self.seed + name[: self.seed].count('-')]}"

    def find(self, key: str) -> SwiftObject:
        """Return where the object of a key is. Raises BadLocation."""
        reference, container, name = (["", "", *key.split("/")])[-3:]
        known = reference in self.logins if reference else key.count("/") <= 1
        if not known or not is_key(name) or not (self._is_ours(container) if container else key == name):
            raise BadLocation(f"{key[:80]!r} is not a key of this store: an image id, maybe behind its container")
        return SwiftObject(reference or self.reference, container or self.container_of(name), name)

    def url(self, key: str) -> str:
        """Return the location URL of a key."""
        found = self.find(key)
        path = f"{quote(found.container)}/{found.name}"
        if found.reference:
            return f"swift+config://{found.reference}/{path}"
        parts = urlsplit(self.logins[found.reference].address)
        return f"swift+{parts.scheme}://{parts.netloc}{parts.path}/{path}"

    def key_of(self, url: str) -> str | None:
        """Return the key that a location URL names, None when it is not one of this place.

        Credentials in URLs of older installations are ignored: the store uses its own.
        """
        scheme, _, rest = url.partition("://")
        user, _, rest = rest.rpartition("@")
        parts = rest.rsplit("/", 2)
        if scheme.lower() not in SCHEMES or len(parts) != 3:
            return None
        server, container, name = parts[0], unquote(parts[1]), parts[2]
        if not is_key(name) or not self._is_ours(container):
            return None
        if scheme.lower() == "swift+config":
            reference = server if server in self.logins else None
        else:
            reference = self._reference_at(server, unquote(user.partition(":")[0]))
        return None if reference is None else self._key(SwiftObject(reference, container, name))

    def _key(self, found: SwiftObject) -> str:
        if found.reference != self.reference:
            return f"{found.reference}/{found.container}/{found.name}"
        is_usual = found.container == self.container_of(found.name)
        return found.name if is_usual else f"{found.container}/{found.name}"

    def _reference_at(self, server: str, user: str) -> str | None:
        """Return the reference that logs in at this address, for the same project where the URL tells one."""
        project = user.partition(":")[0] if ":" in user else None
        for reference in sorted(self.logins, key=lambda each: each != self.reference):
            login = self.logins[reference]
            if _address(server) == _address(login.address.partition("://")[2]) and project in (None, login.project):
                return reference
        return None

    def _is_ours(self, container: str) -> bool:
        return container == self.container or container.startswith(f"{self.container}_")


def _address(text: str) -> str:
    """Return one spelling of an address of logins."""
    host, slash, path = text.strip("/").partition("/")
    return _plain(host) + slash + path


def _plain(host: str) -> str:
    host = host.lower()
    for port in _DEFAULT_PORTS:
        host = host.removesuffix(port)
    return host
