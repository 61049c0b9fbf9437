"""Random lives with imports in them: staged data, operations, workers that die and come back."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from glance_common.model.operation import PATIENCE, Held
from glance_common.model.status import ImageStatus
from glance_registry.db.tables import operations as operation_rows
from glance_registry.operations import steps
from tests.support.owners import LEASE, Owners, new_id
from tests.support.owners_imports import HOST, Imports
from tests.support.owners_lives import DATA, STORES, Lives, Writer

ON_FAIL = ("queued", "queued", "killed", "delete")
HOSTS = (HOST, "there")
STAGING = "staging"


@dataclass
class Worker:
    """A worker that claimed an operation, and may have lost it since."""

    held: Held
    image: str


class ImportLives(Lives):
    """Everything of ``Lives``, and what imports do beside it."""

    def __init__(self, owners: Owners, chance: random.Random) -> None:
        super().__init__(owners, chance)
        self.imports = Imports(owners)
        self.workers: list[Worker] = []
        self.operations: list[Any] = []

    def actions(self) -> list[tuple[int, Callable[[], None]]]:
        return [
            *super().actions(), (8, self.stage), (10, self.import_data), (4, self.copy_image), (12, self.claim_work),
            (12, self.work), (3, self.stage_for_work), (2, self.unstage), (4, self.renew_work), (8, self.finish_work),
            (1, self.lose_host),
        ]

    # What people and programs do.

    def stage(self) -> None:
        if image := self._pick(self._in("queued")):
            self._begin(image, STAGING, None)

    def import_data(self) -> None:
        if image := self._pick(self._in("queued", "uploading")):
            host = self.chance.choice((None, *HOSTS))
            self._try(self.imports.create, image, host=host, on_fail=self.chance.choice(ON_FAIL), stores=STORES)

    def copy_image(self) -> None:
        if image := self._pick(self._in(*DATA)):
            allowed = (ImageStatus.ACTIVE, ImageStatus.DEACTIVATED)
            self._try(self.imports.create, image, allowed=allowed, image_status=None, stores=STORES)

    def claim_work(self) -> None:
        found = self.imports.claim(token := new_id(), host=self.chance.choice(HOSTS))
        if found is not None:
            self.workers.append(Worker(Held(found["id"], token), found["image_id"]))

    def work(self) -> None:
        """Begin to write a copy; a writer goes on with it."""
        if worker := self._pick(self.workers):
            self._begin(worker.image, self.chance.choice(STORES), worker.held)

    def stage_for_work(self) -> None:
        if worker := self._pick(self.workers):
            self._begin(worker.image, STAGING, worker.held)

    def unstage(self) -> None:
        if worker := self._pick(self.workers):
            self._try(self.owners.run, steps.unstage, worker.held)

    def renew_work(self) -> None:
        worker = self._pick(self.workers)
        if worker and not self._try(self.imports.renew, worker.held):
            self.workers.remove(worker)

    def finish_work(self) -> None:
        if worker := self._pick(self.workers):
            self._try(self.imports.finish, worker.held, self.chance.random() < 0.7)

    def lose_host(self) -> None:
        self._wait(PATIENCE + 1)

    def commit(self, writer: Writer) -> None:
        terms = {"operation": writer.operation, "activate": self.chance.random() < 0.3} if writer.operation else {}
        self.owners.commit(writer.attempt, **terms)

    def _begin(self, image: str, store: str, held: Held | None) -> None:
        row = self._try(self.owners.start, image, store=store, staging=store == STAGING, operation=held)
        if row is not None:
            self.writers.append(Writer(row.attempt, row.id, row.store, row.key, self.clock, operation=held))

    def _in(self, *statuses: str) -> list[str]:
        return [image for image, status in self.statuses.items() if status in statuses]

    # What must hold whatever they do.

    def _look(self) -> None:
        super()._look()
        with self.owners.engine.connect() as connection:
            self.operations = list(connection.execute(sa.select(operation_rows)))

    def _check_states(self) -> None:
        live = {row.image_id: row for row in self.operations if row.status in ("pending", "processing")}
        assert len(live) == sum(row.status in ("pending", "processing") for row in self.operations)
        for image, status in self.statuses.items():
            self._check_image(image, status, live.get(image))
        for row in self.rows:
            is_lent = row.operation is not None and row.status == "active"
            assert not is_lent or row.operation == live[row.image_id].id, "lent to work that is over"
        for row in self.operations:
            assert (row.expires_at is None) is (row.status in ("pending", "processing"))

    def _check_image(self, image: str, status: str, operation: Any) -> None:
        rows = [row for row in self.rows if row.image_id == image]
        kept = [row for row in rows if row.status == "active" and row.operation is None]
        assert bool(kept) is (status in DATA), "data without image, or image without data"
        plain = [row for row in rows if row.status == "writing" and row.operation is None]
        assert len(plain) == (1 if status == "saving" else 0) or (status == "uploading" and plain[0].staging)
        staged = [row for row in rows if row.status == "staged"]
        if status == "uploading":
            assert len(staged) + len(plain) == 1
        else:
            assert not staged or operation is not None, "staged for nobody"
        if status == "importing":
            assert operation is not None, "nobody works on it, for ever"
        if operation is not None:
            assert status in ("importing", *DATA)
        if status == "deleted":
            assert {row.status for row in rows} <= {"deleted"}

    def end_background_work(self) -> None:
        """The hosts are up again and finish what they find."""
        for host in HOSTS:
            while (found := self.imports.claim(token := new_id(), host=host, lease=LEASE)) is not None:
                self.imports.finish(Held(found["id"], token), success=False)
