"""The swift driver: from options to a store of one account, or of the accounts of projects."""

from collections.abc import Sequence

from oslo_config import cfg

from glance_common.stores.drivers.swift import options as swift_options
from glance_common.stores.drivers.swift.store import SwiftStore, place_of
from glance_common.stores.settings import Identities, StoreConfigError, StoreSettings, Traits


class SwiftDriver:
    """Makes swift stores; fulfils ``settings.Driver``."""

    traits = Traits(remote=True, one_peer=True, place_option="swift_store_container")

    @classmethod
    def options(cls) -> Sequence[cfg.Opt]:
        """Return the options of one swift store."""
        return swift_options.OPTIONS

    @classmethod
    def build(cls, settings: StoreSettings, identities: Identities) -> SwiftStore:
        """Return the store. Raises StoreConfigError for bad options, and when python-swiftclient is not installed."""
        options = swift_options.parse(settings)
        try:
            from glance_common.stores.drivers.swift.accounts import open_accounts
            from glance_common.stores.drivers.swift.tenants import TenantSwiftStore
        except ImportError:
            raise StoreConfigError(
                settings.group, "swift_store_container", options.container,
                "needs the packages python-swiftclient and keystoneauth1: pip install glance-services[swift]",
            ) from None
        accounts, tenants = open_accounts(options)
        if options.multi_tenant:
            return TenantSwiftStore(settings, options, accounts, identities, tenants)
        return SwiftStore(settings, options, accounts, identities)

    @classmethod
    def places(cls, settings: StoreSettings) -> Sequence[str]:
        """Return server, project and container of each account. Raises StoreConfigError."""
        place = place_of(swift_options.parse(settings))
        return sorted({place.name_of(reference) for reference in place.logins})

    @classmethod
    def create_places(cls, settings: StoreSettings) -> Sequence[str]:  # noqa: ARG003 - part of the protocol
        """Create nothing and return nothing: the first upload does, where that is wanted."""
        return []
