"""What the loader hands to a driver: the options of one store, and how a driver complains about them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from oslo_config import cfg

from glance_common.config.loading import ConfigError
from glance_common.model.errors import Conflict
from glance_common.stores.contract import Store, StoreUnavailable

_DEFAULTS = (cfg.Locations.opt_default, cfg.Locations.set_default)


class StoreConfigError(ConfigError):
    """A store option that stops the start; the text names group, option, value and what is allowed."""


class Identities(Protocol):
    """What the registry knows about the places of stores: the uuid of each directory that was ever used.

    When the registry cannot be asked, the error of its client passes through the store unchanged.
    """

    def known(self, store: str, place: str) -> str | None:
        """Return the uuid registered for the place, or None when the place was never used."""

    def register(self, store: str, place: str, identity: str) -> str:
        """Register the uuid unless one is registered; return the one that is registered now (the first one wins).

        Raises Conflict when the uuid belongs to another store, which has the same place by another name.
        """


def register(identities: Identities, store: str, place: str, identity: str) -> str:
    """Return what ``Identities.register`` does. Raises StoreUnavailable for the place of another store."""
    try:
        return identities.register(store, place, identity)
    except Conflict as error:
        raise StoreUnavailable(str(error)) from None


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """One store as configured: its id, the group its options are in, and what every kind has."""

    id: str
    conf: cfg.ConfigOpts
    group: str
    description: str | None
    weight: int

    def value(self, option: str) -> Any:
        """Return the value of an option of this store."""
        return self.conf[self.group][option]

    def is_set(self, option: str) -> bool:
        """Say whether the operator wrote the option into this store's own group, even with an empty value."""
        found = self.conf.get_location(option, self.group)
        return found is not None and found.location not in _DEFAULTS

    def refuse(self, option: str, allowed: str) -> StoreConfigError:
        """Return the error to raise for the value of ``option``, which must not be a secret."""
        return StoreConfigError(self.group, option, self.value(option), allowed)

    def refuse_secret(self, option: str, allowed: str) -> StoreConfigError:
        """Return the error to raise for the value of ``option``, which is a secret or may hold one."""
        return StoreConfigError(self.group, option, "***", allowed)


@dataclass(frozen=True, slots=True)
class Traits:
    """What callers do about every store of a kind.

    ``remote``: a network is between us and the store, so that asking again at once can help. ``one_peer``: one service
    has all of its objects, so that one call without an answer says something about the next one. ``keys_are_urls``: the
    keys tell where others keep data, maybe with a password, and may be encrypted in rows. ``place_option``: the option
    that names what ``Driver.places`` returns.
    """

    remote: bool = False
    one_peer: bool = False
    keys_are_urls: bool = False
    place_option: str = ""


class Driver(Protocol):
    """What the loader needs from the class of a driver, which the entry point of its kind names.

    It may also have the class method ``host_options``: it returns group → options of what its stores share on a host.
    """

    traits: ClassVar[Traits]

    @classmethod
    def options(cls) -> Sequence[cfg.Opt]:
        """Return the options of one store of this kind; needs no client library of the kind."""

    @classmethod
    def build(cls, settings: StoreSettings, identities: Identities) -> Store:
        """Return the store without looking at its data, so that a store that is down can be built.

        Raises StoreConfigError for bad options.
        """

    @classmethod
    def places(cls, settings: StoreSettings) -> Sequence[str]:
        """Return what the store alone must own, for example its directories. Raises StoreConfigError."""

    @classmethod
    def create_places(cls, settings: StoreSettings) -> Sequence[str]:
        """Create what is missing of it and return what was created. Raises StoreConfigError, OSError."""
