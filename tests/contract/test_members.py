"""Members through the client (lifecycle section 8, S-44)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from tests.support.registry_rows import ADMIN, MEMBER, OWNER, STRANGER, insert_image, insert_members

from glance_common.model import errors
from glance_common.model.image import Member
from glance_common.registry_client import RegistryClient
from glance_registry.db.tables import images as image_rows

AWKWARD = ("a/b", "//", ".", "..", "a b+c%20", "ä\U0001f600", "?x=1&y#z", "x" * 255)


def attempt() -> str:
    return str(uuid4())


@pytest.fixture
def shared(engine: sa.Engine) -> str:
    """A shared image of ``own`` without members."""
    return insert_image(engine, visibility="shared")


def add(client: RegistryClient, image_id: str, member: str = "member", quota: int = -1) -> Member:
    return client.members.add(OWNER, image_id, member, attempt(), quota=quota)


def test_a_new_member_is_pending_and_sees_the_image(client: RegistryClient, shared: str) -> None:
    with pytest.raises(errors.NotFound):
        client.images.get(MEMBER, shared)
    made = add(client, shared)
    assert (made.image_id, made.member, made.status) == (shared, "member", "pending")
    assert made.created_at == made.updated_at
    assert client.members.get(MEMBER, shared, "member") == made
    assert client.images.get(MEMBER, shared).member == "member"
    assert client.images.list(MEMBER, {"limit": 5}).images == []
    client.members.set_status(MEMBER, shared, "member", attempt(), "accepted")
    assert [image.id for image in client.images.list(MEMBER, {"limit": 5}).images] == [shared]


def test_repeating_an_add_answers_the_member(client: RegistryClient, shared: str) -> None:
    same = attempt()
    first = client.members.add(OWNER, shared, "member", same, quota=1)
    assert client.members.add(OWNER, shared, "member", same, quota=1) == first
    with pytest.raises(errors.Duplicate):
        add(client, shared)


def test_repeating_a_removal_is_answered_as_done(client: RegistryClient, shared: str) -> None:
    add(client, shared)
    same = attempt()
    client.members.remove(OWNER, shared, "member", same)
    client.members.remove(OWNER, shared, "member", same)
    with pytest.raises(errors.NotFound):
        client.members.remove(OWNER, shared, "member", attempt())
    assert client.members.list(OWNER, shared) == []


def test_a_removed_member_may_come_back_pending(client: RegistryClient, shared: str) -> None:
    add(client, shared)
    client.members.set_status(MEMBER, shared, "member", attempt(), "rejected")
    client.members.remove(OWNER, shared, "member", attempt())
    assert add(client, shared).status == "pending"


def test_s44_who_sees_which_members(client: RegistryClient, shared: str) -> None:
    for name in ("other", "member"):
        add(client, shared, name)
    for caller in (OWNER, ADMIN):
        assert [member.member for member in client.members.list(caller, shared)] == ["other", "member"]
        assert client.members.get(caller, shared, "other").member == "other"
    assert [member.member for member in client.members.list(MEMBER, shared)] == ["member"]
    with pytest.raises(errors.NotFound):
        client.members.get(MEMBER, shared, "other")
    with pytest.raises(errors.NotFound):
        client.members.set_status(MEMBER, shared, "other", attempt(), "accepted")
    with pytest.raises(errors.NotFound):
        client.members.remove(MEMBER, shared, "other", attempt())
    for call in (client.members.list, lambda caller, image_id: client.members.get(caller, image_id, "member")):
        with pytest.raises(errors.NotFound):
            call(STRANGER, shared)


@pytest.mark.parametrize("visibility", ["public", "community"])
def test_s44_everybody_sees_the_image_and_nobody_its_members(
    client: RegistryClient, engine: sa.Engine, visibility: str
) -> None:
    image_id = insert_image(engine, visibility=visibility)
    insert_members(engine, image_id, {"member": "accepted"})
    assert client.images.get(STRANGER, image_id).member is None
    with pytest.raises(errors.NotFound):
        client.members.list(STRANGER, image_id)
    with pytest.raises(errors.NotFound):
        client.members.get(STRANGER, image_id, "member")


def test_an_image_without_members_has_an_empty_list_for_its_owner(client: RegistryClient, shared: str) -> None:
    assert client.members.list(OWNER, shared) == []


@pytest.mark.parametrize("member", AWKWARD)
def test_projects_may_have_any_name(client: RegistryClient, shared: str, member: str) -> None:
    add(client, shared, member)
    assert client.members.get(OWNER, shared, member).member == member
    assert client.members.set_status(ADMIN, shared, member, attempt(), "accepted").status == "accepted"
    client.members.remove(OWNER, shared, member, attempt())


@pytest.mark.parametrize("member", ["", "x" * 256, "a\0b"])
def test_a_member_must_be_a_short_text(client: RegistryClient, shared: str, member: str) -> None:
    with pytest.raises(errors.BadRequest):
        add(client, shared, member)


def test_an_unknown_status_is_refused(client: RegistryClient, shared: str) -> None:
    add(client, shared)
    with pytest.raises(errors.BadRequest, match="pending, accepted, rejected"):
        client.members.set_status(MEMBER, shared, "member", attempt(), "maybe")


def test_the_quota_holds_under_concurrency(client: RegistryClient, shared: str) -> None:
    def try_to_add(number: int) -> bool:
        try:
            add(client, shared, f"project {number}", quota=3)
        except errors.TooLarge:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(try_to_add, range(12))) == 3
    assert len(client.members.list(OWNER, shared)) == 3
    with pytest.raises(errors.TooLarge):
        add(client, shared, "one more", quota=0)
    assert add(client, shared, "unlimited", quota=-1).status == "pending"


def test_members_neither_bump_the_image_nor_outlive_its_visibility(
    client: RegistryClient, engine: sa.Engine, shared: str
) -> None:
    before = client.images.get(OWNER, shared)
    add(client, shared)
    client.members.remove(OWNER, shared, "member", attempt())
    add(client, shared)
    assert client.images.get(OWNER, shared) == before
    client.images.update(OWNER, shared, attempt(), before.row_version, {"visibility": "private"})
    with pytest.raises(errors.NotFound):
        client.images.get(MEMBER, shared)
    client.images.update(OWNER, shared, attempt(), before.row_version + 1, {"visibility": "shared"})
    assert client.images.get(MEMBER, shared).member == "member"


def test_a_member_row_copies_the_creation_time_of_its_image(
    client: RegistryClient, engine: sa.Engine, shared: str
) -> None:
    """Lists of shared images walk that copy."""
    with engine.begin() as connection:
        connection.execute(sa.update(image_rows).values(created_at=sa.text("now() - interval '3 days 0.123456 s'")))
    add(client, shared)
    with engine.connect() as connection:
        assert connection.execute(sa.text(
            "SELECT i.created_at = m.image_created_at FROM images i JOIN members m ON m.image_id = i.id"
        )).scalar_one()


def test_sharing_with_several_at_once(client: RegistryClient, shared: str) -> None:
    add(client, shared, "old")

    def share(**how: Any) -> dict[str, bool]:
        rows = client.members.share(OWNER, shared, **{"only": False, "quota": -1, **how})
        return {row.member: row.can_share for row in rows}

    assert share(members={"member": True, "x/y": None}) == {"old": False, "member": True, "x/y": False}
    assert share(members={"member": None, "x/y": None}, only=True) == {"member": True, "x/y": False}
    with pytest.raises(errors.TooLarge):
        share(members={"third": None}, quota=2)
    with pytest.raises(errors.NotFound):
        client.members.share(STRANGER, shared, {"stranger": True}, only=False, quota=-1)
    # Whoever may share sees all members, another one only itself.
    assert [row.member for row in client.members.list(MEMBER, shared)] == ["member", "x/y"]
    assert share(members={"member": False}) == {"member": False, "x/y": False}
    assert [row.member for row in client.members.list(MEMBER, shared)] == ["member"]
    assert share(members={}, only=True) == {}


def test_memberships_of_a_project(client: RegistryClient, shared: str) -> None:
    add(client, shared)
    add(client, shared, "x/y")
    for caller in (OWNER, ADMIN, MEMBER):
        assert [row.image_id for row in client.members.shared_with(caller, "member")] == [shared]
    assert client.members.shared_with(MEMBER, "x/y") == client.members.shared_with(STRANGER, "member") == []


def test_a_deleted_image_is_shown_on_request_only(client: RegistryClient, shared: str) -> None:
    client.images.delete(OWNER, shared, attempt(), delayed=False, scrub_time=0)
    for caller in (OWNER, ADMIN):
        assert client.images.get(caller, shared, deleted=True).status == "deleted"
        assert [image.id for image in client.images.list(caller, {"limit": 5, "deleted": "only"}).images] == [shared]
        with pytest.raises(errors.NotFound):
            client.images.get(caller, shared)
    with pytest.raises(errors.NotFound):
        client.images.get(STRANGER, shared, deleted=True)
    with pytest.raises(errors.BadRequest):
        client.images.list(OWNER, {"limit": 5, "deleted": "perhaps"})
    with pytest.raises(errors.BadRequest):
        client.images.list(OWNER, {"limit": 0, "deleted": "perhaps"})
