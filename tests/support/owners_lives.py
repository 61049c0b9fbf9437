"""Random lives of images, bytes, writers and removers, on the real database with a make-believe store.

Writers and removers may be stopped at any moment and wake up much later, up to ``ZOMBIE`` seconds after their lease
began: that is the longest that a tombstone's late passes wait for. Whatever happens, no byte may change that belongs to
an image, and in the end nothing may be left that does not.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from glance_common.model import errors
from glance_common.model.operation import Held
from glance_common.model.status import ImageStatus
from glance_registry.locations import purge
from glance_registry.locations.purge import LATE_PASS_DELAYS
from tests.support.owners import LEASE, MOST_OF_LEASE, Owners, new_id

ZOMBIE = 24 * 3600
STORES = ("fast", "slow")
DATA = ("active", "deactivated")
OVER = ("reaping", "deleting", "deleted", "failed")
ON_FAIL = (*[ImageStatus.QUEUED] * 5, ImageStatus.KILLED)

T = TypeVar("T")


@dataclass
class Writer:
    """An uploader as it sees itself; ``can_write`` until it was told that it is over, or gave up itself."""

    attempt: str
    location: str
    store: str
    key: str
    since: float
    can_write: bool = True
    operation: Held | None = None
    """In whose name it writes, when a background operation does."""


@dataclass
class Remover:
    """A process that was given a claim."""

    location: str
    token: str
    store: str
    key: str
    since: float


class Lives:
    """Every action is one call of a client or a worker; the registry may refuse it, but must stay right."""

    def __init__(self, owners: Owners, chance: random.Random) -> None:
        self.owners = owners
        self.chance = chance
        self.trace: list[str] = []
        self.clock = 0.0
        self.statuses: dict[str, str] = {}
        self.rows: list[Any] = []
        self.writers: list[Writer] = []
        self.removers: list[Remover] = []
        self.over: set[str] = set()
        self.bytes: dict[tuple[str, str], str] = {}
        """What is in the stores: which attempt wrote it."""

    def run(self, steps: int) -> None:
        """Do random things and look after each whether everything still holds; then let everything come to its end."""
        weights, functions = zip(*self.actions(), strict=True)
        for action in self.chance.choices(functions, weights, k=steps):
            self.trace.append(action.__name__)
            action()
            self.check()
        self.come_to_rest()

    def actions(self) -> list[tuple[int, Callable[[], None]]]:
        """Return what may happen, each with how often among the others."""
        return [
            (10, self.create), (14, self.start), (3, self.renew), (3, self.write), (6, self.write_and_commit),
            (4, self.abort), (2, self.delete), (2, self.restore), (3, self.claim), (12, self.claim_due),
            (3, self.remove), (8, self.remove_and_finish), (3, self.fail), (2, self.give_back),
            (3, self.replay), (4, self.let_leases_run_out), (3, self.wait),
        ]

    # What people and programs do.

    def create(self) -> None:
        if "queued" not in self.statuses.values():
            self.owners.create()

    def start(self) -> None:
        queued = [image for image, status in self.statuses.items() if status == "queued"]
        if image := self._pick(queued):
            row = self.owners.start(image, store=self.chance.choice(STORES), on_fail=self.chance.choice(ON_FAIL))
            self.writers.append(Writer(row.attempt, row.id, row.store, row.key, self.clock))

    def renew(self) -> None:
        writer = self._pick(self._writing())
        if writer and self._try(self._renew, writer) is None:
            writer.can_write = False

    def write(self) -> None:
        """Its bytes appear under the key, unless there are some: stores never overwrite."""
        if writer := self._pick(self._writing()):
            self.bytes.setdefault((writer.store, writer.key), writer.attempt)

    def write_and_commit(self) -> None:
        """As an uploader that nothing disturbs, or one that was stopped before."""
        if writer := self._pick(self._writing()):
            if self.bytes.setdefault((writer.store, writer.key), writer.attempt) != writer.attempt:
                self._abort(writer)
            else:
                self._try(self.commit, writer)
                writer.can_write = False

    def commit(self, writer: Writer) -> None:
        self.owners.commit(writer.attempt)

    def abort(self) -> None:
        if writer := self._pick(self.writers):
            self._abort(writer)

    def delete(self) -> None:
        visible = [image for image, status in self.statuses.items() if status not in ("deleted", "pending_delete")]
        if image := self._pick(visible):
            scrub_time = self.chance.choice([0, 600])
            self._try(self.owners.delete, image, delayed=self.chance.random() < 0.5, scrub_time=scrub_time)

    def restore(self) -> None:
        deleted = [image for image, status in self.statuses.items() if status == "pending_delete"]
        if image := self._pick(deleted):
            self._try(self.owners.restore, image)

    def claim(self) -> None:
        """Claim any location, due or not: the registry refuses what is not."""
        if row := self._pick(self.rows):
            was_given = self._claim(row.id)
            assert not (was_given and row.is_held), "nobody takes what another holds"

    def claim_due(self) -> None:
        if location := self._pick(self.owners.due()[0]):
            assert self._claim(location), "what is listed as due can be claimed"

    def remove(self) -> None:
        """A remover deletes, also one whose lease is long over."""
        if remover := self._pick(self._removing()):
            self.bytes.pop((remover.store, remover.key), None)

    def remove_and_finish(self) -> None:
        if remover := self._pick(self._removing()):
            self.bytes.pop((remover.store, remover.key), None)
            self._try(self.owners.done, remover.location, remover.token)
            self.removers.remove(remover)

    def fail(self) -> None:
        if remover := self._pick(self._removing()):
            allowed = self.chance.randint(1, 3)
            self._try(self.owners.retry, remover.location, remover.token, delay=100, max_attempts=allowed)
            self.removers.remove(remover)

    def give_back(self) -> None:
        """A remover that has claimed more than it gets to."""
        if remover := self._pick(self._removing()):
            self.owners.run(purge.release, [remover.location], remover.token)
            self.removers.remove(remover)

    def replay(self) -> None:
        if row := self._pick([row for row in self.rows if row.status == "failed"]):
            self.owners.replay(row.id)

    def let_leases_run_out(self) -> None:
        self._wait(LEASE + 5)

    def wait(self) -> None:
        self._wait(self.chance.choice([MOST_OF_LEASE, 700, 3605, 23 * 3600 + 5]))

    # What must hold whatever they do.

    def check(self) -> None:
        self._look()
        self._check_states()
        self._check_bytes()
        self._check_deadlines()

    def _check_states(self) -> None:
        for image, status in self.statuses.items():
            rows = [row.status for row in self.rows if row.image_id == image]
            assert rows.count("active") == (1 if status in DATA else 0)
            assert rows.count("writing") == (1 if status == "saving" else 0)
            if status == "deleted":
                assert set(rows) <= {"deleted"}
            if status == "pending_delete":
                assert set(rows) - {"deleted"}
        for row in self.rows:
            if row.status in OVER:
                self.over.add(row.id)
            assert row.id not in self.over or row.status in OVER, "what is over stays over"

    def _check_bytes(self) -> None:
        for row in self.rows:
            is_restorable = row.status == "pending_delete" and row.on_fail is None
            if row.status in ("active", "staged") or is_restorable:
                assert self.bytes.get((row.store, row.key)) == row.attempt, "data of an image changed"
        taken = [(row.store, row.key) for row in self.rows if row.status != "deleted" or row.late_passes]
        assert len(taken) == len(set(taken)), "a key has two owners"
        assert set(self.bytes) <= set(taken), "bytes without an owner"

    def _check_deadlines(self) -> None:
        for row in self.rows:
            is_late = row.status == "deleted" and row.late_passes > 0
            if row.status == "writing":
                assert row.lease_until is not None
            if is_late or row.status in ("pending_delete", "deleting", "reaping"):
                assert row.lease_until is not None or row.not_before is not None

    def come_to_rest(self) -> None:
        """All stopped ones are gone for good; scrubbers then finish everything that is due, and nothing is left."""
        for _ in range(len(LATE_PASS_DELAYS) + 2):
            self._wait(ZOMBIE)
            self.end_background_work()
            for row in self.owners.failed():
                self.owners.replay(row["location"])
            for location in self.owners.due()[0]:
                claim = self.owners.claim(location)
                self.bytes.pop((claim["store"], claim["key"]), None)
                self.owners.done(location, claim["token"])
        self.check()
        assert not {"saving", "importing", "pending_delete"} & set(self.statuses.values())
        assert {row.status for row in self.rows} <= {"active", "staged", "deleted"}
        assert set(self.bytes) == {(row.store, row.key) for row in self.rows if row.status != "deleted"}

    def end_background_work(self) -> None:
        """Do nothing: there is no background work here."""

    def _look(self) -> None:
        self.statuses, self.rows = self.owners.everything()

    def _wait(self, seconds: float) -> None:
        self.owners.pass_time(seconds)
        self.clock += seconds

    def _writing(self) -> list[Writer]:
        return [writer for writer in self.writers if writer.can_write and self._is_alive(writer.since)]

    def _removing(self) -> list[Remover]:
        return [remover for remover in self.removers if self._is_alive(remover.since)]

    def _renew(self, writer: Writer) -> bool:
        self.owners.renew_upload(writer.attempt)
        writer.since = self.clock
        return True

    def _abort(self, writer: Writer) -> None:
        writer.can_write = False
        claim = self._try(self.owners.abort, writer.attempt)
        if claim is not None:
            self._remember(claim)

    def _claim(self, location: str) -> bool:
        claim = self._try(self.owners.claim, location, new_id())
        if claim is not None:
            self._remember(claim)
        return claim is not None

    def _remember(self, claim: dict[str, Any]) -> None:
        if any(remover.token == claim["token"] for remover in self.removers):
            # An abort that is repeated gets the same answer: its caller is still the same remover.
            return
        self.removers.append(
            Remover(claim["location"], claim["token"], claim["store"], claim["key"], self.clock)
        )

    def _is_alive(self, since: float) -> bool:
        return self.clock - since < ZOMBIE

    def _pick(self, choices: Sequence[T]) -> T | None:
        return self.chance.choice(choices) if choices else None

    def _try(self, call: Any, *args: Any, **kwargs: Any) -> Any:
        """Return what the registry answers, None when it refuses for a reason that a user or a state gives."""
        try:
            return call(*args, **kwargs)
        except (errors.Conflict, errors.Gone, errors.NotFound):
            return None
