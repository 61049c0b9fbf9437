"""The registry as the API, the scrubber and the tools see it.

One ``RegistryClient`` a process; its parts speak about one kind of thing each and share the kept connections.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from oslo_config import cfg

from glance_common.model.context import ContextSigner
from glance_common.observability.profiling import trace_headers
from glance_common.registry_client.cached_copies import CachedCopiesClient
from glance_common.registry_client.deletions import DeletionsClient
from glance_common.registry_client.http import RegistryHttp, Timeouts, connect_to
from glance_common.registry_client.images import ImagesClient
from glance_common.registry_client.locations import LocationsClient
from glance_common.registry_client.members import MembersClient
from glance_common.registry_client.metadefs import MetadefsClient
from glance_common.registry_client.operations import OperationsClient
from glance_common.registry_client.quarantine import QuarantineClient
from glance_common.registry_client.store_runs import StoreRunsClient
from glance_common.registry_client.stores import StoresClient
from glance_common.registry_client.tls import client_tls
from glance_common.registry_client.uploads import UploadsClient
from glance_common.registry_client.usage import UsageClient


@dataclass(frozen=True, slots=True)
class RegistryClient:
    """The calls of the registry protocol, by what they are about."""

    http: RegistryHttp
    images: ImagesClient
    members: MembersClient
    uploads: UploadsClient
    locations: LocationsClient
    deletions: DeletionsClient
    operations: OperationsClient
    stores: StoresClient
    usage: UsageClient
    metadefs: MetadefsClient
    cached_copies: CachedCopiesClient
    quarantine: QuarantineClient
    store_runs: StoreRunsClient

    def close(self) -> None:
        """Close the kept connections."""
        self.http.close()


def over(http: RegistryHttp) -> RegistryClient:
    """Return the client whose calls go through ``http``."""
    return RegistryClient(
        http=http,
        images=ImagesClient(http),
        members=MembersClient(http),
        uploads=UploadsClient(http),
        locations=LocationsClient(http),
        deletions=DeletionsClient(http),
        operations=OperationsClient(http),
        stores=StoresClient(http),
        usage=UsageClient(http),
        metadefs=MetadefsClient(http),
        cached_copies=CachedCopiesClient(http),
        quarantine=QuarantineClient(http),
        store_runs=StoreRunsClient(http),
    )


def connect(conf: cfg.ConfigOpts, secrets: Sequence[bytes], *, pool_size: int = 32) -> RegistryClient:
    """Return the client of the registry that the options ``registry_*`` name; nothing is connected yet.

    Raises ConfigError for certificates that cannot be used.
    """
    host = f"[{conf.registry_host}]" if ":" in conf.registry_host else conf.registry_host
    timeout = conf.registry_client_timeout or None
    http = connect_to(
        f"{conf.registry_client_protocol}://{host}:{conf.registry_port}",
        ContextSigner(secrets),
        timeouts=Timeouts(read=timeout),
        tls=client_tls(conf),
        pool_size=pool_size,
        extra_headers=trace_headers(conf) if "profiler" in conf else None,
    )
    return over(http)
