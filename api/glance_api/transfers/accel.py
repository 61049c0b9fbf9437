"""Downloads that nginx sends in our place: which directory of a file store is which of its internal locations.

nginx says with each request that it would (``X-Sendfile-Type: X-Accel-Redirect``, in place of what the client wrote):
clients that do not come through nginx get their data as usual. A client that writes the header itself gets an answer
without data and the name of an internal location, which nginx serves to no client.
"""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from oslo_config import cfg
from werkzeug.datastructures import Headers

from glance_common.config.loading import ConfigError
from glance_common.stores.contract import is_key

OPTION = "x_accel_redirect"
ASKED_BY = ("X-Sendfile-Type", "X-Accel-Redirect")
"""Header and value by which a proxy says that it sends files."""

OPTS: list[cfg.Opt] = [
    cfg.DictOpt(
        OPTION, default={},
        help="Directories of file stores, or image_cache_dir, with the internal location of nginx that shows each, as "
        "/var/lib/glance/images:/_glance/images, separated by commas: downloads through nginx are sent by nginx then. "
        "Directories that are not named are sent as ever. nginx needs the configuration of "
        "deploy/nginx/glance-downloads.conf.",
    ),
]

_PREFIX = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+")
_PLAIN_RANGE = re.compile(r"bytes=[0-9]{0,18}-[0-9]{0,18}")
_CONDITIONS = ("If-Match", "If-Modified-Since", "If-Unmodified-Since", "If-Range", "Content-Range")


@dataclass(frozen=True, slots=True)
class InternalLocations:
    """Directory → prefix of the proxy's URLs; empty = the proxy sends nothing."""

    prefixes: Mapping[str, str] = field(default_factory=dict)

    def address(self, path: str | None) -> str | None:
        """Return the proxy's internal URL of the file of an image; None when the proxy does not show it."""
        directory, _, key = (path or "").rpartition("/")
        prefix = self.prefixes.get(directory)
        return f"{prefix}/{key}" if prefix is not None and is_key(key) else None


def parse(conf: cfg.ConfigOpts, directories: Iterable[str]) -> InternalLocations:
    """Return what the option says; ``directories`` are those of the file stores and of the image cache.

    Raises ConfigError.
    """
    named: dict[str, str] = conf[OPTION]
    known = set(directories)
    prefixes: dict[str, str] = {}
    for place, prefix in named.items():
        directory = os.path.normpath(place)
        if directory not in known:
            raise ConfigError("DEFAULT", OPTION, place, "must be a directory of a file store, or image_cache_dir")
        if _PREFIX.fullmatch(prefix) is None:
            allowed = "must be a path of letters, digits, '.', '_', '~' and '-', without a slash at the end"
            raise ConfigError("DEFAULT", OPTION, prefix, allowed)
        if prefix in prefixes.values():
            raise ConfigError("DEFAULT", OPTION, prefix, "must stand for one directory only")
        prefixes[directory] = prefix
    return InternalLocations(prefixes)


def is_asked(method: str, headers: Headers) -> bool:
    """Say whether the request comes through a proxy that sends files, and would send exactly what we would.

    The proxy answers ranges and conditions by rules of its own. The same comes out for a plain range and for
    If-None-Match, which we have answered before; everything else is left to us.
    """
    name, value = ASKED_BY
    if method != "GET" or headers.get(name) != value or any(name in headers for name in _CONDITIONS):
        return False
    return "Range" not in headers or _PLAIN_RANGE.fullmatch(headers["Range"]) is not None
