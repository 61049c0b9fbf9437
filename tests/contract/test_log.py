"""The log of the registry: each line names its request once, and idle workers do not fill it."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from uuid import uuid4

import pytest
import sqlalchemy as sa
from tests.contract.conftest import SIGNER
from tests.support.registry_rows import ADMIN, OWNER, insert_image
from tests.support.wsgi_adapter import WsgiAdapter

from glance_common.model import errors
from glance_common.model.context import HEADER
from glance_common.model.operation import OnFail, OperationKind
from glance_common.model.status import ImageStatus
from glance_common.observability.log_formats import TextFormatter
from glance_common.registry_client import RegistryClient
from glance_common.registry_client.operations import NewOperation
from glance_common.registry_client.uploads import UploadResult, UploadStart


class Log:
    """The lines that the registry writes at level DEBUG, as they stand in its file."""

    def __init__(self) -> None:
        self._text = io.StringIO()
        self.handler = logging.StreamHandler(self._text)
        self.handler.setFormatter(TextFormatter())

    def take(self) -> list[str]:
        """Return the new lines."""
        lines = self._text.getvalue().splitlines()
        self._text.seek(0)
        self._text.truncate()
        return lines

    def levels(self) -> list[str]:
        """Return the levels of the new lines."""
        return [line.split()[1] for line in self.take()]


@pytest.fixture
def log() -> Iterator[Log]:
    made = Log()
    logger = logging.getLogger("glance_registry")
    level = logger.level
    logger.addHandler(made.handler)
    logger.setLevel(logging.DEBUG)
    yield made
    logger.removeHandler(made.handler)
    logger.setLevel(level)


def test_a_request_line_names_the_request_once(client: RegistryClient, engine: sa.Engine, log: Log) -> None:
    image_id = insert_image(engine)
    client.images.get(OWNER, image_id)
    (line,) = log.take()
    assert line.count(OWNER.request_id) == 1
    assert f" glance_registry.request [{OWNER.request_id}] GET /v1/images/{image_id} 200 " in line


@pytest.mark.parametrize("error", [
    errors.Unavailable("the database is away"), errors.InternalError("broken"), RuntimeError("a defect"),
])
def test_an_error_line_names_the_request_once(
    adapter: WsgiAdapter, log: Log, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_args: object, **_kwargs: object) -> str:
        raise error

    monkeypatch.setattr("glance_registry.images.crud.get", fail)
    path = f"/v1/images/{uuid4()}"
    answer = adapter.app.test_client().get(path, headers={HEADER: SIGNER.sign(OWNER, "GET", path)})
    assert answer.status_code >= 500
    told = [line for line in log.take() if " glance_registry." in line]
    assert [line.split()[1] for line in told] == ["ERROR", "INFO"]
    assert [line.count(OWNER.request_id) for line in told] == [1, 1]


def test_a_look_for_operations_that_finds_none_is_for_debugging(
    client: RegistryClient, engine: sa.Engine, log: Log
) -> None:
    assert client.operations.claim(ADMIN, str(uuid4()), host="a", lease=60) is None
    assert client.operations.alive(ADMIN, "a") == frozenset()
    assert log.levels() == ["DEBUG", "DEBUG"]
    image_id = insert_image(engine, status="queued", disk_format="raw", container_format="bare")
    client.operations.create(
        OWNER, str(uuid4()), NewOperation(
            image_id=image_id, kind=OperationKind.API_IMAGE_IMPORT, input={}, ttl=48, host="a", on_fail=OnFail.QUEUED,
            allowed=[ImageStatus.QUEUED], image_status=ImageStatus.IMPORTING,
        ),
    )
    log.take()
    assert client.operations.alive(ADMIN, "a") != frozenset()
    assert client.operations.claim(ADMIN, str(uuid4()), host="a", lease=60) is not None
    assert log.levels() == ["INFO", "INFO"]


def test_a_sweep_that_finds_nothing_due_is_for_debugging(client: RegistryClient, engine: sa.Engine, log: Log) -> None:
    assert client.deletions.due(ADMIN, limit=10).locations == ()
    assert log.levels() == ["DEBUG"]
    image_id = insert_image(engine, status="queued", disk_format="raw", container_format="bare")
    upload = client.uploads.start(OWNER, image_id, str(uuid4()), UploadStart("fast", None, 60))
    client.uploads.commit(
        OWNER, upload.attempt,
        UploadResult(1, {}, checksum="c" * 32, os_hash_algo="sha512", os_hash_value="h" * 128), activate=True,
    )
    client.images.delete(OWNER, image_id, str(uuid4()), delayed=False, scrub_time=0)
    log.take()
    assert client.deletions.due(ADMIN, limit=10).locations != ()
    assert log.levels() == ["INFO"]


def test_a_poll_that_is_refused_is_not_hidden(client: RegistryClient, log: Log) -> None:
    with pytest.raises(errors.BadRequest):
        client.operations.claim(ADMIN, str(uuid4()), host="", lease=0)
    assert log.levels() == ["INFO"]
