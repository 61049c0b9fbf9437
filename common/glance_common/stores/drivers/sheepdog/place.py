"""Where a sheepdog store has its images, and the URLs that name them (stores section 10, S-07)."""

import ipaddress
import re
from dataclasses import dataclass

from glance_common.stores.contract import is_key

_SCHEME = "sheepdog://"
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_DIGITS = re.compile(r"[0-9]{1,5}")


@dataclass(frozen=True, slots=True)
class SheepdogPlace:
    """A cluster, as one of its nodes is reached."""

    address: str
    port: int

    def __str__(self) -> str:
        return f"{_SCHEME}{self.address}:{self.port}"

    def url(self, key: str) -> str:
        """Return the location URL of a key."""
        return f"{self}:{key}"

    def key_of(self, url: str) -> str | None:
        """Return the key that a location URL names, None when it is not one of this place.

        ``sheepdog://key`` is the form of older installations, for the one cluster that they had.
        """
        if not url.startswith(_SCHEME):
            return None
        *where, key = url.removeprefix(_SCHEME).rsplit(":", 2)
        if not is_key(key):
            return None
        if not where:
            return key
        if len(where) != 2 or not _DIGITS.fullmatch(where[1]):
            return None
        return key if (plain_address(where[0]), int(where[1])) == (self.address, self.port) else None


def plain_address(text: str) -> str | None:
    """Return one spelling of a host name or an IP address, None when it is neither; it never begins with a dash."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        name = text.lower()
        labels = name.split(".")
        # What ends in a number is an IP address with a mistake.
        is_name = len(name) <= 253 and all(map(_LABEL.fullmatch, labels)) and not labels[-1].isdigit()
        return name if is_name else None
