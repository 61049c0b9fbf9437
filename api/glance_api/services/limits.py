"""Where the limits of an owner come from: an option for all projects, Keystone, or nowhere."""

import re
from dataclasses import dataclass
from typing import Protocol

from oslo_config import cfg, types

from glance_common.config.loading import ConfigError
from glance_common.model.limits import Limits

MAX_QUOTA = 2**63 - 1
"""Bytes; the largest number that the size columns hold."""

_QUOTA = re.compile(r"(\d+)(B|KB|MB|GB|TB)?", re.ASCII)
_UNITS = {None: 1, "B": 1, "KB": 1024, "MB": 1024**2, "GB": 1024**3, "TB": 1024**4}


class LimitSource(Protocol):
    """Knows the limits of each owner."""

    def of(self, owner: str | None) -> Limits | None:
        """Return the limits of ``owner``; None without any, as for images without owner.

        Raises Unavailable when the source of the limits does not answer.
        """


@dataclass(frozen=True, slots=True)
class SameForAll:
    """``user_storage_quota``: so many bytes for every owner; 0 = no limit."""

    storage: int

    def of(self, owner: str | None) -> Limits | None:
        """Return the limits of ``owner``."""
        return Limits(owner, {"user_storage_quota": self.storage}) if self.storage and owner else None


class ByteCount(types.ConfigType):
    """A number of bytes, as ``user_storage_quota`` is written; its value is the number."""

    def __init__(self) -> None:
        super().__init__(type_name="number of bytes with unit")

    def __call__(self, value: object) -> int:
        """Return the bytes that the text stands for; raise ValueError for any other text."""
        match = _QUOTA.fullmatch(str(value))
        # Longer texts of digits are beyond every bound, and Python refuses to read some of them.
        number = int(match[1]) * _UNITS[match[2]] if match and len(match[1]) < 30 else -1
        if not 0 <= number <= MAX_QUOTA:
            raise ValueError(
                "must be a number, without a space optionally followed by B, KB, MB, GB or TB (powers of 1024), and at "
                "most 2^63 - 1 bytes"
            )
        return number

    def __repr__(self) -> str:
        return "ByteCount"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ByteCount)

    __hash__ = None  # type: ignore[assignment]  # as of every type of oslo.config that compares itself

    def _formatter(self, value: int) -> str:
        return str(value)


def source(conf: cfg.ConfigOpts) -> LimitSource:
    """Return where the options say that limits come from; nothing is asked yet. Raises ConfigError."""
    if not conf.use_keystone_limits:
        return SameForAll(conf.user_storage_quota)
    try:
        from glance_api.clients.keystone_limits import KeystoneLimits
    except ImportError:
        reason = "needs the package keystoneauth1: install glance-services[keystone]"
        raise ConfigError("DEFAULT", "use_keystone_limits", True, reason) from None
    return KeystoneLimits(conf)
