"""Random lives under limits, beside a plain model: usage is what the model says, and no limit is exceeded (I5).

The model adds up what each image of an owner uses; it knows no rows, no leases and no queries. Whatever the registry
refuses must be what the model says cannot be.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from tests.support.owners import ADMIN, LEASE, OWNER, Owners, new_id

from glance_common.model import errors
from glance_common.model.limits import Limits, Usage
from glance_common.model.status import ImageStatus
from glance_registry.images import crud
from glance_registry.images import delete as removal
from glance_registry.locations import uploads
from glance_registry.quota import usage

BOUNDS = {"user_storage_quota": 100, "image_count_total": 4, "image_count_uploading": 2}
OWNERS = ("own", "other")

sizes = st.integers(0, 70)
picks = st.integers(0, 10**6)


@dataclass
class Attempt:
    """Bytes reserved for a writer, until they are removed or committed."""

    id: str
    location: str
    size: int


@dataclass
class ModelImage:
    """``stored`` bytes are data; ``attempts`` are under way or wait for their removal."""

    id: str
    owner: str
    status: str = "queued"
    stored: int = 0
    running: Attempt | None = None
    ended: list[Attempt] = field(default_factory=list)

    def usage(self) -> Usage:
        is_there = self.status in ("queued", "saving", "active")
        unfinished = sum(attempt.size for attempt in [*self.ended, *([self.running] if self.running else [])])
        return Usage(
            size=unfinished + (self.stored if self.status == "active" else 0),
            images=int(is_there),
            uploading=int(self.status == "saving"),
        )


def has(*statuses: str) -> Callable[[Any], bool]:
    """Return the condition that there is an image in one of these statuses: rules that can do nothing are not tried."""
    return lambda lives: any(image.status in statuses for image in lives.model)


class Lives(RuleBasedStateMachine):
    """Each rule is one call of the registry; ``owners`` is set by the test."""

    owners: Owners

    def __init__(self) -> None:
        super().__init__()
        self.owners.clear()
        self.model: list[ModelImage] = []

    @rule(owner=st.sampled_from(OWNERS))
    def create(self, owner: str) -> None:
        image = ModelImage(new_id(), owner)
        values = {
            "id": image.id, "visibility": "private", "owner": owner, "properties": {}, "tags": [],
            "disk_format": "raw", "container_format": "bare",
        }
        if self._call(Usage(images=1), owner, crud.create, OWNER, new_id(), values, self._limits(owner)):
            self.model.append(image)

    @precondition(has("queued"))
    @rule(pick=picks, size=st.one_of(st.none(), sizes))
    def start(self, pick: int, size: int | None) -> None:
        if image := self._one(pick, "queued"):
            begin = uploads.Begin(new_id(), "fast", size, LEASE, ImageStatus.QUEUED, limits=self._limits(image.owner))
            row = self._call(Usage(size=size or 0, uploading=1), image.owner, uploads.start, ADMIN, image.id, begin)
            if row:
                image.status, image.running = "saving", Attempt(begin.attempt, row.id, size or 0)

    @precondition(has("saving"))
    @rule(pick=picks, more=st.integers(1, 60), step=st.integers(0, 40))
    def reserve(self, pick: int, more: int, step: int) -> None:
        if (image := self._one(pick, "saving")) and (attempt := image.running):
            least, room = attempt.size + more, BOUNDS["user_storage_quota"] - self._used(image.owner).size
            granted = self._call(
                Usage(size=more), image.owner, usage.reserve, attempt.id, least, least + step,
                self._limits(image.owner),
            )
            if granted:
                assert granted == min(least + step, attempt.size + room)
                attempt.size = granted

    @precondition(has("saving"))
    @rule(pick=picks, size=sizes)
    def commit(self, pick: int, size: int) -> None:
        if (image := self._one(pick, "saving")) and (attempt := image.running):
            content = uploads.Content(size, None, None, None, None, {})
            terms = uploads.Terms(limits=self._limits(image.owner))
            increase = Usage(size=max(size - attempt.size, 0))
            if self._call(increase, image.owner, uploads.commit, attempt.id, content, terms):
                image.status, image.running, image.stored = "active", None, size

    @precondition(has("saving", "deleted"))
    @rule(pick=picks)
    def abort(self, pick: int) -> None:
        if (image := self._one(pick, "saving", "deleted")) and image.running:
            self.owners.abort(image.running.id)
            image.ended.append(image.running)
            image.running = None
            if image.status == "saving":
                image.status = "queued"

    @precondition(has("queued", "saving", "active"))
    @rule(pick=picks)
    def delete(self, pick: int) -> None:
        if image := self._one(pick, "queued", "saving", "active"):
            # With a delay only data wait for a restore: what was never complete is to be removed soon.
            self.owners.delete(image.id, delayed=image.status == "active", scrub_time=10**6, context=ADMIN)
            image.status = "restorable" if image.status == "active" else "deleted"

    @precondition(has("restorable"))
    @rule(pick=picks)
    def restore(self, pick: int) -> None:
        if image := self._one(pick, "restorable"):
            increase = Usage(size=image.stored, images=1)
            if self._call(increase, image.owner, self._restore, image.id, self._limits(image.owner)):
                image.status = "active"

    @precondition(has("queued", "saving", "active"))
    @rule(pick=picks)
    def give(self, pick: int) -> None:
        """To the other owner; what waits for removal goes along."""
        if image := self._one(pick, "queued", "saving", "active"):
            other = OWNERS[1 - OWNERS.index(image.owner)]
            version = self.owners.image(image.id).row_version
            wanted = crud.Update(new_id(), version, {"owner": other}, self._limits(other))
            changed = self._call(image.usage(), other, crud.update, ADMIN, image.id, wanted)
            if changed:
                image.owner = other

    @rule()
    def scrub(self) -> None:
        """Leases run out, and everything that is due is removed."""
        self.owners.pass_time(2 * LEASE)
        for location in self.owners.due()[0]:
            self.owners.purge(location)
        for image in self.model:
            image.running, image.ended = None, []
            if image.status == "saving":
                image.status = "queued"

    @invariant()
    def usage_is_what_the_model_says_and_within_the_limits(self) -> None:
        for owner in OWNERS:
            used = self.owners.run(usage.of_owner, owner)
            assert used == self._used(owner)
            assert used.size <= BOUNDS["user_storage_quota"]
            assert used.images <= BOUNDS["image_count_total"]
            assert used.uploading <= BOUNDS["image_count_uploading"]

    def _call(self, increase: Usage, owner: str, work: Any, *args: Any) -> Any:
        """Return what the registry answers, None when it refuses; it refuses just when the increase does not fit."""
        used = self._used(owner)
        fits = (
            (not increase.size or used.size + increase.size <= BOUNDS["user_storage_quota"])
            and (not increase.images or used.images < BOUNDS["image_count_total"])
            and (not increase.uploading or used.uploading < BOUNDS["image_count_uploading"])
        )
        try:
            answer = self.owners.run(work, *args)
        except errors.TooLarge:
            assert not fits, "refused although there is room"
            return None
        assert fits, "accepted although there is no room"
        return answer

    def _restore(self, connection: Any, image: str, limits: Limits) -> bool:
        removal.restore(connection, ADMIN, image, new_id(), limits)
        return True

    def _used(self, owner: str) -> Usage:
        each = [image.usage() for image in self.model if image.owner == owner]
        return Usage(
            size=sum(one.size for one in each),
            images=sum(one.images for one in each),
            uploading=sum(one.uploading for one in each),
        )

    def _limits(self, owner: str) -> Limits:
        return Limits(owner, BOUNDS)

    def _one(self, pick: int, *statuses: str) -> ModelImage | None:
        found = [image for image in self.model if image.status in statuses]
        return found[pick % len(found)] if found else None


@pytest.mark.slow
def test_usage_is_exact_through_random_lives(owners: Owners) -> None:
    Lives.owners = owners
    run_state_machine_as_test(
        Lives,
        settings=settings(
            max_examples=12, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck),
            # A failed life is told as it was: making it shorter takes minutes on a real database.
            phases=[Phase.reuse, Phase.generate],
        ),
    )
