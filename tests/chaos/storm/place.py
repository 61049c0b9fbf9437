"""Where a storm takes place: two nodes, two file stores and one of web servers, a quota, the API of another region."""

from __future__ import annotations

import random
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deploy.local.configuration import Options, merged
from tests.chaos.storm.tally import Tally
from tests.servers.web import WebServer
from tests.support.daemons import WebDaemon
from tests.support.deployment import Deployment, Layout
from tests.support.ledger import Ledger
from tests.support.raw_data import random_bytes

LIMIT = 12 * 1024 * 1024
"""Bytes that a project may store: some uploads find no room, most do."""
PROJECTS = ("blue", "green", "red")
WEB = "web"
LAYOUT = Layout(stores=("fast", "slow"), nodes=2, scrubbers=2, web=WEB)
REGION = "Elsewhere"
_VERIFY = {"verify_downloads": "always"}
"""Storms damage files, and no download of one may end as complete."""


def api_options(web: WebServer) -> Options:
    """Return the options of the nodes: images come from ``web`` too, and a proxy in front says who is calling."""
    return {
        "DEFAULT": {
            **_VERIFY,
            "user_storage_quota": LIMIT,
            "enabled_import_methods": "[glance-direct,web-download,copy-image,glance-download]",
            "show_multiple_locations": True,
        },
        "image_import_opts": {"image_import_plugins": "[image_decompression]"},
        "import_filtering_opts": {"allowed_hosts": "[127.0.0.1]", "allowed_ports": f"[{web.port}]"},
        "paste_deploy": {"flavor": "trusted-auth"},
    }


def add_cache(deployment: Deployment) -> None:
    """Give the first node an image cache; before the start."""
    api = deployment.apis[0]
    own = {"image_cache_dir": deployment.services.folder / "cache", "image_cache_patience": 10}
    api.configure(merged(api.options, {"DEFAULT": own}))


def cache_of(deployment: Deployment) -> Path:
    """Return the directory of the cache."""
    return Path(str(deployment.apis[0].options["DEFAULT"]["image_cache_dir"]))


def add_region(deployment: Deployment) -> WebDaemon:
    """Start the API of another region: it sees the same images, and takes every token for an administrator's."""
    return deployment.add_api({"DEFAULT": {**_VERIFY, "workers": 1}, "paste_deploy": {"flavor": "noauth"}})


@dataclass(frozen=True)
class Place:
    """What all visitors of a deployment share: where images come from, and who else is there.

    ``other_region`` is an API that another region's endpoint names. ``limit`` is what a project may store, in bytes.
    """

    deployment: Deployment
    ledger: Ledger
    web: WebServer
    other_region: WebDaemon
    tally: Tally
    projects: Sequence[str] = PROJECTS
    limit: int = LIMIT
    over: threading.Event = field(default_factory=threading.Event)
    """Set at the end of the storm."""
    _verifying: threading.Lock = field(default_factory=threading.Lock)

    def verify(self, image: str | None = None) -> subprocess.CompletedProcess[str] | None:
        """Verify one image, or all, as an operator does; None when another visitor is about it."""
        if not self._verifying.acquire(blocking=False):
            return None
        try:
            wanted = [] if image is None else ["--image", image]
            done = self.deployment.services.scrub_once("--verify", *wanted, seconds=300)
        finally:
            self._verifying.release()
        if "Traceback" in done.stderr and "FailpointError" not in done.stderr:
            self.ledger.defects.append(f"glance-scrubber --verify: {done.stderr}")
        return done


def sample(seed: int, size: int) -> bytes:
    """Return data that the seed makes again."""
    return random_bytes(size, random.Random(seed))
