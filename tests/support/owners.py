"""The registry's transitions of bytes, called directly on a real database; time passes by moving the rows back."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import sqlalchemy as sa

from glance_common.model.context import RequestContext, system_context
from glance_common.model.limits import Limits
from glance_common.model.operation import Held
from glance_common.model.status import ImageStatus
from glance_registry.db.session import run_transaction
from glance_registry.db.tables import images as image_rows
from glance_registry.db.tables import locations as location_rows
from glance_registry.db.tables import operations as operation_rows
from glance_registry.images import delete as removal
from glance_registry.images import use_cases as image_use_cases
from glance_registry.locations import purge as deletions
from glance_registry.locations import uploads, use_cases

OWNER = RequestContext(request_id="req-owner", user_id="u", project_id="own")
ADMIN = system_context("req-admin")
LEASE = 60
MOST_OF_LEASE = 40
"""Seconds that twice are more than a lease, and once leave a machine that stands still the rest of it."""

_TIMES = (
    (location_rows, ("lease_until", "not_before", "deleted_at")),
    (image_rows, ("deleted_at",)),
    (operation_rows, ("lease_until", "deadline", "expires_at")),
)


def new_id() -> str:
    return str(uuid4())


class Owners:
    """One call is one transaction, as in the use cases."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine

    def run(self, work: Any, *args: Any, **kwargs: Any) -> Any:
        return run_transaction(self.engine, work, *args, **kwargs)

    def create(self, **values: Any) -> str:
        """Make a queued image that can take data; ``values`` change or add columns."""
        row = {
            "id": new_id(), "name": "i", "status": "queued", "owner": "own", "visibility": "private",
            "disk_format": "raw", "container_format": "bare", "create_attempt": new_id(), **values,
        }
        with self.engine.begin() as connection:
            connection.execute(sa.insert(image_rows).values(row))
        return str(row["id"])

    def start(
        self, image: str, attempt: str | None = None, *, store: str = "fast", size: int | None = None,
        lease: float = LEASE, on_fail: ImageStatus = ImageStatus.QUEUED, context: RequestContext = OWNER,
        staging: bool = False, operation: Held | None = None,
    ) -> sa.Row[Any]:
        begin = uploads.Begin(attempt or new_id(), store, size, lease, on_fail, staging, operation)
        row: sa.Row[Any] = self.run(uploads.start, context, image, begin)
        return row

    def renew_upload(self, attempt: str, lease: float = LEASE) -> None:
        self.run(uploads.renew, attempt, lease)

    def commit(self, attempt: str, size: int = 7, key: str | None = None, **terms: Any) -> str:
        content = uploads.Content(size, "c" * 32, "sha512", "h" * 128, 2 * size, {"place": "/a"}, key)
        image: str = self.run(uploads.commit, attempt, content, uploads.Terms(**terms))
        return image

    def abort(self, attempt: str, error: str = "broken", lease: float = LEASE) -> dict[str, Any] | None:
        claim: dict[str, Any] | None = self.run(uploads.abort, attempt, lease, error)
        return claim

    def upload(self, image: str, **options: Any) -> str:
        """Start and commit; return the id of the location."""
        row = self.start(image, **options)
        self.commit(row.attempt)
        return str(row.id)

    def active(self, **values: Any) -> tuple[str, str]:
        """Return the ids of a new active image and its location."""
        image = self.create(**values)
        return image, self.upload(image)

    def delete(
        self, image: str, attempt: str | None = None, *, delayed: bool = False, scrub_time: float = 0,
        context: RequestContext = OWNER,
    ) -> list[str]:
        asked = removal.Delete(attempt or new_id(), delayed, scrub_time)
        return image_use_cases.delete(self.engine, context, image, asked)

    def restore(
        self, image: str, attempt: str | None = None, *, context: RequestContext = ADMIN, limits: Limits | None = None
    ) -> None:
        self.run(removal.restore, context, image, attempt or new_id(), limits)

    def due(self, limit: int = 100, stores: list[str] | None = None, scrub_time: float = 0) -> tuple[list[str], float]:
        found: tuple[list[str], float] = self.run(deletions.due, limit, stores, scrub_time)
        return found

    def claim(
        self, location: str, token: str | None = None, *, lease: float = LEASE, stores: list[str] | None = None,
        scrub_time: float = 0,
    ) -> dict[str, Any]:
        wanted = deletions.PurgeClaim(token or new_id(), lease, stores, scrub_time)
        return use_cases.claim(self.engine, location, wanted)

    def claim_many(
        self, ids: list[str], token: str | None = None, *, lease: float = LEASE, stores: list[str] | None = None
    ) -> tuple[list[dict[str, Any]], list[str]]:
        return use_cases.claim_many(self.engine, ids, deletions.PurgeClaim(token or new_id(), lease, stores, 0))

    def done_many(self, ids: list[str], token: str) -> list[str]:
        return use_cases.done_many(self.engine, ids, token)

    def renew_claim(self, location: str, token: str, lease: float = LEASE) -> None:
        self.run(deletions.renew, location, token, lease)

    def done(self, location: str, token: str) -> bool:
        return use_cases.done(self.engine, location, token)

    def purge(self, location: str) -> bool:
        """Claim and done; return whether the image is deleted with it."""
        return self.done(location, self.claim(location)["token"])

    def retry(self, location: str, token: str, *, delay: float = 30, max_attempts: int = 3) -> tuple[str, int]:
        answer: tuple[str, int] = self.run(
            deletions.retry, location, token, deletions.Failure("disk on fire", delay, max_attempts)
        )
        return answer

    def failed(self, limit: int = 100, marker: str | None = None) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.run(deletions.failed, limit, marker)
        return rows

    def replay(self, location: str, attempt: str | None = None) -> dict[str, Any]:
        row: dict[str, Any] = self.run(deletions.replay, location, attempt or new_id())
        return row

    def image(self, image: str) -> sa.Row[Any]:
        return self._one(image_rows, image)

    def location(self, location: str) -> sa.Row[Any]:
        return self._one(location_rows, location)

    def locations(self, image: str) -> list[sa.Row[Any]]:
        with self.engine.connect() as connection:
            select = sa.select(location_rows).where(location_rows.c.image_id == image)
            return list(connection.execute(select.order_by(location_rows.c.position)))

    def everything(self) -> tuple[dict[str, str], list[sa.Row[Any]]]:
        """Return the status of every image, oldest first, and every location, with ``is_held`` for a running lease."""
        with self.engine.connect() as connection:
            rows = connection.execute(sa.select(image_rows).order_by(image_rows.c.created_at, image_rows.c.id))
            statuses = {row.id: row.status for row in rows}
            is_held = (location_rows.c.lease_until > sa.func.now()).label("is_held")
            select = sa.select(location_rows, is_held).order_by(location_rows.c.position)
            return statuses, list(connection.execute(select))

    def statuses(self, image: str) -> tuple[str, list[str]]:
        """Return the status of the image and those of its locations."""
        return self.image(image).status, [row.status for row in self.locations(image)]

    def pass_time(self, seconds: float) -> None:
        """Make everything that was written down ``seconds`` older: the database's clock itself cannot be moved."""
        interval = sa.func.make_interval(0, 0, 0, 0, 0, 0, seconds)
        with self.engine.begin() as connection:
            for table, names in _TIMES:
                connection.execute(sa.update(table).values({name: table.c[name] - interval for name in names}))

    def set_status(self, image: str, status: str) -> None:
        """Write a status that another part of the service sets."""
        with self.engine.begin() as connection:
            connection.execute(sa.update(image_rows).where(image_rows.c.id == image).values(status=status))

    def add_copy(self, image: str, store: str, **values: Any) -> str:
        """Give an image one more location, active unless ``values`` say something else."""
        row = {
            "id": new_id(), "image_id": image, "store": store, "key": image, "status": "active", "attempt": new_id(),
            **values,
        }
        with self.engine.begin() as connection:
            connection.execute(sa.insert(location_rows).values(row))
        return str(row["id"])

    def clear(self) -> None:
        """Remove every row."""
        with self.engine.begin() as connection:
            tables = "images, members, locations, operations, store_identities, store_runs, orphans"
            connection.execute(sa.text(f"TRUNCATE {tables}"))

    def _one(self, table: sa.Table, identifier: str) -> sa.Row[Any]:
        with self.engine.connect() as connection:
            return connection.execute(sa.select(table).where(table.c.id == identifier)).one()
