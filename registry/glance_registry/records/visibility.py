"""Who may see which image: the only place that says so, for one image and for lists.

All images are divided into arms. A caller sees an image when one of the caller's arms holds it, and at most one does.
So a list is the UNION ALL of arms, and each arm is one walk over one index (db/tables.py).

| arm | images | by id | in lists |
|---|---|---|---|
| everyone | not community | admin | admin |
| public | public | all callers | all callers |
| own | the caller's, not public; without a project: those without owner | the owner | the owner |
| ownerless | without owner, not public | all callers | as "own" of callers without a project |
| shared | shared by others with the caller as member | any member status | the asked member status |
| community | community of others | all callers | when asked for |

Rules: lifecycle section 9, API section 6.1; S-43, S-44 (a member status never reveals foreign rows), S-45
(community images of others only on demand).
"""

from dataclasses import dataclass

import sqlalchemy as sa

from glance_common.model import errors
from glance_common.model.context import RequestContext
from glance_common.model.image import BASE_VISIBILITIES, MEMBER_STATUSES
from glance_registry.db.tables import Text, images, members

Clause = sa.ColumnElement[bool]

EXISTING: Clause = images.c.status.not_in([sa.literal_column("'deleted'"), sa.literal_column("'pending_delete'")])
"""What can be seen at all: a deleted image is gone for all callers, administrators included."""

DELETED: dict[str, Clause] = {
    "no": images.c.listed,
    "only": sa.not_(EXISTING),
    "too": sa.true(),
    "restorable": sa.and_(
        sa.literal_column("images.status = 'pending_delete'", sa.Boolean),
        images.c.delayed,
        sa.literal_column("images.status_before_delete IN ('active', 'deactivated')", sa.Boolean),
    ),
}
"""Which rows a list shows: those that exist; those that were deleted; all, killed images too (changes-since,
v1 API section 7); those whose data are kept for a restore. Only the first and the last have indexes."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One part of what a caller sees in a list; ``through_members`` arms start at the members table."""

    clause: Clause
    through_members: bool = False


def kind_of(context: RequestContext) -> RequestContext:
    """Return the kind of caller: callers of one kind get the same statements, with another ``project``."""
    return RequestContext("", project_id=None if context.project_id is None else "", is_admin=context.is_admin)


def visible_to(context: RequestContext, *, deleted: bool = False) -> Clause:
    """Return the clause for the existing images that the caller may see when he names one.

    ``deleted``: as it was before they were deleted, for v1, which shows the record of deleted images.
    """
    existing = sa.true() if deleted else EXISTING
    if context.is_admin:
        return existing
    seen = [_is("public"), _own(context), _ownerless(), _is("community")]
    if context.project_id is not None:
        membership = sa.select(members.c.member).where(_shared(context)).correlate(images)
        seen.append(membership.exists())
    return sa.and_(existing, sa.or_(*seen))


def arms(context: RequestContext, visibility: str | None, member_status: str, deleted: str = "no") -> list[Arm]:
    """Return the disjoint arms of a list.

    ``visibility`` is one of the four, ``all`` (community images of others too) or None (without them);
    ``member_status`` is one of the three or ``all``, and counts only for images that others share with the caller.
    ``deleted`` is one of ``DELETED``; what is restorable is listed to its owner and to administrators only.
    """
    if deleted not in DELETED:
        raise errors.BadRequest(f"deleted must be one of {', '.join(DELETED)}")
    if visibility is not None and visibility not in (*BASE_VISIBILITIES, "all"):
        raise errors.BadRequest(f"visibility must be one of {', '.join((*BASE_VISIBILITIES, 'all'))}")
    if member_status not in (*MEMBER_STATUSES, "all"):
        raise errors.BadRequest(f"member_status must be one of {', '.join((*MEMBER_STATUSES, 'all'))}")
    if deleted == "restorable":
        chosen = [Arm(restorable_by(context))]
    else:
        chosen = _admin_arms(context, visibility) if context.is_admin else _arms(context, visibility, member_status)
    narrowed = [] if visibility is None or visibility == "all" else [_is(visibility)]
    return [Arm(sa.and_(DELETED[deleted], arm.clause, *narrowed), arm.through_members) for arm in chosen]


def restorable_by(context: RequestContext) -> Clause:
    """Return the clause for the images that the caller could restore: all or, unless an administrator, the own ones.

    An image without owner is no caller's: without a project the comparison with null is never true.
    """
    return sa.true() if context.is_admin else images.c.owner == _project(context)


def _admin_arms(context: RequestContext, visibility: str | None) -> list[Arm]:
    everyone = Arm(_is_not("community"))
    match visibility:
        case None:
            return [everyone, Arm(sa.and_(_own(context), _is("community")))]
        case "all":
            return [everyone, Arm(_is("community"))]
        case "community":
            return [Arm(_is("community"))]
        case _:
            return [everyone]


def _arms(context: RequestContext, visibility: str | None, member_status: str) -> list[Arm]:
    chosen = []
    if visibility in (None, "all", "public"):
        chosen.append(Arm(_is("public")))
    if visibility != "public":
        chosen.append(Arm(_own(context)))
    if visibility in ("all", "community"):
        chosen.append(Arm(sa.and_(_is("community"), _of_others(context))))
    if visibility in (None, "all", "shared") and context.project_id is not None:
        # One arm a status: only then each is in the order of the index.
        statuses = MEMBER_STATUSES if member_status == "all" else (member_status,)
        chosen += [
            Arm(sa.and_(_shared(context), members.c.status == sa.literal_column(f"'{status}'")), True)
            for status in statuses
        ]
    return chosen


def _project(context: RequestContext) -> sa.BindParameter[str]:
    return sa.bindparam("project", context.project_id, Text)


def _is(visibility: str) -> Clause:
    # A constant in the statement: an index of a part of the rows is used only for what is written out.
    return images.c.visibility == sa.literal_column(f"'{visibility}'")


def _is_not(visibility: str) -> Clause:
    return images.c.visibility != sa.literal_column(f"'{visibility}'")


def _own(context: RequestContext) -> Clause:
    if context.project_id is None:
        return _ownerless()
    return sa.and_(images.c.owner == _project(context), _is_not("public"))


def _ownerless() -> Clause:
    return sa.and_(images.c.owner.is_(None), _is_not("public"))


def _of_others(context: RequestContext) -> Clause:
    if context.project_id is None:
        return images.c.owner.is_not(None)
    return images.c.owner.is_distinct_from(_project(context))


def _shared(context: RequestContext) -> Clause:
    return sa.and_(
        members.c.image_id == images.c.id,
        members.c.member == _project(context),
        _is("shared"),
        _of_others(context),
    )
