"""Owners list the deleted images of their project, and restore one within the time (lifecycle section 4, S-74)."""

import threading
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import orjson
import pytest
import sqlalchemy as sa
from tests.support.owners import ADMIN, LEASE, OWNER, Owners, new_id
from tests.support.registry_rows import page
from tests.support.waiting import wait_for

from glance_common.model import errors
from glance_common.model.context import RequestContext
from glance_common.model.limits import Limits
from glance_registry.db.session import read
from glance_registry.db.tables import images, locations
from glance_registry.images.filters import Filter
from glance_registry.images.listing import ListingQuery, list_images
from glance_registry.quota import usage
from glance_registry.records.documents import row_fields

DAY = 86_400
OTHER = RequestContext(request_id="req-other", user_id="o", project_id="other")
NO_PROJECT = RequestContext(request_id="req-none", user_id="n")
DELETED = ListingQuery(25, filters=(Filter("status", "eq", "pending_delete"),), deleted="restorable")


def deleted(owners: Owners, **values: Any) -> tuple[str, str]:
    """Return the ids of an image deleted with a day to restore it, and of its location."""
    image, location = owners.active(**values)
    owners.delete(image, delayed=True, scrub_time=DAY)
    return image, location


def listed(owners: Owners, caller: RequestContext = OWNER, query: ListingQuery = DELETED) -> list[str]:
    return [image["id"] for image in page(owners.engine, caller, query)]


def refuse(owners: Owners, image: str, reason: str) -> None:
    """Check that the owner's restore is refused for ``reason`` and changes nothing."""
    before: Any = owners.image(image), owners.locations(image)
    with pytest.raises(errors.Conflict) as caught:
        owners.restore(image, context=OWNER)
    assert caught.value.details == {"reason": reason}
    assert (owners.image(image), owners.locations(image)) == before


@pytest.mark.parametrize("status", ["active", "deactivated"])
def test_an_owner_restores_what_waits(owners: Owners, status: str) -> None:
    image, location = owners.active()
    owners.set_status(image, status)
    owners.delete(image, delayed=True, scrub_time=DAY)
    assert listed(owners) == [image]
    attempt = new_id()
    owners.restore(image, attempt, context=OWNER)
    assert owners.statuses(image) == (status, ["active"])
    row = owners.image(image)
    owners.restore(image, attempt, context=OWNER)
    assert owners.image(image) == row
    assert listed(owners) == []
    refuse(owners, image, status)
    with pytest.raises(errors.Conflict):
        owners.claim(location)


@pytest.mark.parametrize("caller", [OTHER, NO_PROJECT], ids=["other", "no project"])
@pytest.mark.parametrize("owner", ["own", None])
@pytest.mark.parametrize("visibility", ["public", "shared"])
def test_s43_deleted_images_of_others_do_not_exist(
    owners: Owners, caller: RequestContext, owner: str | None, visibility: str
) -> None:
    image, _ = owners.active(visibility=visibility)
    with owners.engine.begin() as connection:
        connection.execute(sa.update(images).values(owner=owner))
    owners.delete(image, delayed=True, scrub_time=DAY, context=ADMIN)
    assert listed(owners, caller) == []
    with pytest.raises(errors.NotFound):
        owners.restore(image, context=caller)
    with pytest.raises(errors.BadRequest):
        listed(owners, caller, replace(DELETED, marker=image))
    assert owners.image(image).status == "pending_delete"
    assert listed(owners, ADMIN) == [image]


def test_what_was_deleted_without_delay_is_not_for_its_owner(owners: Owners) -> None:
    image, _ = owners.active()
    owners.delete(image)
    assert listed(owners) == []
    refuse(owners, image, "deleted")
    owners.restore(image, context=ADMIN)
    assert owners.statuses(image) == ("active", ["active"])


def test_an_image_without_whole_data_is_not_for_its_owner(owners: Owners) -> None:
    image = owners.create()
    owners.abort(owners.start(image).attempt)
    owners.delete(image, delayed=True, scrub_time=DAY)
    assert listed(owners) == []
    refuse(owners, image, "deleted")


def test_when_the_time_is_over_the_image_is_shown_without_one_and_only_administrators_restore_it(
    owners: Owners,
) -> None:
    image, _ = deleted(owners)
    [shown] = page(owners.engine, OWNER, DELETED)
    until, since = (datetime.fromisoformat(shown[name]) for name in ("restorable_until", "deleted_at"))
    # Times are shown in whole seconds.
    assert abs(until - since - timedelta(seconds=DAY)) <= timedelta(seconds=1)
    assert shown["status"] == "pending_delete"
    owners.pass_time(DAY + 1)
    assert [one["restorable_until"] for one in page(owners.engine, OWNER, DELETED)] == [None]
    refuse(owners, image, "time_over")
    owners.restore(image, context=ADMIN)
    assert owners.statuses(image) == ("active", ["active"])


def test_once_a_purge_has_claimed_a_location_there_is_no_way_back(owners: Owners) -> None:
    image, location = owners.active()
    owners.add_copy(image, "slow")
    owners.delete(image, delayed=True, scrub_time=DAY)
    with owners.engine.begin() as connection:
        connection.execute(
            sa.update(locations).where(locations.c.id == location).values(not_before=sa.func.now())
        )
        connection.execute(sa.update(images).values(delayed=False))
    token = owners.claim(location)["token"]
    with owners.engine.begin() as connection:
        connection.execute(sa.update(images).values(delayed=True))
    assert [one["restorable_until"] for one in page(owners.engine, OWNER, DELETED)] == [None]
    refuse(owners, image, "deleting")
    owners.pass_time(LEASE + 1)
    refuse(owners, image, "deleting")
    owners.done(location, token)
    assert [one["restorable_until"] for one in page(owners.engine, OWNER, DELETED)] == [None]
    refuse(owners, image, "deleted")


def test_what_was_lost_before_the_delete_does_not_shorten_the_time(owners: Owners) -> None:
    image, _ = owners.active()
    owners.add_copy(image, "slow", status="deleted", deleted_at=sa.func.now())
    owners.add_copy(image, "slow", status="reaping", on_fail="active", not_before=sa.func.now())
    owners.delete(image, delayed=True, scrub_time=DAY)
    [shown] = page(owners.engine, OWNER, DELETED)
    assert shown["restorable_until"] is not None
    owners.restore(image, context=OWNER)
    assert owners.image(image).status == "active"


def test_a_copy_in_quarantine_comes_back_in_quarantine(owners: Owners) -> None:
    image, _ = owners.active()
    owners.add_copy(image, "slow", status="quarantined", quarantine_reason="digest: x")
    owners.delete(image, delayed=True, scrub_time=DAY)
    owners.restore(image, context=OWNER)
    assert owners.statuses(image) == ("active", ["active", "quarantined"])


def test_i5_a_restore_is_counted_and_refused_without_room(owners: Owners) -> None:
    image, _ = deleted(owners)
    owners.active()
    for values in ({"image_size_total": 0}, {"image_count_total": 1}):
        with pytest.raises(errors.TooLarge):
            owners.restore(image, context=OWNER, limits=Limits("own", values))
        assert owners.statuses(image) == ("pending_delete", ["pending_delete"])
    owners.restore(image, context=OWNER, limits=Limits("own", {"image_count_total": 2, "image_size_total": 1}))
    with owners.engine.connect() as connection:
        assert usage.of_owner(connection, "own").images == 2


def test_pages_orders_and_filters_are_those_of_other_lists(owners: Owners) -> None:
    made = [deleted(owners, name=name, os_hidden=hidden, visibility=visibility)[0] for name, hidden, visibility in (
        ("b", False, "private"), ("a", False, "shared"), ("hidden", True, "private"), ("c", False, "public"),
    )]  # fmt: skip
    owners.active(name="kept")
    by_name = replace(DELETED, sort=(("status", "asc"), ("name", "asc"), ("id", "asc")))
    assert listed(owners, query=by_name) == [made[1], made[0], made[3]]
    assert listed(owners) == [made[3], made[1], made[0]]
    first = replace(DELETED, limit=1)
    assert listed(owners, query=first) == [made[3]]
    second = replace(first, marker=made[3])
    assert listed(owners, query=second) == [made[1]]
    owners.restore(made[3], context=OWNER)
    assert listed(owners, query=second) == [made[1]], "a marker that was restored meanwhile"
    assert listed(owners, query=replace(DELETED, os_hidden=True)) == [made[2]]
    assert listed(owners, query=replace(DELETED, visibility="shared")) == [made[1]]
    named = replace(DELETED, filters=(*DELETED.filters, Filter("name", "eq", "b")))
    assert listed(owners, query=named) == [made[0]]
    assert listed(owners, query=replace(DELETED, properties={"none": "x"})) == []
    [shown] = page(owners.engine, OWNER, replace(named, locations=True))
    assert shown["locations"] == []


def test_s59_a_large_image_has_the_same_fields(owners: Owners) -> None:
    image, _ = deleted(owners, properties={"long": "x" * 5000})
    [row] = read(owners.engine, list_images, OWNER, DELETED, 100).rows
    fields = dict(zip(row_fields(False, "restorable"), orjson.loads(row), strict=True))
    assert (fields["id"], fields["status"]) == (image, "pending_delete")
    assert fields["restorable_until"] > fields["deleted_at"]


def test_a_restore_that_began_in_time_waits_for_a_claim_and_loses(owners: Owners) -> None:
    """Both find the time right by their own clocks; the lock of the image decides."""
    image, location = deleted(owners)
    result: list[errors.Conflict] = []

    def restore() -> None:
        try:
            owners.restore(image, context=OWNER)
        except errors.Conflict as conflict:
            result.append(conflict)

    with owners.engine.begin() as claiming:
        claiming.execute(sa.select(images.c.id).where(images.c.id == image).with_for_update())
        thread = threading.Thread(target=restore)
        thread.start()
        wait_for(lambda: waits_for_a_lock(owners))
        claiming.execute(sa.update(locations).where(locations.c.id == location).values(status="deleting"))
    thread.join()
    assert [error.details for error in result] == [{"reason": "deleting"}]
    assert owners.statuses(image) == ("pending_delete", ["deleting"])


def test_claims_and_restores_of_one_moment_have_one_winner_each(owners: Owners) -> None:
    """The time of all images ends while both sides try again and again."""
    made = [deleted(owners) for _ in range(6)]
    with owners.engine.begin() as connection:
        ends = sa.func.now() + sa.text("interval '300 milliseconds'")
        connection.execute(sa.update(locations).values(not_before=ends))
        long_ago = sa.func.now() - sa.text("interval '2 days'")
        connection.execute(sa.update(images).values(deleted_at=long_ago))
    won: dict[str, list[str]] = {image: [] for image, _ in made}
    refused: set[str] = set()
    start = threading.Barrier(2 * len(made))

    def claim(image: str, location: str) -> None:
        start.wait()
        while True:
            try:
                owners.claim(location)
            except errors.Conflict as conflict:
                if conflict.details["reason"] == "not_due":
                    continue
                refused.add(conflict.details["reason"])
                return
            won[image].append("claim")
            return

    def restore(image: str, is_late: bool) -> None:
        start.wait()
        while is_late and time_left(owners, image) > 0.02:
            pass
        try:
            owners.restore(image, context=OWNER)
        except errors.Conflict as conflict:
            refused.add(conflict.details["reason"])
            return
        won[image].append("restore")

    threads = [threading.Thread(target=claim, args=one) for one in made]
    threads += [
        threading.Thread(target=restore, args=(image, number > 0)) for number, (image, _) in enumerate(made)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert refused <= {"in_use", "deleting", "time_over"}
    for image, _ in made:
        outcomes = {"claim": ("pending_delete", ["deleting"]), "restore": ("active", ["active"])}
        assert [owners.statuses(image)] == [outcomes[winner] for winner in won[image]]


def time_left(owners: Owners, image: str) -> float:
    """Return the seconds until the time of an image is over."""
    with owners.engine.connect() as connection:
        left = sa.select(sa.extract("epoch", locations.c.not_before - sa.func.clock_timestamp()))
        return float(connection.execute(left.where(locations.c.image_id == image)).scalar_one())


def waits_for_a_lock(owners: Owners) -> bool:
    with owners.engine.connect() as connection:
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        return int(connection.execute(sa.text(waiting)).scalar_one()) > 0
