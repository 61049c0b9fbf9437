"""What a caller can ask about background operations and tasks: each function is one request.

Its transactions are its own.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any, Concatenate, ParamSpec

import sqlalchemy as sa

from glance_common.failpoints import failpoint
from glance_common.model import errors
from glance_common.model.context import RequestContext
from glance_common.model.operation import Held
from glance_registry.db.replica import maybe_old
from glance_registry.db.session import read, run_transaction
from glance_registry.locations import edit, purge
from glance_registry.operations import completion, hashing, lifecycle, steps, tasks
from glance_registry.records import rows

LOG = logging.getLogger(__name__)
P = ParamSpec("P")


def edit_locations(
    engine: sa.Engine, context: RequestContext, image_id: str, wanted: edit.Edit, hashed: hashing.Hashing | None
) -> str:
    """Change locations and fields of an image in one step and return its document.

    With ``hashed`` an operation that hashes the data begins with it. Raises as ``edit.edit`` and ``hashing.begin``.
    """
    if hashed is None:
        document = run_transaction(engine, edit.edit, context, image_id, wanted)
    else:
        document = run_transaction(engine, hashing.begin, context, image_id, wanted, hashed)
    failpoint("registry.locations.after-commit")
    return document


def create(engine: sa.Engine, context: RequestContext, wanted: lifecycle.Wanted) -> tuple[dict[str, Any], bool]:
    """Make an operation; return it and whether this call made it. Raises as ``lifecycle.create``."""
    made = run_transaction(engine, lifecycle.create, context, wanted)
    failpoint("registry.operation.after-create")
    return made


def claim(
    engine: sa.Engine, wanted: lifecycle.OperationClaim, keep_house: Callable[[], None]
) -> dict[str, Any] | None:
    """Return the operation that the worker got, None without one.

    Before that a piece of the housekeeping is done, and what no worker will end any more is given up: workers ask for
    work all the time.
    """
    keep_house()
    give_up_hopeless(engine, wanted.host)
    document = run_transaction(engine, lifecycle.claim, wanted)
    failpoint("registry.operation.after-claim")
    return document


def give_up_hopeless(engine: sa.Engine, host: str) -> None:
    """Free the images of hopeless operations and of dead uploads that no scrubber reaps.

    One transaction each: the locks of several images at once could wait for each other in a circle.
    """
    for operation_id in read(engine, lifecycle.hopeless, host):
        try:
            run_transaction(engine, lifecycle.give_up, operation_id, host)
        except errors.Conflict:
            # One row that cannot be given up must not keep every worker from its work.
            LOG.exception("operation %s could not be given up", operation_id)
    for location_id in read(engine, purge.abandoned):
        run_transaction(engine, purge.give_up, location_id)


def show_life(engine: sa.Engine, host: str) -> list[str]:
    """Take a sign of life of a host; return the operations that wait for it."""
    run_transaction(engine, lifecycle.show_life, host)
    return read(engine, lifecycle.bound_to, host)


def renew(engine: sa.Engine, held: Held, lease: float, message: str | None) -> bool:
    """Hold an operation for ``lease`` more seconds; return whether it is wanted. Raises as ``lifecycle.renew``."""
    return run_transaction(engine, lifecycle.renew, held, lease, message)


def release(engine: sa.Engine, held: Held) -> None:
    """Give an operation back; raises as ``lifecycle.release``."""
    run_transaction(engine, lifecycle.release, held)
    failpoint("registry.operation.after-release")


def finish(
    engine: sa.Engine, held: Held, success: bool, message: str, result: dict[str, Any] | None
) -> dict[str, Any]:
    """End an operation and return it; raises as ``completion.finish``."""
    document = run_transaction(engine, _finish, held, success, message, result)
    failpoint("registry.operation.after-finish")
    return document


def _finish(
    connection: sa.Connection, held: Held, success: bool, message: str, result: dict[str, Any] | None
) -> dict[str, Any]:
    document = completion.finish(connection, held, success, message, result)
    failpoint("registry.operation.before-finish")
    return document


def attach(engine: sa.Engine, context: RequestContext, held: Held, image_id: str, stores: list[str]) -> str:
    """Give an operation its image and return the image's document; raises as ``lifecycle.attach``."""
    return _step(engine, context, lifecycle.attach, held, image_id, stores)


def store_failed(engine: sa.Engine, context: RequestContext, held: Held, store: str) -> str:
    """Note a store that did not get the data; return the image's document. Raises as ``steps.store_failed``."""
    return _step(engine, context, steps.store_failed, held, store)


def unstage(engine: sa.Engine, context: RequestContext, held: Held) -> str:
    """Give what is staged to purge; return the image's document. Raises as ``steps.unstage``."""
    return _step(engine, context, steps.unstage, held)


def update_image(
    engine: sa.Engine, context: RequestContext, held: Held, changes: Mapping[str, Any],
    properties: Mapping[str, str | None], largest: int,
) -> str:
    """Change the image of an operation and return its document; raises as ``steps.update``."""
    return _step(engine, context, steps.update, held, changes, properties, largest)


def _step(
    engine: sa.Engine,
    context: RequestContext,
    write: Callable[Concatenate[sa.Connection, P], str],
    *args: P.args,
    **kwargs: P.kwargs,
) -> str:
    """Run ``write``, which returns the id of the image that it wrote; return the document of that image."""

    def work(connection: sa.Connection) -> str:
        return rows.document(connection, context, write(connection, *args, **kwargs))

    document = run_transaction(engine, work)
    failpoint("registry.operation.after-step")
    return document


def list_tasks(engine: sa.Engine, context: RequestContext, query: tasks.TaskQuery) -> list[dict[str, Any]]:
    """Return a page of tasks; raises as ``tasks.list_tasks``."""
    return maybe_old(engine, lambda chosen: read(chosen, tasks.list_tasks, context, query))


def show_task(engine: sa.Engine, context: RequestContext, operation_id: str) -> dict[str, Any]:
    """Return one task; raises as ``tasks.get``."""
    return read(engine, tasks.get, context, operation_id)


def tasks_of_image(
    engine: sa.Engine, context: RequestContext, image_id: str, largest: int
) -> list[dict[str, Any]]:
    """Return the tasks of one image; raises as ``tasks.of_image``."""
    return read(engine, tasks.of_image, context, image_id, largest)
