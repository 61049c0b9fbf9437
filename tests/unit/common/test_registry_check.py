"""What counts as a registry that works."""

import pytest

from glance_common.model.context import ContextSigner
from glance_common.model.errors import Unavailable
from glance_common.model.health import STOPPING
from glance_common.registry_client.connections import Answer
from glance_common.registry_client.http import RegistryHttp


class Saying:
    """A registry whose health check says one thing."""

    def __init__(self, status: int, body: bytes) -> None:
        self._answer = Answer(status, body)

    def exchange(self, method: str, target: str, headers: object, body: bytes | None = None) -> Answer:
        assert (method, target, body) == ("GET", "/healthcheck", None)
        return self._answer

    def close(self) -> None:
        pass


def check(status: int, body: bytes) -> None:
    RegistryHttp(Saying(status, body), ContextSigner([b"x" * 32])).check()


def test_one_that_stops_after_its_drain_works_until_then():
    check(200, b"OK")
    check(503, STOPPING)


@pytest.mark.parametrize(("status", "body"), [(503, b"the database does not answer"), (502, b""), (503, b"")])
def test_one_that_cannot_work_is_down(status: int, body: bytes):
    with pytest.raises(Unavailable, match=str(status)):
        check(status, body)
