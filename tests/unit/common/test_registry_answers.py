"""What an answer of the registry becomes in the daemon that asked."""

import orjson
import pytest

from glance_common.model.context import ContextSigner, system_context
from glance_common.model.errors import ROW_HELD, Unavailable, is_row_held
from glance_common.registry_client.connections import Answer
from glance_common.registry_client.http import RegistryHttp, Timeouts


class Refusing:
    """A registry that answers every request with one error."""

    def __init__(self, error: Unavailable) -> None:
        self._answer = Answer(503, orjson.dumps(error.document()))

    def exchange(self, method: str, target: str, headers: object, body: bytes | None = None) -> Answer:
        return self._answer

    def close(self) -> None:
        pass


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("details", [{"reason": ROW_HELD}, {}])
def test_a_registry_that_is_away_is_told_from_rows_that_are_held(method: str, details: dict[str, str]):
    transport = Refusing(Unavailable("not now", **details))
    client = RegistryHttp(
        transport, ContextSigner([b"x" * 32]), timeouts=Timeouts(read_deadline=0, write_deadline=0)
    )
    with pytest.raises(Unavailable) as raised:
        client.call(system_context("req-1"), method, "/v1/deletions")
    assert type(raised.value) is Unavailable
    assert is_row_held(raised.value) is bool(details)
