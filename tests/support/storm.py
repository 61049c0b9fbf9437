"""The deployment in which a storm takes place: two nodes, two stores, a quota, and the API of another region."""

from __future__ import annotations

from deploy.local.configuration import Options

from tests.servers.web import WebServer
from tests.support.daemons import WebDaemon
from tests.support.deployment import Deployment, Layout

LIMIT = 12 * 1024 * 1024
"""Bytes that a project may store: some uploads find no room, most do."""
PROJECTS = ("blue", "green", "red")
LAYOUT = Layout(stores=("fast", "slow"), nodes=2)


def api_options(web: WebServer) -> Options:
    """Return the options of the nodes: images come from ``web`` too, and a proxy in front says who is calling."""
    return {
        "DEFAULT": {
            "user_storage_quota": LIMIT,
            "enabled_import_methods": "[glance-direct,web-download,copy-image,glance-download]",
        },
        "import_filtering_opts": {"allowed_hosts": "[127.0.0.1]", "allowed_ports": f"[{web.port}]"},
        "paste_deploy": {"flavor": "trusted-auth"},
    }


def add_region(deployment: Deployment) -> WebDaemon:
    """Start the API of another region: it sees the same images, and takes every token for an administrator's."""
    return deployment.add_api({"DEFAULT": {"workers": 1}, "paste_deploy": {"flavor": "noauth"}})
