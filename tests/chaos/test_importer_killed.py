"""The API process that works on an import dies at every step; another one ends the import."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from deploy.local.processes import wait_until
from tests.servers.web import Page, WebServer, web_server
from tests.support.deployment import Deployment
from tests.support.image_client import ImageClient
from tests.support.ledger import Content, Ledger
from tests.support.promises import check_promises

DATA = b"the data of an import" * 100_000

ACCEPTED = (202, None)
"""The process that answers may be the one that works on the import, and die before its answer is out."""

STEPS = [
    "api.operation.claimed",
    "api.import.store-started",
    "api.upload.before-commit",
    "api.import.store-committed",
    "api.operation.before-finish",
]


@pytest.fixture(scope="module")
def web() -> Iterator[WebServer]:
    with web_server() as server:
        server.pages["/image"] = Page(DATA)
        yield server


@pytest.fixture(scope="module")
def running(make_deployment: Callable[..., Deployment], web: WebServer) -> Deployment:
    allowed = {"allowed_hosts": "[127.0.0.1]", "allowed_ports": f"[{web.port}]"}
    deployment: Deployment = make_deployment(api={"import_filtering_opts": allowed})
    return deployment


@pytest.fixture
def client(deployment: Deployment, ledger: Ledger) -> ImageClient:
    return deployment.client(ledger)


def staged(client: ImageClient) -> str:
    """Return a new image with staged data."""
    image = client.created()
    assert client.stage(image, DATA).status == 204
    return image


def expect_imported(deployment: Deployment, client: ImageClient, image: str) -> None:
    """Check that an import was done, once the deployment is at rest."""
    deployment.settle()
    assert client.download(image).body == DATA
    assert list((client.tasks(image) or {}).values()) == ["success"]
    expect_rest(deployment, client)


def expect_rest(deployment: Deployment, client: ImageClient) -> None:
    """Check that nothing is staged any more, and that all promises were kept."""
    wait_until(lambda: not files_in_staging(deployment), what="an empty staging directory")
    check_promises(deployment, client.ledger)


def files_in_staging(deployment: Deployment) -> list[str]:
    """Return what is in the staging directory, but what belongs to the store itself."""
    staging = deployment.services.staging
    return [path.name for path in staging.iterdir() if path.is_file() and not path.name.startswith(".")]


@pytest.mark.parametrize("step", STEPS)
def test_staged_data_are_imported_by_another_process(deployment: Deployment, client: ImageClient, step: str):
    image = staged(client)
    deployment.api.arm(step, "kill")
    # Whatever dies now, it has to be done or to fail with a reason.
    assert client.import_staged(image).status in ACCEPTED
    deployment.api.wait_fired(step)
    expect_imported(deployment, client, image)


@pytest.mark.parametrize("step", ["file.add.after-sync", "api.import.staged"])
def test_a_download_is_done_by_another_process(
    deployment: Deployment, client: ImageClient, web: WebServer, step: str
):
    image = client.created()
    deployment.api.arm(step, "kill")
    assert client.import_web(image, web.url("/image"), Content.of(DATA)).status in ACCEPTED
    deployment.api.wait_fired(step)
    expect_imported(deployment, client, image)


def test_all_processes_die_in_the_middle_of_an_import(deployment: Deployment, client: ImageClient):
    image = staged(client)
    deployment.api.arm("api.import.store-started", "killall")
    assert client.import_staged(image).status in ACCEPTED
    deployment.api.wait_fired("api.import.store-started")
    deployment.revive()
    expect_imported(deployment, client, image)


def test_s12_s13_the_image_is_deleted_while_its_importer_is_dead(deployment: Deployment, client: ImageClient):
    image = staged(client)
    deployment.api.arm("api.upload.before-commit", "kill")
    assert client.import_staged(image).status in ACCEPTED
    deployment.api.wait_fired("api.upload.before-commit")
    assert client.delete(image).status == 204
    deployment.settle()
    assert deployment.status(image) == "deleted"
    assert deployment.services.files() == []
    expect_rest(deployment, client)


def test_a_stager_that_dies_leaves_nothing(deployment: Deployment, client: ImageClient):
    image = client.created()
    deployment.api.arm("api.upload.before-commit", "kill")
    assert client.stage(image, DATA).status is None
    deployment.settle()
    assert deployment.status(image) == "queued"
    expect_rest(deployment, client)
    assert client.stage(image, DATA).status == 204
