"""glance-manage adopt from databases of old releases, on PostgreSQL and on MariaDB."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from tests.integration.registry.adopting import Adopting
from tests.support.old_database import YEAR, now
from tests.support.registry_rows import ADMIN

from glance_registry.adopt.writing import write_page
from glance_registry.db.session import run_transaction
from glance_registry.images import members
from glance_registry.manage.adopt import LEFT_OUT

DELETED: dict[str, Any] = {"deleted": True, "deleted_at": YEAR + timedelta(days=3)}


def test_an_image_comes_with_all_that_belongs_to_it(adopting: Adopting):
    old = adopting.old
    image = old.image(
        name="grün \\ \t'\"", size=7_000_000_000, virtual_size=9, checksum="5" * 32, protected=True, min_disk=3,
        min_ram=4,
    )
    old.property(image, "os_distro", "debian")
    old.property(image, "empty", None)
    old.property(image, "gone", "x", **DELETED)
    for tag in ("b", "a"):
        old.tag(image, tag)
    old.tag(image, "gone", **DELETED)
    old.member(image, "friend", "accepted", can_share=True)
    old.member(image, "former", **DELETED)
    old.location(image, adopting.file(image), {"zone": "a"})
    report = adopting.run()
    row = adopting.image(image)
    assert (row.name, row.status, row.visibility, row.owner) == ("grün \\ \t'\"", "active", "shared", "project")
    assert (row.size, row.virtual_size, row.checksum, row.protected) == (7_000_000_000, 9, "5" * 32, True)
    assert (row.min_disk, row.min_ram, row.disk_format, row.container_format) == (3, 4, "raw", "bare")
    assert (row.os_hidden, row.os_hash_algo, row.deleted_at) == (False, None, None)
    assert row.properties == {"os_distro": "debian", "empty": None}
    assert row.tags == ["b", "a"]
    assert row.created_at.isoformat() == "2016-05-17T12:30:15+00:00"
    assert row.updated_at.isoformat() == "2016-05-17T13:30:15+00:00"
    members = adopting.rows("SELECT member, status, can_share FROM members")
    assert [tuple(each) for each in members] == [("friend", "accepted", True)]
    assert adopting.locations(image) == [("disk", image, "active", 7_000_000_000)]
    assert adopting.rows("SELECT metadata FROM locations")[0].metadata == {"zone": "a"}
    used = adopting.usage("project")
    assert (used.size, used.images, used.uploading, used.stage) == (7_000_000_000, 1, 0, 0)
    assert "Not as it is there" not in report
    assert "no difference" in adopting.run("--verify")


def test_visibility_of_old_schemas(adopting: Adopting):
    old = adopting.old
    public, private, shared = old.image(is_public=True), old.image(), old.image()
    old.member(shared, "friend")
    adopting.run()
    assert [adopting.image(each).visibility for each in (public, private, shared)] == ["public", "private", "shared"]


def test_every_state(adopting: Adopting):
    old = adopting.old
    plain = ("queued", "active", "deactivated", "killed")
    images = {status: old.image(status=status) for status in plain}
    unfinished = {status: old.image(status=status) for status in ("saving", "uploading", "importing")}
    old.property(unfinished["importing"], "os_glance_import_task", str(uuid4()))
    old.property(unfinished["importing"], "kept", "yes")
    deleted = old.image(status="deleted", **DELETED)
    waiting = old.image(status="pending_delete", size=5, **DELETED)
    old.location(waiting, adopting.file(waiting), status="pending_delete", **DELETED)
    old.property(waiting, "restored", "yes", **DELETED)
    old.property(waiting, "removed before", "x", deleted=True, deleted_at=YEAR)
    empty = old.image(status="pending_delete", **DELETED)
    unknown = old.image(status="melting")
    report = adopting.run(expected=LEFT_OUT)
    assert [adopting.image(image).status for image in images.values()] == list(images)
    for image in unfinished.values():
        assert (adopting.image(image).status, adopting.image(image).size) == ("queued", None)
    assert adopting.image(unfinished["importing"]).properties == {"kept": "yes"}
    assert adopting.image(deleted).status == "deleted"
    row = adopting.image(waiting)
    assert (row.status, row.delayed, row.status_before_delete) == ("pending_delete", True, "active")
    assert row.deleted_at.isoformat() == "2016-05-20T12:30:15+00:00"
    assert row.properties == {"restored": "yes"}
    assert adopting.locations(waiting) == [("disk", waiting, "pending_delete", 5)]
    assert adopting.image(empty).status == "deleted", "nothing would ever end its wait"
    assert not adopting.rows("SELECT FROM images WHERE id = :id", id=unknown)
    for told in ("an upload was under way", "data were staged", "an import was under way", "melting", unknown):
        assert told in report


def test_a_delete_that_died_half_way_is_finished(adopting: Adopting):
    image = adopting.old.image(status="deleted")
    adopting.old.location(image, adopting.file(image))
    adopting.run()
    assert (adopting.image(image).status, adopting.image(image).delayed) == ("pending_delete", False)
    assert adopting.locations(image) == [("disk", image, "pending_delete", 3)]


def test_sto22_locations_of_every_spelling(adopting: Adopting):
    old = adopting.old
    urls = {
        "named": (adopting.folder.as_uri() + "/images/{id}", {"store": "disk"}, "disk"),
        "named of 2019": (adopting.folder.as_uri() + "/images/{id}", {"backend": "disk"}, "disk"),
        "renamed store": (adopting.folder.as_uri() + "/images/{id}", {"store": "cheap"}, "disk"),
        "credentials": ("s3://old:sec/ret@s3.example.org:8080/images/{id}", {}, "bucket"),
        "plain s3": ("s3+http://s3.example.org:8080/images/{id}", {"store": "bucket"}, "bucket"),
        "web": ("http://example.org/{id}.raw", {}, "web"),
    }
    images = {}
    for name, (url, metadata, _) in urls.items():
        image = images[name] = str(uuid4())
        old.image(id=image)
        old.location(image, url.format(id=image), metadata)
    adopting.run()
    for name, (url, _, store) in urls.items():
        image = images[name]
        key = url.format(id=image) if store == "web" else image
        assert adopting.locations(image) == [(store, key, "active", 3)]
    assert not adopting.rows("SELECT FROM locations WHERE metadata ?| ARRAY['store', 'backend'] OR key LIKE '%ret@%'")
    assert [row.store for row in adopting.rows("SELECT store FROM locations WHERE external")] == ["web"]
    assert "no difference" in adopting.run("--verify")


def test_locations_that_cannot_come_are_named_without_credentials(adopting: Adopting):
    old = adopting.old
    for url, metadata in (
        ("swift+https://account%3Auser:hunter2@auth.example.org/v3/glance/1", {}),
        ("file:///elsewhere/image", {"store": "disk"}),
        ("no address at all", {}),
        ("s3://user:hunter2@other.example.org/images/1", {"store": "gone"}),
    ):
        image = old.image()
        old.location(image, url, metadata)
    broken = old.image()
    old.location(broken, adopting.file(broken))
    old.update("image_locations", f"image_id = '{broken}'", meta_data="{not json")
    report = adopting.run(expected=LEFT_OUT)
    for told in ("no store for swift+https is configured", "a location of file leads to no place", "is not a URL",
                 "a location of s3 leads to no place", "the metadata of a location is not JSON", broken):
        assert told in report
    assert "hunter2" not in report
    assert not adopting.rows("SELECT FROM locations")
    assert len(adopting.rows("SELECT FROM images WHERE status = 'active'")) == 5
    differences = adopting.run("--verify", expected=1)
    assert "5 differences" in differences
    assert "hunter2" not in differences


def test_data_that_two_images_point_at_stay_with_the_one_that_lives(adopting: Adopting):
    old = adopting.old
    first, second = sorted(str(uuid4()) for _ in range(2))
    url = adopting.file(second)
    old.image(id=first, status="pending_delete", **DELETED)
    old.location(first, url, status="pending_delete", **DELETED)
    old.image(id=second)
    old.location(second, url)
    report = adopting.run(expected=LEFT_OUT)
    assert "its data belong to another image" in report
    assert adopting.locations(second) == [("disk", second, "active", 3)]
    assert (adopting.locations(first), adopting.image(first).status) == ([], "deleted")


def test_properties_with_reserved_names_and_copies_under_way(adopting: Adopting):
    image = adopting.old.image()
    for name in ("self", "os_hash_algo", "os_glance_importing_to_stores", "os_glance_stage_host", "kept"):
        adopting.old.property(image, name, "slow")
    report = adopting.run(expected=LEFT_OUT)
    assert "reserved names are left out: os_hash_algo, self" in report
    assert "copies into other stores were under way" in report
    found = adopting.image(image).properties
    assert found == {"kept": "slow", "os_glance_importing_to_stores": "", "os_glance_failed_import": "slow"}


def test_ids_and_texts_that_cannot_be_kept(adopting: Adopting):
    adopting.old.image(id="not-a-uuid")
    upper = adopting.old.image(id=str(uuid4()).upper())
    adopting.old.location(upper, adopting.file(upper))
    report = adopting.run(expected=LEFT_OUT)
    assert "the id is not a UUID" in report
    assert adopting.locations(upper.lower()) == [("disk", upper, "active", 3)]


def test_a_second_run_brings_what_changed_and_nothing_else(adopting: Adopting):
    old = adopting.old
    first, second, third = (old.image(name=name) for name in "abc")
    for image in (first, second, third):
        old.location(image, adopting.file(image))
    old.tag(first, "old")
    old.member(first, "friend")
    adopting.run()
    before = adopting.contents()
    assert "new" in adopting.run()
    assert adopting.contents() == before, "a run without changes there changes nothing here"
    started = now()
    later = {"updated_at": started}
    old.update("images", f"id = '{first}'", name="renamed", **later)
    old.update("image_tags", f"image_id = '{first}'", deleted=True, deleted_at=started)
    old.update("image_members", f"image_id = '{first}'", status="accepted", **later)
    old.update("images", f"id = '{second}'", status="deleted", deleted=True, deleted_at=started, **later)
    old.update("image_locations", f"image_id = '{second}'", status="deleted", deleted=True, deleted_at=started)
    fourth = old.image(created_at=started, updated_at=started)
    report = adopting.run("--since", started.isoformat())
    row = adopting.image(first)
    assert (row.name, row.tags, row.row_version) == ("renamed", [], 2)
    assert [tuple(each) for each in adopting.rows("SELECT member, status FROM members")] == [("friend", "accepted")]
    assert adopting.image(second).status == "deleted"
    assert adopting.locations(second) == [("disk", second, "deleted", 3)], "the other side has removed the data"
    assert adopting.image(fourth).status == "active"
    assert adopting.usage("project").size == 6
    assert third not in report
    assert "no difference" in adopting.run("--verify")


def test_what_was_changed_here_stays(adopting: Adopting):
    image = adopting.old.image(name="there")
    made_here = adopting.old.image(name="same id")
    adopting.make_here(made_here)
    adopting.run(expected=LEFT_OUT)
    adopting.execute("UPDATE images SET name = 'here', row_version = row_version + 1 WHERE id = :id", id=image)
    adopting.old.update("images", f"id = '{image}'", name="there again")
    report = adopting.run(expected=LEFT_OUT)
    assert adopting.image(image).name == "here"
    assert adopting.image(made_here).status == "queued"
    assert "it stays as it is here" in report
    assert "(changed here)" in adopting.run("--verify", expected=1)


def _remove(connection: sa.Connection, image: str) -> None:
    members.remove(connection, ADMIN, image, str(uuid4()), "revoked")


def _replace(connection: sa.Connection, image: str) -> None:
    members.share(connection, ADMIN, image, {"friend": None}, only=True, quota=-1)


@pytest.mark.parametrize("revoke", [_remove, _replace])
def test_a_member_that_was_removed_here_does_not_come_back(
    adopting: Adopting, revoke: Callable[[sa.Connection, str], None]
):
    image = adopting.old.image()
    adopting.old.member(image, "friend")
    adopting.old.member(image, "revoked")
    adopting.run()
    run_transaction(adopting.engine, revoke, image)
    assert "it stays as it is here" in adopting.run(expected=LEFT_OUT)
    assert [row.member for row in adopting.rows("SELECT member FROM members")] == ["friend"]


def test_data_that_were_purged_here_are_no_difference(adopting: Adopting):
    image = adopting.old.image(status="pending_delete", **DELETED)
    adopting.old.location(image, adopting.file(image), status="pending_delete", **DELETED)
    adopting.run()
    adopting.execute("UPDATE locations SET status = 'deleted', token = id")
    adopting.execute("UPDATE images SET status = 'deleted', row_version = row_version + 1")
    before = adopting.contents()
    adopting.run()
    assert adopting.contents() == before
    assert "no difference" in adopting.run("--verify")


def test_a_dry_run_reports_the_same_and_changes_nothing(adopting: Adopting):
    image = adopting.old.image(status="saving")
    adopting.old.tag(image, "t")
    adopting.old.task("success")
    before = adopting.contents()
    dry = adopting.run("--dry-run", expected=LEFT_OUT)
    assert adopting.contents() == before
    real = adopting.run(expected=LEFT_OUT)
    assert "Nothing was changed" in dry
    assert dry.split("\n")[:-2] == real.split("\n")[:-2]


def test_many_pages(adopting: Adopting, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("glance_registry.adopt.reading.PAGE", 3)
    images = [adopting.old.image(status="deleted" if number % 3 == 0 else "active",
                                 deleted=number % 3 == 0, deleted_at=YEAR) for number in range(10)]
    for image in images:
        adopting.old.tag(image, "t")
    adopting.run()
    assert sorted(str(row.id) for row in adopting.rows("SELECT id FROM images")) == sorted(images)
    assert len(adopting.rows("SELECT FROM images WHERE tags = ARRAY['t']")) == 6
    assert "no difference" in adopting.run("--verify")


def test_verify_finds_every_kind_of_difference(adopting: Adopting):
    old = adopting.old
    changed, missing, moved, shared = (old.image() for _ in range(4))
    old.location(moved, adopting.file(moved))
    old.member(shared, "friend")
    adopting.run()
    adopting.execute("UPDATE images SET checksum = repeat('f', 32) WHERE id = :id", id=changed)
    adopting.execute("DELETE FROM images WHERE id = :id", id=missing)
    adopting.execute("UPDATE locations SET key = key || '.1' WHERE image_id = :id", id=moved)
    adopting.execute("DELETE FROM members")
    extra = str(uuid4())
    adopting.make_here(extra)
    said = adopting.run("--verify", expected=1)
    for told in (f"{changed}  checksum", f"{missing}", f"{moved}  location key", f"{shared}  member friend", extra):
        assert told in said
    assert "5 differences" in said


def test_a_database_that_is_being_written_to_is_named(adopting: Adopting, monkeypatch: pytest.MonkeyPatch):
    adopting.old.image()
    real = write_page

    def and_someone_writes(*arguments):
        adopting.old.image(name="written meanwhile", created_at=now(), updated_at=now())
        return real(*arguments)

    monkeypatch.setattr("glance_registry.adopt.run.write_page", and_someone_writes)
    report = adopting.run()
    monkeypatch.undo()
    assert "WARNING" in report
    assert len(adopting.rows("SELECT FROM images")) == 1, "a run reads one snapshot"
    since = report.split("--since ")[1].split()[0]
    assert "WARNING" not in adopting.run("--since", since)
    assert len(adopting.rows("SELECT FROM images")) == 2


def test_the_schema_of_today(adopting: Adopting):
    old = adopting.old
    old.add_columns("2024_1_contract01")
    values = {"visibility": "community", "os_hidden": True, "os_hash_algo": "sha512", "os_hash_value": "a" * 128}
    image = str(uuid4())
    row = {
        "id": image, "name": "new", "size": 3, "status": "active", "created_at": YEAR, "updated_at": YEAR,
        "deleted": False, "min_disk": 0, "min_ram": 0, "protected": False, **values,
    }
    old.insert("images", **row)
    task = old.task("success", type="api_image_import", image_id=image, user_id="u", request_id="req-1")
    adopting.run()
    found = adopting.image(image)
    assert {name: getattr(found, name) for name in values} == values
    (operation,) = adopting.rows("SELECT * FROM operations")
    assert (str(operation.id), str(operation.image_id)) == (task, image)
    assert (operation.user_id, operation.request_id) == ("u", "req-1")
    assert "no difference" in adopting.run("--verify")
