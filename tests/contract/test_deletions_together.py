"""Many purges in one call, from the client through the protocol to the rows; also beside a registry without it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from tests.contract.test_quarantine import RESULT, new_id, stored
from tests.support.registry_rows import ADMIN, OWNER
from tests.support.wsgi_adapter import WsgiAdapter

from glance_common.model import errors
from glance_common.registry_client import RegistryClient
from glance_common.registry_client.connections import Answer

NEW = ("/v1/deletions/claim", "/v1/deletions/renew", "/v1/deletions/release", "/v1/deletions/done")


@pytest.fixture(params=["this registry", "a registry of the release before"])
def either(
    request: pytest.FixtureRequest, client: RegistryClient, adapter: WsgiAdapter, monkeypatch: pytest.MonkeyPatch
) -> RegistryClient:
    """The client, with a registry that has calls for many locations, and with one that answers 404 to them."""
    exchange: Callable[..., Answer] = adapter.exchange

    def older(method: str, target: str, *args: Any) -> Answer:
        return exchange(method, "/v1/nothing" if target in NEW else target, *args)

    if request.param != "this registry":
        monkeypatch.setattr(adapter, "exchange", older)
        # Both sides sign and check the path that was asked for.
        monkeypatch.setattr(client.http, "_signer", _Signer(client.http._signer))
    return client


class _Signer:
    """Signs what the older registry is asked for."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def sign(self, context: Any, method: str, target: str, data: bytes | None) -> str:
        signed: str = self._inner.sign(context, method, "/v1/nothing" if target in NEW else target, data)
        return signed


def deleted(client: RegistryClient, count: int) -> list[str]:
    """Return the locations of so many deleted images."""
    found = [stored(client, RESULT) for _ in range(count)]
    for image, _ in found:
        client.images.delete(OWNER, image, new_id(), delayed=False, scrub_time=0)
    return [location for _, location in found]


def test_a_purge_of_many(either: RegistryClient) -> None:
    ids, token, rows = deleted(either, 4), new_id(), either.deletions
    other = rows.claim(ADMIN, ids[3], new_id(), lease=60)
    assert other is not None
    claims, refused = rows.claim_many(ADMIN, [*ids, new_id()], token, lease=60, stores=["fast"])
    got = {claim.location for claim in claims}
    # Without the call nothing is claimed that would have to be given back.
    assert (got, refused) in ((set(ids[:3]), {ids[3]}), (set(), set()))
    for location in set(ids[:3]) - got:
        assert rows.claim(ADMIN, location, token, lease=60, stores=["fast"]) is not None
    rows.renew_many(ADMIN, ids, token, lease=60)
    recorded = rows.done_many(ADMIN, ids, token)
    assert recorded == got
    for location in set(ids[:3]) - recorded:
        assert rows.done(ADMIN, location, token) is True
    assert rows.due(ADMIN, limit=10).locations == ()


def test_a_claim_that_was_answered_already_is_given_again(client: RegistryClient) -> None:
    ids, token = deleted(client, 2), new_id()
    first, _ = client.deletions.claim_many(ADMIN, ids, token, lease=60)
    # In neither list: the single claim knows repeated calls.
    assert client.deletions.claim_many(ADMIN, ids, token, lease=60) == ([], set())
    again = [client.deletions.claim(ADMIN, location, token, lease=60) for location in ids]
    assert sorted(first, key=str) == sorted(again, key=str)
    assert client.deletions.done_many(ADMIN, ids, token) == set(ids)
    assert client.deletions.done_many(ADMIN, ids, token) == set()
    assert client.deletions.done(ADMIN, ids[0], token) is True


def test_what_is_given_back_is_due(client: RegistryClient) -> None:
    ids, token = deleted(client, 3), new_id()
    client.deletions.claim_many(ADMIN, ids, token, lease=60)
    client.deletions.release(ADMIN, ids[:2], token)
    assert set(client.deletions.due(ADMIN, limit=10).locations) == set(ids[:2])


def test_giving_back_never_fails(client: RegistryClient, adapter: WsgiAdapter, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any) -> Answer:
        raise errors.Unavailable("away")

    monkeypatch.setattr(adapter, "exchange", away)
    monkeypatch.setattr("glance_common.registry_client.http._PAUSES", ())
    client.deletions.release(ADMIN, [new_id()], new_id())


def test_a_claim_that_another_took_over_is_not_recorded(client: RegistryClient, engine: sa.Engine) -> None:
    ids, token = deleted(client, 2), new_id()
    client.deletions.claim_many(ADMIN, ids, token, lease=60)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE locations SET lease_until = now() - interval '1 s' WHERE id = :id"),
                           {"id": ids[0]})
    assert client.deletions.claim(ADMIN, ids[0], new_id(), lease=60) is not None
    assert client.deletions.done_many(ADMIN, ids, token) == {ids[1]}


@pytest.mark.parametrize("ids", [None, [], "x", ["x"], [1], [new_id()] * 101])
def test_wrong_lists_are_told(client: RegistryClient, ids: Any) -> None:
    for path, rest in (
        ("claim", {"lease": 60, "stores": None, "scrub_time": 0}), ("renew", {"lease": 60}), ("release", {}),
        ("done", {}),
    ):
        body = {"locations": ids, "token": new_id(), **rest}
        with pytest.raises(errors.BadRequest, match="locations must be a list of 1 to 100 uuids"):
            client.http.call(ADMIN, "POST", f"/v1/deletions/{path}", body)
