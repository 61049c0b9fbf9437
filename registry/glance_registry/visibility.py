"""Who may see which image: the only place that says so, for one image and for lists.

The images of the world are cut into arms. An image belongs to a caller's view when one of his arms holds it, and to at
most one of them, so that a list is the UNION ALL of arms and each arm is one walk over one index (db/tables.py).

| arm | images | by id | in lists |
|---|---|---|---|
| everyone | not community | admin | admin |
| public | public | everybody | everybody |
| own | the caller's, not public; without a project: those without owner | the owner | the owner |
| ownerless | without owner, not public | everybody | as "own" of callers without a project |
| shared | shared by others with the caller as member | any member status | the asked member status |
| community | community of others | everybody | when asked for |

Rules: lifecycle 9, images API 6.1 of the specification; S-43, S-44 (a member status never reveals foreign rows), S-45
(community images of others only on demand).
"""

from dataclasses import dataclass

import sqlalchemy as sa

from glance_common import errors
from glance_common.context import RequestContext
from glance_common.image import BASE_VISIBILITIES, MEMBER_STATUSES
from glance_registry.db.tables import LISTED, images, members

Clause = sa.ColumnElement[bool]

EXISTING: Clause = sa.literal_column("images.status NOT IN ('deleted', 'pending_delete')", sa.Boolean())
"""What can be seen at all: a deleted image is gone for everybody, administrators included."""

_LISTED: Clause = sa.literal_column(LISTED.replace("status", "images.status", 1), sa.Boolean())


@dataclass(frozen=True, slots=True)
class Arm:
    """One part of what a caller sees in a list; ``through_members`` arms start at the members table."""

    clause: Clause
    through_members: bool = False


def visible_to(context: RequestContext) -> Clause:
    """Return the clause for the existing images that the caller may see when he names one."""
    if context.is_admin:
        return EXISTING
    seen = [_public(), _own(context), _ownerless(), _community()]
    if context.project_id is not None:
        membership = sa.select(sa.literal(1)).select_from(members).where(_shared(context)).correlate(images)
        seen.append(membership.exists())
    return sa.and_(EXISTING, sa.or_(*seen))


def arms(context: RequestContext, visibility: str | None, member_status: str) -> list[Arm]:
    """Return the disjoint arms of a list.

    ``visibility`` is one of the four, ``all`` (community images of others too) or None (without them);
    ``member_status`` is one of the three or ``all``, and counts only for images that others share with the caller.
    """
    if visibility is not None and visibility not in (*BASE_VISIBILITIES, "all"):
        raise errors.BadRequest(f"visibility must be one of {', '.join((*BASE_VISIBILITIES, 'all'))}")
    if member_status not in (*MEMBER_STATUSES, "all"):
        raise errors.BadRequest(f"member_status must be one of {', '.join((*MEMBER_STATUSES, 'all'))}")
    chosen = _admin_arms(context, visibility) if context.is_admin else _arms(context, visibility, member_status)
    narrowed = [] if visibility in (None, "all") else [images.c.visibility == visibility]
    return [Arm(sa.and_(_LISTED, arm.clause, *narrowed), arm.through_members) for arm in chosen]


def _admin_arms(context: RequestContext, visibility: str | None) -> list[Arm]:
    everyone = Arm(images.c.visibility != "community")
    match visibility:
        case None:
            return [everyone, Arm(sa.and_(_own(context), _community()))]
        case "all":
            return [everyone, Arm(_community())]
        case "community":
            return [Arm(_community())]
        case _:
            return [everyone]


def _arms(context: RequestContext, visibility: str | None, member_status: str) -> list[Arm]:
    chosen = []
    if visibility in (None, "all", "public"):
        chosen.append(Arm(_public()))
    if visibility != "public":
        chosen.append(Arm(_own(context)))
    if visibility in ("all", "community"):
        chosen.append(Arm(sa.and_(_community(), _of_others(context))))
    if visibility in (None, "all", "shared") and context.project_id is not None:
        # One arm a status: only then each is in the order of the index.
        statuses = MEMBER_STATUSES if member_status == "all" else (member_status,)
        chosen += [Arm(sa.and_(_shared(context), members.c.status == status), True) for status in statuses]
    return chosen


def _public() -> Clause:
    return images.c.visibility == "public"


def _community() -> Clause:
    return images.c.visibility == "community"


def _own(context: RequestContext) -> Clause:
    return sa.and_(images.c.owner == context.project_id, images.c.visibility != "public")


def _ownerless() -> Clause:
    return sa.and_(images.c.owner.is_(None), images.c.visibility != "public")


def _of_others(context: RequestContext) -> Clause:
    return images.c.owner.is_distinct_from(context.project_id)


def _shared(context: RequestContext) -> Clause:
    return sa.and_(
        members.c.image_id == images.c.id,
        members.c.member == context.project_id,
        images.c.visibility == "shared",
        _of_others(context),
    )
