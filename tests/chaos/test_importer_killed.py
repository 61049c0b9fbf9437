"""The API process that works on an import dies at every step; another one ends the import."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import requests
from deploy.local.processes import wait_until
from tests.e2e.calls import Caller
from tests.support.deployment import Deployment
from tests.support.ledger import Content, Ledger, Outcome
from tests.support.promises import check_promises
from tests.support.web import Page, WebServer, web_server

DATA = b"the data of an import" * 100_000

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


class Importer:
    """A client that imports, and notes in the ledger what it was told."""

    def __init__(self, deployment: Deployment, ledger: Ledger) -> None:
        self._url = deployment.api.url
        self._ledger = ledger

    @property
    def calls(self) -> Caller:
        """The client; each time with a connection of its own, as the process behind the last one may be dead."""
        return Caller(self._url)

    def created(self) -> str:
        """Return a new image."""
        image = str(self.calls.create()["id"])
        self._ledger.created(image, Outcome.DONE, None)
        return image

    def stage(self, image: str, *expected: int) -> None:
        """Stage the data of an image."""
        octets = {"Content-Type": "application/octet-stream"}
        self.calls.call("PUT", f"/v2/images/{image}/stage", *expected, data=DATA, headers=octets)

    def staged(self) -> str:
        """Return a new image with staged data."""
        image = self.created()
        self.stage(image, 204)
        return image

    def begin(self, image: str, **method: str) -> None:
        """Ask for an import: whatever dies now, it has to be done or to fail with a reason."""
        self.calls.call("POST", f"/v2/images/{image}/import", 202, json={"method": method})

    def expect_imported(self, deployment: Deployment, image: str) -> None:
        """Check that the import was done, once the deployment is at rest."""
        self._ledger.sending(image, Content.of(DATA))
        self._ledger.uploaded(image, Outcome.DONE, Content.of(DATA))
        deployment.settle()
        assert self.calls.download(image) == DATA
        (task,) = self.calls.call("GET", f"/v2/images/{image}/tasks", 200).json()["tasks"]
        assert task["status"] == "success"
        wait_until(lambda: not files_in_staging(deployment), what="an empty staging directory")
        check_promises(deployment, self._ledger)

    def delete(self, image: str) -> None:
        """Delete an image."""
        self.calls.delete(image)
        self._ledger.deleted(image, Outcome.DONE)


@pytest.fixture
def importer(deployment: Deployment, ledger: Ledger) -> Importer:
    return Importer(deployment, ledger)


def files_in_staging(deployment: Deployment) -> list[str]:
    """Return what is in the staging directory, but what belongs to the store itself."""
    staging = deployment.services.staging
    return [path.name for path in staging.iterdir() if path.is_file() and not path.name.startswith(".")]


@pytest.mark.parametrize("step", STEPS)
def test_staged_data_are_imported_by_another_process(deployment: Deployment, importer: Importer, step: str):
    image = importer.staged()
    deployment.api.arm(step, "kill")
    importer.begin(image, name="glance-direct")
    deployment.api.wait_fired(step)
    importer.expect_imported(deployment, image)


@pytest.mark.parametrize("step", ["file.add.after-sync", "api.import.staged"])
def test_a_download_is_done_by_another_process(
    deployment: Deployment, importer: Importer, web: WebServer, step: str
):
    image = importer.created()
    deployment.api.arm(step, "kill")
    importer.begin(image, name="web-download", uri=web.url("/image"))
    deployment.api.wait_fired(step)
    importer.expect_imported(deployment, image)


def test_all_processes_die_in_the_middle_of_an_import(deployment: Deployment, importer: Importer):
    image = importer.staged()
    deployment.api.arm("api.import.store-started", "killall")
    importer.begin(image, name="glance-direct")
    deployment.api.wait_fired("api.import.store-started")
    deployment.revive()
    importer.expect_imported(deployment, image)


def test_s12_s13_the_image_is_deleted_while_its_importer_is_dead(
    deployment: Deployment, importer: Importer, ledger: Ledger
):
    image = importer.staged()
    deployment.api.arm("api.upload.before-commit", "kill")
    importer.begin(image, name="glance-direct")
    deployment.api.wait_fired("api.upload.before-commit")
    importer.delete(image)
    deployment.settle()
    assert deployment.status(image) == "deleted"
    assert deployment.services.files() == []
    wait_until(lambda: not files_in_staging(deployment), what="an empty staging directory")
    check_promises(deployment, ledger)


def test_a_stager_that_dies_leaves_nothing(deployment: Deployment, importer: Importer, ledger: Ledger):
    image = importer.created()
    deployment.api.arm("api.upload.before-commit", "kill")
    with pytest.raises(requests.ConnectionError):
        importer.stage(image)
    deployment.settle()
    assert deployment.status(image) == "queued"
    wait_until(lambda: not files_in_staging(deployment), what="an empty staging directory")
    check_promises(deployment, ledger)
    importer.stage(image, 204)
