"""Downloads that clients make at the store itself: which clients, and for how long an address holds."""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from oslo_config import cfg

from glance_common.stores.contract import Store
from glance_common.stores.settings import StoreSettings

OPTIONS: list[cfg.Opt] = [
    cfg.ListOpt(
        "presigned_downloads_for", default=[],
        help="Networks of clients, such as 10.0.0.0/8, that are sent to the store for the data of an image, by an "
        "address that holds for presigned_download_seconds. Empty: all data pass the service. The service does not "
        "verify such data and cannot count them; only stores with signed URLs do it (kinds s3 and swift).",
    ),
    cfg.IntOpt(
        "presigned_download_seconds", default=30, min=1, max=60,
        help="Seconds within which a client has to begin such a download.",
    ),
]


@dataclass(frozen=True, slots=True)
class DirectReads:
    """The clients of one store that read at the store itself; ``seconds`` is how long their addresses hold."""

    networks: Sequence[IPv4Network | IPv6Network]
    seconds: int

    def allows(self, client: str) -> bool:
        """Say whether the client with this address, as the server knows it, reads at the store."""
        try:
            address = ip_address(client)
        except ValueError:
            return False
        address = getattr(address, "ipv4_mapped", None) or address
        return any(address in network for network in self.networks if network.version == address.version)


def direct_reads(settings: StoreSettings, store: Store) -> DirectReads | None:
    """Return what the options say; None when all data pass the service. Raises StoreConfigError."""
    given: Sequence[str] = settings.value("presigned_downloads_for")
    if not given:
        return None
    if not store.capabilities.presign:
        if settings.group != settings.id or not settings.is_set("presigned_downloads_for"):
            # Said for all stores together; it means those that can.
            return None
        allowed = f"must be empty: it needs signed URLs, and stores of kind {store.kind} have none"
        raise settings.refuse("presigned_downloads_for", allowed)
    try:
        networks = [ip_network(entry) for entry in given]
    except ValueError as error:
        raise settings.refuse("presigned_downloads_for", f"must be networks like 10.0.0.0/8: {error}") from None
    return DirectReads(networks, settings.value("presigned_download_seconds"))
