"""What a caller can ask about images, members and tags: each function is one request, in transactions of its own."""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from glance_common.failpoints import failpoint
from glance_common.model.context import RequestContext
from glance_common.model.limits import Limits
from glance_common.model.status import ImageStatus
from glance_registry.db.replica import maybe_old
from glance_registry.db.session import read, read_prepared, run_alone, run_transaction
from glance_registry.images import cached_copies, crud, listing, members, merging, tags
from glance_registry.images import delete as hiding
from glance_registry.records import rows, sizes


def search(engine: sa.Engine, context: RequestContext, query: listing.ListingQuery, largest: int) -> listing.Page:
    """Return a page of images of at most ``largest`` bytes; raises as ``listing.list_images``."""
    return maybe_old(engine, lambda chosen: read_prepared(chosen, listing.list_images, context, query, largest))


def create(
    engine: sa.Engine, context: RequestContext, attempt: str, values: Mapping[str, Any], limits: Limits | None,
    largest: int,
) -> tuple[str, bool]:
    """Make an image; return its document and whether this attempt made it now.

    Raises as ``crud.create``, and TooLarge for a document of more than ``largest`` bytes.
    """
    sizes.check_new(values, largest)
    if limits is None:
        # Without limits there is one statement.
        made = run_alone(engine, crud.create, None, context, attempt, values)
    else:
        made = run_transaction(engine, crud.create, context, attempt, values, limits)
    failpoint("registry.create.after-commit")
    return made


def show(engine: sa.Engine, context: RequestContext, image_id: str, *, locations: bool, deleted: bool) -> str:
    """Return the document of a visible image; raises as ``crud.get``."""
    return read_prepared(engine, crud.get, context, image_id, locations=locations, deleted=deleted)


def update(engine: sa.Engine, context: RequestContext, image_id: str, wanted: crud.Update) -> str:
    """Change columns of an image and return its document; raises as ``crud.update``."""
    document = run_transaction(engine, crud.update, context, image_id, wanted)
    failpoint("registry.update.after-commit")
    return document


def merge(engine: sa.Engine, context: RequestContext, image_id: str, change: merging.Merge) -> str:
    """Change an image as it is now and return its document; raises as ``merging.merge``."""
    document = run_transaction(engine, merging.merge, context, image_id, change)
    failpoint("registry.update.after-commit")
    return document


def set_status(
    engine: sa.Engine, context: RequestContext, image_id: str, attempt: str, sources: list[ImageStatus],
    target: ImageStatus,
) -> str:
    """Take an image from one of ``sources`` to ``target``; raises as ``crud.set_status``."""
    document = run_transaction(engine, crud.set_status, context, image_id, attempt, sources, target)
    failpoint("registry.update.after-commit")
    return document


def delete(engine: sa.Engine, context: RequestContext, image_id: str, asked: hiding.Delete) -> list[str]:
    """Hide an image; return the locations that are due for purge now. Raises as ``delete.delete``."""
    due = run_alone(engine, _delete_empty, hiding.delete, context, image_id, asked)
    failpoint("registry.delete.after-commit")
    return due


def _delete_empty(
    connection: sa.Connection, context: RequestContext, image_id: str, asked: hiding.Delete
) -> list[str] | None:
    return [] if hiding.delete_empty(connection, context, image_id, asked) else None


def restore(engine: sa.Engine, context: RequestContext, image_id: str, attempt: str, limits: Limits | None) -> str:
    """Bring a deleted image back and return its document; raises as ``delete.restore``."""
    document = run_transaction(engine, _restore, context, image_id, attempt, limits)
    failpoint("registry.restore.after-commit")
    return document


def _restore(
    connection: sa.Connection, context: RequestContext, image_id: str, attempt: str, limits: Limits | None
) -> str:
    hiding.restore(connection, context, image_id, attempt, limits)
    return rows.document(connection, context, image_id)


def add_tag(
    engine: sa.Engine, context: RequestContext, image_id: str, attempt: str, tag: str, room: tags.Room
) -> str:
    """Put a tag on an image and return its document; raises as ``tags.add_tag``."""
    document = run_transaction(engine, tags.add_tag, context, image_id, attempt, tag, room)
    failpoint("registry.update.after-commit")
    return document


def remove_tag(engine: sa.Engine, context: RequestContext, image_id: str, attempt: str, tag: str) -> str:
    """Take a tag off an image and return its document; raises as ``tags.remove_tag``."""
    document = run_transaction(engine, tags.remove_tag, context, image_id, attempt, tag)
    failpoint("registry.update.after-commit")
    return document


def list_members(engine: sa.Engine, context: RequestContext, image_id: str) -> list[dict[str, Any]]:
    """Return the members that the caller may see; raises as ``members.list_members``."""
    return read(engine, members.list_members, context, image_id)


def show_member(engine: sa.Engine, context: RequestContext, image_id: str, member: str) -> dict[str, Any]:
    """Return one member; raises as ``members.get``."""
    return read(engine, members.get, context, image_id, member)


def shared_with(
    engine: sa.Engine, context: RequestContext, member: str, page: members.SharedPage | None = None
) -> list[dict[str, Any]]:
    """Return the memberships of a project that the caller may see."""
    return maybe_old(engine, lambda chosen: read(chosen, members.shared_with, context, member, page))


def add_member(
    engine: sa.Engine, context: RequestContext, image_id: str, attempt: str, member: str, quota: int
) -> dict[str, Any]:
    """Share an image with a project and return the member; raises as ``members.add``."""
    added = run_transaction(engine, members.add, context, image_id, attempt, member, quota)
    failpoint("registry.members.after-commit")
    return added


def share(
    engine: sa.Engine, context: RequestContext, image_id: str, wanted: Mapping[str, bool | None], only: bool,
    quota: int,
) -> list[dict[str, Any]]:
    """Share an image with several projects and return its members; raises as ``members.share``."""
    found = run_transaction(engine, members.share, context, image_id, wanted, only, quota)
    failpoint("registry.members.after-commit")
    return found


def set_member_status(
    engine: sa.Engine, context: RequestContext, image_id: str, member: str, status: str
) -> dict[str, Any]:
    """Change the status of a membership and return the member; raises as ``members.set_status``."""
    changed = run_transaction(engine, members.set_status, context, image_id, member, status)
    failpoint("registry.members.after-commit")
    return changed


def remove_member(engine: sa.Engine, context: RequestContext, image_id: str, attempt: str, member: str) -> None:
    """Stop sharing an image with a project; raises as ``members.remove``."""
    run_transaction(engine, members.remove, context, image_id, attempt, member)
    failpoint("registry.members.after-commit")


def cached_of_node(engine: sa.Engine, node: str, image_id: str | None) -> list[dict[str, Any]]:
    """Return the copies in the cache of a node, or the one of an image."""
    return read(engine, cached_copies.of_node, node, image_id)


def cached_nodes(engine: sa.Engine, image_id: str) -> list[str]:
    """Return the nodes that have a copy of an image in their cache."""
    return list(read(engine, cached_copies.nodes, image_id))


def put_cached(engine: sa.Engine, node: str, image_id: str, values: Mapping[str, Any]) -> None:
    """Write that a node has a copy of an image."""
    run_transaction(engine, cached_copies.put, node, image_id, values)


def remove_cached(engine: sa.Engine, node: str, image_id: str) -> None:
    """Forget that a node has a copy of an image."""
    run_transaction(engine, cached_copies.remove, node, image_id)


def count_cached(engine: sa.Engine, node: str, uses: Sequence[tuple[str, int, float]]) -> list[str]:
    """Add uses to the copies of a node; return the images of which it has none."""
    return run_transaction(engine, cached_copies.count, node, uses)
