"""The API process dies while it unpacks an image: neither bytes nor room are lost for ever (S-40, I5, I7)."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from uuid import uuid4

import pytest
from deploy.local.processes import wait_until
from tests.e2e.calls import Caller
from tests.support.deployment import Deployment
from tests.support.files import files_below
from tests.support.ledger import DIRECT, Content, Ledger, Outcome
from tests.support.promises import check_promises

QUOTA = 32 * 1024 * 1024
DATA = b"the data of an image" * 1_000_000
OCTETS = {"Content-Type": "application/octet-stream"}


@pytest.fixture(scope="module")
def running(make_deployment: Callable[..., Deployment]) -> Deployment:
    deployment: Deployment = make_deployment(api={
        "DEFAULT": {"user_storage_quota": f"{QUOTA}B"},
        "image_import_opts": {"image_import_plugins": "[image_decompression]"},
    })
    return deployment


def left_in_staging(deployment: Deployment) -> list[str]:
    """Return what lies in the staging directory, work folders included."""
    found = files_below(deployment.services.staging)
    return [path.name for path in found if path.name not in (".glance-store", ".guard")]


def test_s18_the_log_of_the_start_says_what_confines_the_tools(deployment: Deployment):
    lines = [line for line in deployment.api.said().splitlines() if "image tools " in line]
    # One for each start, not one for each process.
    assert lines
    assert all("image tools run under " in line or "image tools are not confined: " in line for line in lines)


@pytest.mark.parametrize("death", ["kill", "killall"])
def test_s40_the_image_is_unpacked_by_another_process(deployment: Deployment, ledger: Ledger, death: str):
    calls = Caller(deployment.api.url)
    image = str(calls.create(container_format="compressed")["id"])
    ledger.created(image, Outcome.DONE, None)
    # What becomes of the staged data is known: that is what the image has to hold.
    ledger.sending(image, Content.of(DATA))
    calls.call("PUT", f"/v2/images/{image}/stage", 204, data=gzip.compress(DATA), headers=OCTETS)
    ledger.staged(image, Outcome.DONE, Content.of(DATA))
    deployment.api.arm("api.import.piece-unpacked", death)
    headers = {"X-Openstack-Request-Id": f"req-{uuid4()}"}
    calls.call("POST", f"/v2/images/{image}/import", 202, json={"method": {"name": DIRECT}}, headers=headers)
    ledger.imported(image, Outcome.DONE, headers["X-Openstack-Request-Id"], DIRECT, None)
    deployment.api.wait_fired("api.import.piece-unpacked")
    if death == "killall":
        deployment.revive()

    deployment.settle()
    calls = Caller(deployment.api.url)
    (task,) = calls.call("GET", f"/v2/images/{image}/tasks", 200).json()["tasks"]
    assert task["status"] == "success"
    assert calls.download(image) == DATA
    wait_until(lambda: not left_in_staging(deployment), what="an empty staging directory")
    check_promises(deployment, ledger)
    # What the dead process had reserved is free again: the rest of the quota can be used to the last byte.
    rest = bytes([1]) * (QUOTA - len(DATA))
    second = str(calls.create()["id"])
    ledger.created(second, Outcome.DONE, None)
    ledger.sending(second, Content.of(rest))
    calls.upload(second, rest)
    ledger.uploaded(second, Outcome.DONE, Content.of(rest))
    check_promises(deployment, ledger)
