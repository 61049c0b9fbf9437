"""Claims and ends of many locations in one transaction: the usual ones at once, and no waiting for any other."""

import pytest
import sqlalchemy as sa
from tests.support.owners import LEASE, MOST_OF_LEASE, Owners, new_id
from tests.support.races import failures, race

from glance_common.model import errors
from glance_registry.db.tables import images, locations
from glance_registry.locations import use_cases
from glance_registry.records.rows import lock_image


def deleted(owners: Owners, count: int) -> list[str]:
    """Return the locations of so many images in pending_delete."""
    found = [owners.active() for _ in range(count)]
    for image, _ in found:
        owners.delete(image)
    return [location for _, location in found]


def claimed(owners: Owners, ids: list[str], token: str) -> set[str]:
    return {claim["location"] for claim in owners.claim_many(ids, token)[0]}


def test_many_are_claimed_and_ended_with_the_answers_of_single_calls(owners: Owners) -> None:
    ids, token = deleted(owners, 5), new_id()
    claims, refused = owners.claim_many(ids, token)
    assert refused == []
    image = owners.location(ids[0]).image_id
    assert next(claim for claim in claims if claim["location"] == ids[0]) == {
        "location": ids[0], "image_id": image, "store": "fast", "key": image, "token": token, "attempts": 0,
        "request_id": "req-owner",
    }
    assert {claim["location"] for claim in claims} == set(ids)
    assert owners.due()[0] == []
    assert sorted(owners.done_many(ids, token)) == sorted(ids)
    assert {owners.statuses(owners.location(one).image_id)[0] for one in ids} == {"deleted"}
    assert owners.done(ids[0], token) is True


def test_what_is_not_usual_is_left_to_calls_of_its_own(owners: Owners) -> None:
    usual, expired, held, gone = deleted(owners, 4)
    _, active = owners.active()
    writing = str(owners.start(owners.create()).id)
    owners.claim(expired, lease=1)
    owners.pass_time(LEASE)
    owners.claim(held)
    owners.purge(gone)
    token = new_id()
    claims, refused = owners.claim_many([usual, expired, held, gone, active, writing, new_id()], token)
    assert [claim["location"] for claim in claims] == [usual]
    assert set(refused) == {held, gone}
    # Taken over after its lease: the key gets its late passes by the single call.
    assert owners.claim(expired, token)["location"] == expired
    assert owners.done_many([usual, expired, held, active], token) == [usual]
    assert owners.done(expired, token) is True
    with pytest.raises(errors.Gone):
        owners.done(held, token)


def test_another_store_is_refused_and_not_yet_due_is_not_claimed(owners: Owners) -> None:
    ids = deleted(owners, 2)
    claims, refused = owners.claim_many(ids, stores=["slow"])
    assert (claims, set(refused)) == ([], set(ids))
    image, location = owners.active()
    owners.delete(image, delayed=True, scrub_time=3600)
    assert claimed(owners, [location, *ids], new_id()) == set(ids)


def test_an_image_that_another_transaction_holds_does_not_hold_up_the_others(owners: Owners) -> None:
    ids, token = deleted(owners, 3), new_id()
    with owners.engine.begin() as connection:
        assert lock_image(connection, images.c.id == owners.location(ids[1]).image_id) is not None
        assert claimed(owners, ids, token) == {ids[0], ids[2]}
        assert sorted(owners.done_many(ids, token)) == sorted([ids[0], ids[2]])
    assert owners.claim(ids[1], token)["location"] == ids[1]


def test_the_last_locations_of_an_image_ended_together_end_the_image(owners: Owners) -> None:
    image, first = owners.active()
    second = second_location(owners, image)
    owners.delete(image)
    token = new_id()
    assert claimed(owners, [first, second], token) == {first, second}
    assert sorted(owners.done_many([first, second], token)) == sorted([first, second])
    assert owners.statuses(image)[0] == "deleted"


def test_one_of_two_locations_does_not_end_the_image(owners: Owners) -> None:
    image, first = owners.active()
    second = second_location(owners, image)
    owners.delete(image)
    token = new_id()
    owners.claim_many([first, second], token)
    assert owners.done_many([first], token) == [first]
    assert owners.statuses(image)[0] == "pending_delete"
    assert owners.done(second, token) is True


def test_what_is_given_back_is_due_at_once_without_late_passes(owners: Owners) -> None:
    ids, token = deleted(owners, 2), new_id()
    owners.claim_many(ids, token)
    use_cases.release_claims(owners.engine, [ids[0]], token)
    assert owners.due()[0] == [ids[0]]
    assert owners.claim(ids[0])["location"] == ids[0]
    assert owners.location(ids[0]).late_passes == 0
    use_cases.release_claims(owners.engine, [ids[1]], new_id())
    assert owners.due()[0] == []


def test_what_was_given_back_or_failed_is_claimed_together_again_when_it_is_due(owners: Owners) -> None:
    back, later, now, mine = deleted(owners, 4)
    token = new_id()
    owners.claim_many([back, later, now, mine], token)
    use_cases.release_claims(owners.engine, [back], token)
    owners.retry(later, token, delay=30)
    owners.retry(now, token, delay=0)
    assert claimed(owners, [back, later, now, mine], new_id()) == {back, now}
    assert (owners.location(back).attempts, owners.location(now).attempts) == (0, 1)
    assert owners.location(mine).token == token


def test_a_dead_upload_that_is_given_back_is_due_at_once(owners: Owners) -> None:
    """Its row had no other time than the lease (I7)."""
    ids = [str(owners.start(owners.create()).id) for _ in range(2)]
    owners.pass_time(LEASE)
    token = new_id()
    for location in ids:
        owners.claim(location, token)
    assert owners.due()[0] == []
    use_cases.release_claims(owners.engine, ids, token)
    assert sorted(owners.due()[0]) == sorted(ids)
    for location in ids:
        owners.purge(location)
        assert owners.statuses(owners.location(location).image_id) == ("queued", ["deleted"])


def test_giving_back_does_not_bring_a_time_forward(owners: Owners) -> None:
    [location], token = deleted(owners, 1), new_id()
    due_since = owners.location(location).not_before
    owners.claim_many([location], token)
    use_cases.release_claims(owners.engine, [location], token)
    assert owners.location(location).not_before == due_since


def test_what_was_given_back_is_claimed_together_again(owners: Owners) -> None:
    ids, token, other = deleted(owners, 4), new_id(), new_id()
    owners.claim_many(ids, token)
    use_cases.release_claims(owners.engine, ids[:2], token)
    owners.retry(ids[2], token, delay=30)
    assert owners.claim_many(ids, other)[1] == [ids[3]]
    assert [owners.location(one).token for one in ids] == [other, other, token, token]
    owners.pass_time(30)
    assert claimed(owners, ids[2:], other) == {ids[2]}
    assert sorted(owners.done_many(ids[:3], other)) == sorted(ids[:3])
    assert {owners.statuses(owners.location(one).image_id)[0] for one in ids[:3]} == {"deleted"}


def test_a_late_release_does_not_end_the_claim_of_another_token(owners: Owners) -> None:
    ids, token, other = deleted(owners, 2), new_id(), new_id()
    owners.claim_many(ids, token)
    use_cases.release_claims(owners.engine, ids, token)
    assert claimed(owners, ids, other) == set(ids)
    use_cases.release_claims(owners.engine, ids, token)
    assert owners.due()[0] == []


def test_claims_are_renewed_together_by_their_token_only(owners: Owners) -> None:
    ids, token = deleted(owners, 3), new_id()
    owners.claim_many(ids, token)
    owners.pass_time(MOST_OF_LEASE)
    use_cases.renew_claims(owners.engine, ids[:2], token, LEASE)
    use_cases.renew_claims(owners.engine, ids[2:], new_id(), LEASE)
    owners.pass_time(MOST_OF_LEASE)
    assert owners.due()[0] == [ids[2]]


@pytest.mark.parametrize("_round", range(4))
def test_two_that_claim_the_same_page_share_it(owners: Owners, _round: int) -> None:
    ids = deleted(owners, 12)
    first, second = new_id(), new_id()
    one, two = race(lambda: claimed(owners, ids, first), lambda: claimed(owners, ids[::-1], second))
    assert not failures([one, two])
    assert one & two == set()
    for location in ids:
        token = owners.location(location).token
        assert token == (first if location in one else second if location in two else None)


@pytest.mark.parametrize("_round", range(4))
def test_a_restore_against_a_claim_of_many_has_one_winner(owners: Owners, _round: int) -> None:
    ids = deleted(owners, 3)
    image, token = owners.location(ids[1]).image_id, new_id()
    got, restored = race(lambda: claimed(owners, ids, token), lambda: owners.restore(image))
    assert {ids[0], ids[2]} <= got
    if isinstance(restored, errors.Conflict):
        assert ids[1] in got
        assert owners.statuses(image) == ("pending_delete", ["deleting"])
    else:
        assert ids[1] not in got
        assert owners.statuses(image) == ("active", ["active"])


def test_one_transaction_for_all(owners: Owners) -> None:
    ids, token = deleted(owners, 20), new_id()
    owners.claim_many(ids, token)
    assert transactions(owners) == 1
    owners.done_many(ids, token)
    assert transactions(owners) == 1


def transactions(owners: Owners) -> int:
    """Return how many transactions wrote the locations last."""
    with owners.engine.begin() as connection:
        return len(set(connection.scalars(sa.text("SELECT xmin::text FROM locations WHERE token IS NOT NULL"))))


def second_location(owners: Owners, image: str) -> str:
    """Return a further copy of an image."""
    row = {"id": new_id(), "image_id": image, "store": "slow", "key": image, "status": "active", "attempt": new_id()}
    with owners.engine.begin() as connection:
        connection.execute(sa.insert(locations).values(row))
    return row["id"]
