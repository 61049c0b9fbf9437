"""Nova's own image code (nova.image.glance, release 34) as client: create, snapshot, list, download, copy, verify."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from deploy.local import configuration
from tests.e2e.calls import MIB
from tests.e2e.people import People, keystone_options
from tests.servers.barbican_service import BarbicanService
from tests.servers.keystone import ADMIN, ALT_DEMO, DEMO, REGION, Keystone, User
from tests.support.clients import Clients
from tests.support.daemons import Services
from tests.support.raw_data import random_bytes
from tests.support.signing import Signer

pytestmark = pytest.mark.timeout(900)

PROGRAM = Path(__file__).parent / "programs" / "nova_images.py"
DATA = random_bytes(2 * MIB)


@pytest.fixture(scope="module")
def services(
    deploy: Callable[..., Services], keystone: Keystone, two_stores: dict[str, Any], barbican_service: BarbicanService
) -> Services:
    """A deployment with two stores, as one that Nova copies between."""
    return deploy(shared=two_stores, api=keystone_options(keystone))


@pytest.fixture(scope="module")
def found(
    services: Services, people: Callable[[Services], People], keystone: Keystone, barbican_service: BarbicanService,
    nova: Clients, tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Any]:
    """What the program found; it runs once, as it takes seconds to begin."""
    users, folder, signer = people(services), tmp_path_factory.mktemp("nova"), Signer()
    (folder / "data").write_bytes(DATA)
    configuration.write(folder, "nova", {
        "DEFAULT": {"state_path": folder},
        "glance": {"api_servers": services.api.url, "num_retries": 0},
        "key_manager": {"backend": "barbican"},
        "barbican": {"auth_endpoint": keystone.url, "barbican_endpoint": barbican_service.url},
        "oslo_concurrency": {"lock_path": folder},
    })  # fmt: skip
    certificate = barbican_service.add(signer.certificate(Encoding.PEM), users.demo.headers["X-Auth-Token"])
    endpoint = {"region": REGION, "publicURL": services.api.url, "internalURL": services.api.url}
    given = {
        "url": services.api.url, "configuration": str(folder / "nova.conf"),
        "data": str(folder / "data"), "target": str(folder / "target"),
        **{user.name: identity(keystone, user) for user in (ADMIN, DEMO, ALT_DEMO)},
        "catalog": [{"type": "image", "name": "glance", "endpoints": [endpoint]}],
        "signature": signer.properties(DATA, certificate),
    }
    done = nova.run("python", "-W", "ignore", PROGRAM, json.dumps(given))
    return dict(json.loads(done.check().output))


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def identity(keystone: Keystone, user: User) -> dict[str, Any]:
    return {
        "user": keystone.user_ids[user.name], "project": keystone.project_ids[user.project],
        "token": keystone.token(user), "roles": list(user.roles),
    }


def test_images_of_servers(found: dict[str, Any], keystone: Keystone):
    step = found["spawn"]
    created = step["created"]
    assert (created["status"], created["size"], created["checksum"]) == ("active", len(DATA), md5(DATA))
    assert (created["min_disk"], created["min_ram"], created["disk_format"]) == (2, 64, "raw")
    assert created["properties"] == {
        "os_distro": "debian", "hw_disk_bus": "scsi", "mappings": [{"device": "vda", "virtual": "root"}],
    }
    assert created["owner"] == keystone.project_ids[DEMO.project]
    assert step["by_url"] == created
    assert step["downloaded"]
    assert step["streamed"]
    assert (step["default_format"], step["locations"]) == ("qcow2", [])


def test_snapshots(found: dict[str, Any]):
    step = found["snapshot"]
    filled, empty, shared = step["filled"], step["empty"], step["shared"]
    assert (filled["name"], filled["status"], filled["size"]) == ("snapshot 2", "active", len(DATA))
    assert filled["properties"] == {"image_type": "snapshot"}
    assert (empty["status"], empty["size"], empty["disk_format"]) == ("active", 0, "raw")
    assert empty["properties"]["block_device_mapping"] == [{"source_type": "snapshot", "snapshot_id": "1"}]
    assert shared["name"] == "shared"


def test_lists(found: dict[str, Any]):
    every = [f"list {number}" for number in range(5)]
    assert found["listing"] == {
        "paged": every, "limited": every[:2:-1], "after": every[1:], "by_status": ["list 3"], "since": every,
        "future": [],
    }


def test_copies_to_another_store(found: dict[str, Any]):
    assert found["copies"] == {
        "owner": "ImageNotAuthorized", "stores": "fast,slow", "again": "ImageBadRequest",
        "nowhere": "ImageImportImpossible", "queued": "ImageImportImpossible",
    }


def test_refusals_become_novas_errors(found: dict[str, Any]):
    assert found["errors"] == {
        "absent": "ImageNotFound", "foreign": "ImageNotFound", "foreign_data": "ImageNotFound",
        "protected": "ImageNotAuthorized", "no_data": "ImageUnacceptable", "public": "Forbidden",
        "other_format": "HTTPException", "again": "HTTPConflict", "bad_token": "ImageNotAuthorized",
        "deleted": "ImageNotFound",
    }


def test_s29_nova_verifies_what_the_service_has_verified(found: dict[str, Any]):
    assert found["signatures"] == {"status": "active", "data": True, "unsigned": "SignatureVerificationError"}
