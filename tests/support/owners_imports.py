"""The registry's transitions of operations and staged data, called directly on a real database."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from glance_common.model.context import RequestContext
from glance_common.model.limits import Limits
from glance_common.model.operation import PATIENCE, Held
from glance_common.model.status import ImageStatus
from glance_registry.db.tables import operations as operation_rows
from glance_registry.operations import completion, lifecycle, use_cases
from tests.support.owners import LEASE, OWNER, Owners, new_id

HOST = "here"


class Imports:
    """One call is one transaction, as in the use cases; ``owners`` are the transitions of bytes beside it."""

    def __init__(self, owners: Owners) -> None:
        self.owners = owners

    def create(
        self, image: str | None, operation: str | None = None, *, context: RequestContext = OWNER,
        stores: tuple[str, ...] = (), allowed: tuple[ImageStatus, ...] = (ImageStatus.QUEUED, ImageStatus.UPLOADING),
        image_status: ImageStatus | None = ImageStatus.IMPORTING, limits: Limits | None = None, **values: Any,
    ) -> str:
        """Make an operation; return its id. ``values`` change columns."""
        row = {"kind": "api_image_import", "input": {}, "ttl": 48, "host": None, "on_fail": "queued", "message": "",
               "patience": PATIENCE}
        wanted = lifecycle.Wanted(
            operation or new_id(), image, {**row, **values}, list(stores), list(allowed), image_status, limits
        )
        made: tuple[dict[str, Any], bool] = self.owners.run(lifecycle.create, context, wanted)
        return str(made[0]["id"])

    def copying(self, image: str, **values: Any) -> Held:
        """Make and claim a copy of an image with data."""
        self.create(image, allowed=(ImageStatus.ACTIVE, ImageStatus.DEACTIVATED), image_status=None, **values)
        return self.claimed()

    def claim(self, token: str | None = None, *, host: str = HOST, lease: float = LEASE) -> dict[str, Any] | None:
        asked = lifecycle.OperationClaim(token or new_id(), host, lease)
        return use_cases.claim(self.owners.engine, asked, lambda: None)

    def claimed(self, **options: Any) -> Held:
        token = new_id()
        found = self.claim(token, **options)
        assert found is not None, "nothing to claim"
        return Held(found["id"], token)

    def begun(self, image: str | None = None, **options: Any) -> Held:
        """Make an operation and claim it."""
        self.create(image or self.owners.create(), **options)
        return self.claimed()

    def attach(self, held: Held, image: str) -> str:
        return str(self.owners.run(lifecycle.attach, held, image, []))

    def renew(self, held: Held, message: str | None = None, lease: float = LEASE) -> bool:
        return bool(self.owners.run(lifecycle.renew, held, lease, message))

    def alive(self, host: str) -> None:
        self.owners.run(lifecycle.show_life, host)

    def copy(self, image: str, held: Held, store: str = "fast", *, activate: bool = False, size: int = 7) -> str:
        """Write and commit one copy; return the id of its location."""
        row = self.owners.start(image, store=store, operation=held)
        self.owners.commit(row.attempt, size, operation=held, activate=activate)
        return str(row.id)

    def stage(self, image: str, host: str | None = None) -> str:
        """Stage data of a queued image; return the id of the location."""
        row = self.owners.start(image, store="staging", staging=True)
        self.owners.commit(row.attempt, stage_host=host)
        return str(row.id)

    def finish(self, held: Held, success: bool = True, message: str = "over") -> dict[str, Any]:
        ended: dict[str, Any] = self.owners.run(completion.finish, held, success, message, None)
        return ended

    def row(self, operation: str) -> sa.Row[Any]:
        with self.owners.engine.connect() as connection:
            return connection.execute(sa.select(operation_rows).where(operation_rows.c.id == operation)).one()

    def status(self, operation: str) -> str:
        return str(self.row(operation).status)

    def begun_without_image(self, **values: Any) -> Held:
        """Make and claim an operation that is to make its image itself."""
        self.create(None, **values)
        return self.claimed()
