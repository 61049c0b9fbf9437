"""The options of the daemons of a cluster."""

from __future__ import annotations

from typing import Any

from deploy.local import configuration, processes
from deploy.local.configuration import Options

from tests.servers.ceph import Ceph
from tests.servers.haproxy import Haproxy
from tests.servers.seaweedfs import SeaweedFS
from tests.support.daemons import Daemon

STORE, BUCKET = "shared", "images"
DRAIN = 5
"""Seconds: longer than HAProxy needs to see that a server stops."""
LEASE = 10
"""Seconds after which the work of a dead process is done again; an hour's transfer needs no longer one."""

_BALANCED: Options = {"DEFAULT": {"drain_time": DRAIN}}
API = configuration.merged(_BALANCED, {
    "DEFAULT": {"workers": 1, "threads": 16}, "oslo_middleware": {"enable_proxy_headers_parsing": True},
    "upload": {"lease": LEASE},
})
def sources(port: int) -> Options:
    """Return the options of an API that imports from a web server on this port."""
    return {"import_filtering_opts": {"allowed_hosts": processes.LOOPBACK, "allowed_ports": port}}


SCRUBBER: Options = {"DEFAULT": {"wakeup_time": 5, "scrub_pool_size": 2}, "scrubber": {"claim_lease": LEASE}}


def store(server: Ceph | SeaweedFS) -> Options:
    """Return the options of the store that all APIs and scrubbers share."""
    return {
        "DEFAULT": {"enabled_backends": f"{STORE}:s3"},
        "glance_store": {"default_backend": STORE},
        STORE: {
            "s3_store_host": f"http://{processes.LOOPBACK}:{server.port}", "s3_store_bucket": BUCKET,
            "s3_store_access_key": server.keys.access, "s3_store_secret_key": server.keys.secret,
            "s3_store_bucket_url_format": "path", "s3_store_large_object_size": 10,
            "s3_store_large_object_chunk_size": 5, "s3_store_connect_timeout": 5, "s3_store_read_timeout": 20,
        },
    }


def registry(replica_url: str) -> Options:
    """Return the options of a registry; it reads from the replica where it can."""
    options: dict[str, Any] = {"workers": 2, "threads": 8}
    return configuration.merged(_BALANCED, {"DEFAULT": options, "database": {"slave_connection": replica_url}})


def find_registries(daemon: Daemon, haproxy: Haproxy) -> None:
    """Have a daemon ask the registries through HAProxy."""
    own = {"DEFAULT": {"registry_port": haproxy.registry_port}}
    daemon.configure(configuration.merged(daemon.options, own))
