"""What an owner uses is computed from the rows, and no transaction exceeds a limit (I5, S-11, S-26, QUO-01, DAT-08)."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from tests.support.owners import ADMIN, LEASE, OWNER, Owners, new_id
from tests.support.owners_imports import Imports

from glance_common.model import errors
from glance_common.model.limits import MIB, Limits, Usage
from glance_common.model.status import ImageStatus
from glance_registry.images import crud
from glance_registry.locations import uploads
from glance_registry.quota import usage

CLIENTS = 64


def limits(owner: str = "own", **values: int) -> Limits:
    return Limits(owner, values or {"user_storage_quota": 100})


@dataclass
class Account:
    """An owner's uploads under limits."""

    owners: Owners

    def usage(self, owner: str = "own") -> Usage:
        found: Usage = self.owners.run(usage.of_owner, owner)
        return found

    def start(
        self, size: int | None, bounds: Limits | None, image: str | None = None, attempt: str | None = None, **how: Any
    ) -> Any:
        begin = uploads.Begin(attempt or new_id(), "fast", size, LEASE, ImageStatus.QUEUED, limits=bounds, **how)
        return self.owners.run(uploads.start, OWNER, image or self.owners.create(), begin)

    def reserve(self, attempt: str, at_least: int, at_most: int, bounds: Limits | None) -> int:
        granted: int = self.owners.run(usage.reserve, attempt, at_least, at_most, bounds)
        return granted

    def commit(self, attempt: str, size: int, bounds: Limits | None = None) -> None:
        content = uploads.Content(size, None, None, None, None, {})
        self.owners.run(uploads.commit, attempt, content, uploads.Terms(limits=bounds))

    def active(self, size: int, **values: Any) -> str:
        image = self.owners.create(**values)
        row = self.owners.start(image, size=size, context=ADMIN)
        self.commit(row.attempt, size)
        return image

    def create(self, bounds: Limits | None, attempt: str | None = None, image: str | None = None) -> str:
        values = {"id": image or new_id(), "visibility": "private", "owner": "own", "properties": {}, "tags": []}
        self.owners.run(crud.create, OWNER, attempt or new_id(), values, bounds)
        return str(values["id"])

    def give(self, image: str, owner: str | None, bounds: Limits | None) -> None:
        version = self.owners.image(image).row_version
        self.owners.run(crud.update, ADMIN, image, crud.Update(new_id(), version, {"owner": owner}, bounds))


@pytest.fixture
def account(owners: Owners) -> Account:
    return Account(owners)


def at_once(calls: list[Callable[[], Any]]) -> list[Any]:
    """Return what each call returned or raised; all begin at the same moment, each in a thread of its own."""
    barrier = threading.Barrier(len(calls))
    outcomes: list[Any] = [None] * len(calls)

    def run(number: int) -> None:
        barrier.wait()
        # More callers than connections: who gets none in time asks again, as the registry's client does.
        for _ in range(20):
            try:
                outcomes[number] = calls[number]()
            except errors.Unavailable as busy:
                outcomes[number] = busy
                continue
            except errors.GlanceError as error:
                outcomes[number] = error
            return

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def test_announced_bytes_are_reserved_whole_and_kept_by_the_commit(account: Account) -> None:
    row = account.start(60, limits())
    assert account.usage() == Usage(size=60, images=1, uploading=1)
    with pytest.raises(errors.TooLarge, match=r"user_storage_quota .* limit is 100 bytes, 60 are used and 41 more"):
        account.start(41, limits())
    account.commit(row.attempt, 60, limits())
    assert account.usage() == Usage(size=60, images=2)
    account.start(40, limits())
    assert account.usage().size == 100


def test_a_refused_start_leaves_nothing(account: Account) -> None:
    image = account.owners.create()
    with pytest.raises(errors.TooLarge):
        account.start(101, limits(), image)
    assert account.owners.statuses(image) == ("queued", [])


def test_a_repeated_start_is_charged_once(account: Account) -> None:
    image, attempt = account.owners.create(), new_id()
    account.start(60, limits(), image, attempt)
    account.start(60, limits(), image, attempt)
    assert account.usage().size == 60


@pytest.mark.parametrize("_round", range(3))
def test_64_announced_uploads_race_for_the_last_bytes(account: Account, _round: int) -> None:
    account.active(50)
    queued = [account.owners.create() for _ in range(CLIENTS)]
    outcomes = at_once([partial(account.start, 7, limits(), image) for image in queued])
    won = [outcome for outcome in outcomes if not isinstance(outcome, errors.GlanceError)]
    lost = [outcome for outcome in outcomes if isinstance(outcome, errors.GlanceError)]
    assert {type(error) for error in lost} == {errors.TooLarge}
    assert len(won) == 7, "as many as there is room for"
    assert account.usage().size == 99


def test_64_uploads_of_unknown_size_race_and_never_exceed(account: Account) -> None:
    rows = [account.start(None, limits()) for _ in range(CLIENTS)]
    written = dict.fromkeys((row.attempt for row in rows), 0)

    def grow(attempt: str) -> None:
        for size in range(3, 40, 3):
            granted = account.reserve(attempt, size, size + 6, limits())
            assert granted >= size
            written[attempt] = size
            assert account.usage().size <= 100
        account.commit(attempt, size, limits())

    outcomes = at_once([partial(grow, row.attempt) for row in rows])
    assert {type(outcome) for outcome in outcomes} <= {type(None), errors.TooLarge}
    assert 0 < sum(written.values()) <= account.usage().size <= 100


def test_a_step_gets_what_room_there_is(account: Account) -> None:
    account.active(80)
    row = account.start(None, limits())
    assert account.reserve(row.attempt, 5, 50, limits()) == 20
    assert account.reserve(row.attempt, 20, 90, limits()) == 20
    with pytest.raises(errors.TooLarge, match="100 are used and 1 more"):
        account.reserve(row.attempt, 21, 90, limits())
    account.commit(row.attempt, 12, limits())
    assert account.usage().size == 92, "what was reserved and not used is free again"


def test_a_commit_of_more_than_was_reserved_is_compared(account: Account) -> None:
    row = account.start(10, limits())
    with pytest.raises(errors.TooLarge, match="10 are used and 91 more"):
        account.commit(row.attempt, 101, limits())
    assert account.usage() == Usage(size=10, images=1, uploading=1)
    account.commit(row.attempt, 100, limits())
    assert account.usage().size == 100


def test_nobody_reserves_for_an_attempt_that_is_over(account: Account) -> None:
    row = account.start(None, limits())
    account.owners.abort(row.attempt)
    for attempt in (row.attempt, new_id()):
        with pytest.raises(errors.Gone):
            account.reserve(attempt, 1, 1, limits())


def test_an_abort_releases_when_the_bytes_are_gone(account: Account) -> None:
    row = account.start(60, limits())
    claim = account.owners.abort(row.attempt)
    assert claim is not None
    assert account.usage().size == 60
    account.owners.done(row.id, claim["token"])
    assert account.usage() == Usage(images=1)


def test_the_reaper_releases_a_dead_upload(account: Account) -> None:
    row = account.start(60, limits())
    account.owners.pass_time(LEASE + 1)
    account.owners.purge(row.id)
    assert account.usage() == Usage(images=1)


def test_a_delete_releases_at_once(account: Account) -> None:
    image = account.active(60)
    account.owners.delete(image, delayed=True, scrub_time=600)
    assert account.usage() == Usage()


def test_s11_deleting_under_a_running_upload_frees_nothing_before_its_bytes_are_gone(account: Account) -> None:
    image = account.owners.create()
    row = account.start(60, limits(), image)
    account.owners.delete(image)
    assert account.usage() == Usage(size=60)
    with pytest.raises(errors.TooLarge):
        account.start(41, limits())
    claim = account.owners.abort(row.attempt)
    assert claim is not None
    assert account.usage().size == 60
    account.owners.done(row.id, claim["token"])
    assert account.usage().size == 0


def test_a_restore_is_charged_again_or_refused(account: Account) -> None:
    image = account.active(60)
    account.owners.delete(image, delayed=True, scrub_time=600)
    account.active(50)
    with pytest.raises(errors.TooLarge, match="50 are used and 60 more"):
        account.owners.restore(image, limits=limits())
    assert account.owners.statuses(image) == ("pending_delete", ["pending_delete"])
    account.owners.restore(image, limits=limits(user_storage_quota=110))
    assert account.usage() == Usage(size=110, images=2)


def test_a_change_of_owner_takes_the_usage_along_or_is_refused(account: Account) -> None:
    image = account.active(60)
    account.active(50, owner="other")
    with pytest.raises(errors.TooLarge, match="50 are used and 60 more"):
        account.give(image, "other", limits("other"))
    assert account.usage("other").size == 50
    account.give(image, "other", limits("other", user_storage_quota=110))
    assert (account.usage(), account.usage("other")) == (Usage(), Usage(size=110, images=2))
    account.give(image, None, None)
    assert account.usage("other") == Usage(size=50, images=1)


def test_limits_of_another_owner_decide_nothing(account: Account) -> None:
    image = account.owners.create()
    with pytest.raises(errors.Conflict, match="another owner"):
        account.start(1, limits("other"), image)
    row = account.start(None, limits(), image)
    account.give(image, "other", limits("other"))
    with pytest.raises(errors.Conflict, match="another owner"):
        account.reserve(row.attempt, 1, 1, limits())


def test_every_copy_counts(account: Account) -> None:
    image = account.active(30)
    account.owners.add_copy(image, "slow", size=30)
    assert account.usage() == Usage(size=60, images=1)


def test_deactivated_data_count(account: Account) -> None:
    image = account.active(30)
    account.owners.set_status(image, "deactivated")
    assert account.usage() == Usage(size=30, images=1)


def test_limits_in_mebibytes_are_exact(account: Account) -> None:
    bounds = limits(image_size_total=1)
    account.active(MIB - 1)
    with pytest.raises(errors.TooLarge, match=r"image_size_total is exceeded: the limit is 1 MiB, 0\.999999 are used"):
        account.start(2, bounds)
    account.start(1, bounds)


def test_uploads_are_counted(account: Account) -> None:
    bounds = limits(image_count_uploading=2)
    first = account.start(1, bounds)
    account.start(None, bounds)
    with pytest.raises(errors.TooLarge, match="image_count_uploading"):
        account.start(1, bounds)
    account.commit(first.attempt, 1, bounds)
    account.start(1, bounds)


def test_s26_images_are_counted(account: Account) -> None:
    bounds, attempt, image = limits(image_count_total=2), new_id(), new_id()
    account.create(bounds, attempt, image)
    account.create(bounds)
    with pytest.raises(errors.TooLarge, match="image_count_total is exceeded: the limit is 2 images, 2 are used"):
        account.create(bounds)
    assert account.create(bounds, attempt, image) == image, "the first one, repeated"
    account.owners.delete(image)
    account.create(bounds)
    assert account.usage().images == 2


def test_s26_64_creates_race_for_the_last_images(account: Account) -> None:
    outcomes = at_once([lambda: account.create(limits(image_count_total=5))] * CLIENTS)
    assert sum(isinstance(outcome, str) for outcome in outcomes) == 5
    assert account.usage().images == 5


def test_staged_bytes_count_on_their_own(account: Account) -> None:
    bounds = limits(image_stage_total=1, image_size_total=1)
    image = account.owners.create()
    row = account.start(MIB, bounds, image, staging=True)
    assert account.usage() == Usage(stage=MIB, images=1, uploading=1)
    with pytest.raises(errors.TooLarge, match="image_stage_total"):
        account.start(1, bounds, staging=True)
    with pytest.raises(errors.TooLarge, match="image_stage_total"):
        account.reserve(account.start(None, bounds, staging=True).attempt, 1, 1, bounds)
    account.commit(row.attempt, MIB, bounds)
    assert account.usage().stage == MIB
    held = Imports(account.owners).begun(image)
    copy = account.start(MIB, bounds, image, operation=held)
    assert account.usage() == Usage(size=MIB, stage=MIB, images=2 + 1, uploading=2)
    account.owners.commit(copy.attempt, MIB, operation=held)
    Imports(account.owners).finish(held)
    assert account.usage() == Usage(size=MIB, images=3, uploading=1), "what was staged is given to removal"


def test_an_import_of_staged_data_is_one_transfer(account: Account) -> None:
    bounds, imports = limits(image_count_uploading=1), Imports(account.owners)
    image = account.owners.create()
    imports.stage(image)
    imports.create(image, limits=bounds)
    assert account.usage().uploading == 1
    with pytest.raises(errors.TooLarge, match="image_count_uploading"):
        imports.create(account.owners.create(), limits=bounds)


def test_an_image_that_is_copied_counts_once_more_until_all_stores_have_it(account: Account) -> None:
    bounds, imports = limits(image_stage_total=1, image_count_uploading=1), Imports(account.owners)
    large, image = account.active(MIB + 1), account.active(MIB)
    with pytest.raises(errors.TooLarge, match="image_stage_total"):
        imports.copying(large, stores=("slow",), limits=bounds)
    held = imports.copying(image, stores=("slow",), limits=bounds)
    assert account.usage() == Usage(size=2 * MIB + 1, stage=MIB, images=2, uploading=1)
    imports.copy(image, held, "slow", size=MIB)
    imports.finish(held)
    assert account.usage() == Usage(size=3 * MIB + 1, images=2)


def test_owners_do_not_wait_for_each_other(account: Account) -> None:
    with account.owners.engine.begin() as connection:
        usage.hold(connection, limits("other"), "size")
        account.start(1, limits())


def test_without_limits_nothing_is_compared(account: Account) -> None:
    with account.owners.engine.begin() as connection:
        # Held by somebody all the time: who asked for the lock would wait.
        usage.hold(connection, limits(), "size")
        row = account.start(10**12, None)
        account.commit(row.attempt, 10**12)
        account.create(None)
        account.create(limits(user_storage_quota=1))
