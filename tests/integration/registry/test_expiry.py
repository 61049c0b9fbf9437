"""Finished operations leave the table (S-59)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import orjson
import pytest
import sqlalchemy as sa
from tests.support.owners import Owners, new_id
from tests.support.owners_imports import Imports
from tests.support.registry_rows import ADMIN
from werkzeug.test import Client

from glance_common.model.context import HEADER, ContextSigner
from glance_common.model.status import OperationStatus
from glance_registry import housekeeping
from glance_registry.app import create_app
from glance_registry.db.tables import locations as location_rows
from glance_registry.db.tables import operations as operation_rows
from glance_registry.records import expiry

SIGNER = ContextSigner([b"s" * 32])


def purge(owners: Owners) -> int:
    return int(owners.run(expiry.purge_expired))


def ended(imports: Imports, **options: Any) -> str:
    held = imports.begun(**options)
    imports.finish(held, success=False)
    return held.operation


def pass_time(owners: Owners, interval: str, *ids: str) -> None:
    """Let the operations have ended earlier by ``interval``; without ids all of them."""
    update = sa.update(operation_rows).values(
        expires_at=operation_rows.c.expires_at - sa.text(f"interval '{interval}'")
    )
    with owners.engine.begin() as connection:
        connection.execute(update.where(operation_rows.c.id.in_(ids)) if ids else update)


def kept(owners: Owners) -> set[str]:
    with owners.engine.connect() as connection:
        return set(connection.scalars(sa.select(operation_rows.c.id)))


def set_location(owners: Owners, location: str, status: str) -> None:
    with owners.engine.begin() as connection:
        connection.execute(sa.update(location_rows).where(location_rows.c.id == location).values(status=status))


def rows(owners: Owners, image: str | None, number: int, *, over: bool = True) -> None:
    """Write finished operations of an image past the rules, the first the oldest, or a live one."""
    made = [
        {
            "id": new_id(), "kind": "api_image_import", "image_id": image, "on_fail": "queued", "ttl": 1,
            "status": OperationStatus.SUCCESS if over else OperationStatus.PENDING, "message": str(each),
        }
        for each in range(number)
    ]
    with owners.engine.begin() as connection:
        for each, row in enumerate(made):
            at = sa.func.now() - sa.text(f"interval '{number - each + 1} minutes'")
            connection.execute(sa.insert(operation_rows).values(
                **row, deadline=at, created_at=at, updated_at=at, expires_at=at + sa.text("interval '1 hour'")
            ))


def test_s59_expired_operations_are_purged(owners: Owners, imports: Imports) -> None:
    expired, fresh = ended(imports, ttl=1), ended(imports, ttl=1)
    live = imports.create(owners.create())
    assert purge(owners) == 0
    pass_time(owners, "71 minutes", expired)
    assert purge(owners) == 1
    assert kept(owners) == {fresh, live}


def test_s59_an_operation_that_just_expired_can_still_be_ended_again(owners: Owners, imports: Imports) -> None:
    held = imports.begun(ttl=0)
    first = imports.finish(held, success=False)
    assert purge(owners) == 0
    assert imports.finish(held, success=False) == first
    pass_time(owners, "11 minutes")
    assert purge(owners) == 1


@pytest.mark.parametrize("status", ["writing", "deleting", "reaping", "pending_delete"])
def test_s59_an_operation_whose_bytes_are_under_way_stays(owners: Owners, imports: Imports, status: str) -> None:
    image = owners.create()
    held = imports.begun(image, ttl=1)
    location = imports.copy(image, held)
    imports.finish(held, success=False)
    pass_time(owners, "2 hours")
    set_location(owners, location, status)
    assert purge(owners) == 0
    set_location(owners, location, "deleted")
    assert purge(owners) == 1


def test_s59_a_purge_takes_one_batch(owners: Owners, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expiry, "BATCH", 3)
    rows(owners, None, 5)
    pass_time(owners, "2 hours")
    assert [purge(owners) for _ in range(3)] == [3, 2, 0]


def test_s59_two_purges_do_not_wait_for_each_other(owners: Owners, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expiry, "BATCH", 2)
    rows(owners, None, 3)
    pass_time(owners, "2 hours")
    with owners.engine.begin() as connection:
        assert expiry.purge_expired(connection) == 2
        assert purge(owners) == 1
    assert kept(owners) == set()


def test_s59_an_image_keeps_the_newest_finished_operations(
    owners: Owners, imports: Imports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expiry, "KEPT_OF_IMAGE", 4)
    image, other = owners.create(), owners.create()
    rows(owners, image, 6)
    rows(owners, other, 6)
    imports.finish(held := imports.begun(image), success=False)
    with owners.engine.connect() as connection:
        left = connection.execute(sa.select(operation_rows).where(operation_rows.c.image_id == image)).all()
        others = connection.execute(sa.select(operation_rows).where(operation_rows.c.image_id == other)).all()
    assert held.operation in {row.id for row in left}
    assert {row.message for row in left} == {"3", "4", "5", "over"}
    assert len(others) == 6


def test_s59_repeating_an_import_for_ever_leaves_a_bounded_number_of_rows(
    owners: Owners, imports: Imports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expiry, "KEPT_OF_IMAGE", 3)
    image = owners.create()
    for _ in range(10):
        imports.finish(imports.begun(image), success=False)
    assert len(kept(owners)) == 3


def test_s59_workers_who_look_for_work_have_expired_operations_purged(
    owners: Owners, imports: Imports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expiry, "BATCH", 2)
    clock = [1000.0]
    monkeypatch.setattr(housekeeping, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    client = Client(create_app(owners.engine, SIGNER))

    def claim() -> int:
        path = "/v1/operations/claim"
        body = orjson.dumps({"token": new_id(), "host": "h", "lease": 60})
        answer = client.post(path, data=body, headers={HEADER: SIGNER.sign(ADMIN, "POST", path, body)})
        assert answer.status_code == 200, answer.text
        return len(kept(owners))

    rows(owners, None, 3)
    pass_time(owners, "2 hours")
    # A full batch is followed by the next one at once.
    assert [claim(), claim()] == [1, 0]
    rows(owners, None, 1)
    pass_time(owners, "2 hours")
    assert claim() == 1
    clock[0] += housekeeping.INTERVAL
    assert claim() == 0
