"""Who sees which image: the SQL against a plain-Python account of the same rules (S-43..S-45, lifecycle section 9)."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import orjson
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.registry_rows import ADMIN, ANONYMOUS, MEMBER, OWNER, STRANGER, clear, insert_image, page

from glance_common.model import errors
from glance_common.model.context import RequestContext
from glance_registry.db.session import read
from glance_registry.db.tables import images as image_rows
from glance_registry.db.tables import members as member_rows
from glance_registry.images import crud
from glance_registry.images.listing import ListingQuery

CALLERS = (
    OWNER, MEMBER, STRANGER, ADMIN, ANONYMOUS,
    RequestContext("r", project_id="member", is_admin=True),
    RequestContext("r", is_admin=True),
)
VISIBILITIES = ("public", "private", "shared", "community")
MEMBER_STATUSES = ("pending", "accepted", "rejected")


@dataclass(frozen=True)
class Row:
    visibility: str
    owner: str | None
    status: str
    os_hidden: bool
    members: tuple[tuple[str, str], ...]

    def membership(self, caller: RequestContext) -> str | None:
        """The member status that counts: of a project that is not the owner, while the image is shared."""
        if self.visibility != "shared" or caller.project_id is None or caller.project_id == self.owner:
            return None
        return dict(self.members).get(caller.project_id)


rows = st.lists(
    st.builds(
        Row,
        visibility=st.sampled_from(VISIBILITIES),
        owner=st.sampled_from(["own", "own", "member", "admins", None]),
        status=st.sampled_from(["active"] * 4 + ["queued", "deactivated", "killed", "pending_delete", "deleted"]),
        os_hidden=st.sampled_from([False, False, False, True]),
        members=st.dictionaries(
            st.sampled_from(["member", "stranger", "own", "admins"]), st.sampled_from(MEMBER_STATUSES), max_size=3
        ).map(lambda found: tuple(sorted(found.items()))),
    ),
    min_size=4, max_size=14,
)


def sees(caller: RequestContext, row: Row) -> bool:
    """The rules for one image by its id."""
    if row.status in ("deleted", "pending_delete"):
        return False
    return (
        caller.is_admin
        or row.visibility in ("public", "community")
        or row.owner is None
        or row.owner == caller.project_id
        or row.membership(caller) is not None
    )


def lists(caller: RequestContext, row: Row, visibility: str | None, member_status: str, os_hidden: bool) -> bool:
    """The rules for lists."""
    if row.status in ("deleted", "pending_delete", "killed") or row.os_hidden != os_hidden:
        return False
    if visibility in VISIBILITIES and row.visibility != visibility:
        return False
    # Nobody's images are the own ones of callers who are of no project.
    own = row.owner == caller.project_id
    if row.visibility == "community":
        return own or visibility in ("community", "all")
    if caller.is_admin or own or row.visibility == "public":
        return True
    membership = row.membership(caller)
    return membership is not None and member_status in (membership, "all")


def write(engine: sa.Engine, world: list[Row]) -> dict[str, Row]:
    clear(engine)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    ids = {str(uuid4()): row for row in world}
    images_, members_ = [], []
    for number, (image_id, row) in enumerate(ids.items()):
        created_at = start + timedelta(seconds=number)
        images_.append({
            "id": image_id, "status": row.status, "visibility": row.visibility, "owner": row.owner,
            "os_hidden": row.os_hidden, "created_at": created_at, "create_attempt": str(uuid4()),
        })
        members_ += [
            {"image_id": image_id, "member": member, "status": status, "image_created_at": created_at}
            for member, status in row.members
        ]
    with engine.begin() as connection:
        connection.execute(image_rows.insert(), images_)
        if members_:
            connection.execute(member_rows.insert(), members_)
    return ids


def gets(engine: sa.Engine, caller: RequestContext, image_id: str) -> bool:
    try:
        document = orjson.loads(read(engine, crud.get, caller, image_id))
    except errors.NotFound:
        return False
    return bool(document["id"] == image_id)


def listed(engine: sa.Engine, caller: RequestContext, query: ListingQuery) -> list[str]:
    return [str(image["id"]) for image in page(engine, caller, query)]


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(world=rows)
def test_get_and_list_follow_the_rules(engine: sa.Engine, world: list[Row]) -> None:
    ids = write(engine, world)
    for caller in CALLERS:
        assert {i for i in ids if gets(engine, caller, i)} == {i for i, row in ids.items() if sees(caller, row)}
        options = itertools.product((None, "all", *VISIBILITIES), ("accepted", "pending", "all"), (False, True))
        for visibility, member_status, os_hidden in options:
            query = ListingQuery(100, visibility=visibility, member_status=member_status, os_hidden=os_hidden)
            found = listed(engine, caller, query)
            expected = [i for i, row in ids.items() if lists(caller, row, visibility, member_status, os_hidden)]
            # No image twice, the newest first.
            assert found == expected[::-1], (caller, query)


def test_whatever_a_list_shows_can_be_seen_by_id() -> None:
    """The two halves of the account agree: a list never shows more than the rules for one image allow."""
    statuses = [*MEMBER_STATUSES, None]
    for visibility, owner, status in itertools.product(VISIBILITIES, ("own", "member", None), statuses):
        row = Row(visibility, owner, "active", False, () if status is None else (("member", status),))
        for caller, wanted in itertools.product(CALLERS, (None, "all", *VISIBILITIES)):
            assert not lists(caller, row, wanted, "all", False) or sees(caller, row)


@pytest.mark.parametrize("caller", [OWNER, MEMBER, STRANGER, ADMIN, ANONYMOUS])
def test_s43_absent_deleted_and_invisible_images_get_the_same_answer(
    engine: sa.Engine, caller: RequestContext
) -> None:
    absent = str(uuid4())
    deleted = insert_image(engine, status="deleted", visibility="public")
    invisible = insert_image(engine, owner="somebody", visibility="private")
    wanted = [absent, deleted] if caller is ADMIN else [absent, deleted, invisible]
    texts = set()
    for image_id in wanted:
        with pytest.raises(errors.NotFound) as caught:
            read(engine, crud.get, caller, image_id)
        texts.add(caught.value.message.replace(image_id, "ID"))
    assert len(texts) == 1


def test_the_document_tells_the_caller_of_its_own_membership_only(engine: sa.Engine) -> None:
    ids = write(engine, [Row("shared", "own", "active", False, (("member", "pending"), ("stranger", "rejected")))])
    [image_id] = ids
    for caller, member in ((OWNER, None), (MEMBER, "member"), (STRANGER, "stranger"), (ADMIN, None)):
        assert orjson.loads(read(engine, crud.get, caller, image_id))["member"] == member
    project_admin = replace(MEMBER, is_admin=True)
    assert orjson.loads(read(engine, crud.get, project_admin, image_id))["member"] == "member"
