"""An installation of the original that ours takes over: what was put into it, and the commands that take it over."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.e2e.calls import MIB, Caller
from tests.servers.keystone import Keystone
from tests.servers.original import Original
from tests.support.daemons import PROGRAMS, Services
from tests.support.raw_data import random_bytes

ROOT = Path(__file__).resolve().parents[2]
_URLS = {"file", "schema", "self", "locations", "direct_url"}


@dataclass
class Old:
    """The other installation: its service, its database, and what was put into it."""

    service: Original
    database: str
    keystone: Keystone
    stores: dict[str, dict[str, object]]
    data: dict[str, bytes] = field(default_factory=dict)
    """Image → bytes, of those that can be downloaded."""
    images: dict[str, str] = field(default_factory=dict)
    """Name → image."""
    shown: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Image → document, as the original showed it last."""

    def caller(self, user: Any) -> Caller:
        """Return a user of it."""
        return Caller(self.service.url, {"X-Auth-Token": self.keystone.token(user)})

    def configured(self) -> Path:
        """Return its configuration file."""
        return self.service.folder / "glance-api.conf"

    def keep(self, name: str, image: str, data: bytes | None) -> str:
        """Remember an image, with its bytes unless it has none; return it."""
        self.images[name] = image
        if data is not None:
            self.data[image] = data
        return image

    def uploaded(self, name: str, who: Caller, store: str = "fast", size: int = 0, **fields: Any) -> str:
        """Upload an image of so many bytes into a store, of about a MiB by default; return it."""
        data = random_bytes(size or MIB + len(name))
        image = str(who.create(name=name, **fields)["id"])
        who.upload(image, data, headers={"X-Image-Meta-Store": store})
        return self.keep(name, image, data)


def documents(caller: Caller) -> dict[str, dict[str, Any]]:
    """Return id → document of all images that lists have, as each one shows it; the original has tags in any order."""
    found: dict[str, Any] = {}
    for query in ({}, {"visibility": "community"}, {"os_hidden": "true"}):
        listed = caller.call("GET", "/v2/images", 200, params={"limit": "100", **query}).json()["images"]
        found |= {image["id"]: image for image in listed}
    shown = {image: caller.show(image) for image in found}
    return {image: {**document, "tags": sorted(document["tags"])} for image, document in shown.items()}


def comparable(document: dict[str, Any]) -> dict[str, Any]:
    """Return what both services must show alike: fields with a value and properties, but no URLs."""
    return {
        name: value for name, value in document.items()
        if value is not None and name not in _URLS and not name.startswith("os_glance_")
    }


def rehearse(old: Old) -> subprocess.CompletedProcess[str]:
    """Run the rehearsal with the configuration file of the other installation."""
    return subprocess.run(
        [sys.executable, "-m", "deploy.migrate.main", "--config", old.configured()], cwd=ROOT, check=False,
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=700,
        env={**os.environ, "GLANCE_ADOPT_FROM": old.database},
    )


def adopt(services: Services, old: Old, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run glance-manage adopt on the database of our services."""
    configured = [services.registry.folder / "etc/glance-registry.conf", services.api.folder / "etc/glance-api.conf"]
    files = [word for file in configured for word in ("--config-file", str(file))]
    return subprocess.run(
        [PROGRAMS / "glance-manage", *files, "adopt", "--from", old.database, *arguments], check=False,
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=400,
    )
