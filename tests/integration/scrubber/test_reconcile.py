"""``glance-scrubber --reconcile`` against real daemons, files and rows: what a store has too much, too little, or
otherwise."""

from __future__ import annotations

import os
import time
from uuid import uuid4

from tests.integration.scrubber.conftest import Cloud

DATA = b"data of an image"
OLD = 2 * 86400.0


def stray(cloud: Cloud, *, age: float = OLD) -> str:
    """Put a file without a row into the store; return its key."""
    key = str(uuid4())
    path = cloud.services.images / key
    path.write_bytes(DATA)
    then = time.time() - age
    os.utime(path, (then, then))
    return key


def make_old(cloud: Cloud) -> None:
    """Make what is listed older than the minute in which it cannot be discarded."""
    cloud.rows("UPDATE orphans SET found_at = now() - interval '1 hour'")


def test_everything_that_differs_is_found_and_a_dry_run_changes_nothing(make_cloud):
    cloud = make_cloud(scrubber=False)
    good, gone, cut = (cloud.image(DATA) for _ in range(3))
    orphan, young = stray(cloud), stray(cloud, age=60)
    (cloud.services.images / gone).unlink()
    (cloud.services.images / cut).write_bytes(DATA[:3])
    before = cloud.services.files()
    done = cloud.services.scrub_once("--reconcile")
    assert (done.returncode, done.stderr) == (1, "")
    rows = {tuple(line.split()) for line in done.stdout.splitlines()[1:-1]}
    assert rows == {
        ("orphan", "file", orphan, "-", str(len(DATA)), "-"),
        ("missing", "file", gone, gone, "-", str(len(DATA))),
        ("size", "file", cut, cut, "3", str(len(DATA))),
    }
    assert done.stdout.splitlines()[-1] == (
        "file: 4 objects, 3 locations: 1 orphans (16 bytes), 1 missing, 1 of a wrong size; "
        "1 young objects without a location left out"
    )
    assert cloud.services.files() == before
    assert {cloud.states(image) for image in (good, gone, cut)} == {("active", "active")}
    assert cloud.rows("SELECT * FROM orphans") == []
    assert young in before


def test_fix_sets_aside_and_deletes_nothing_and_discard_does(make_cloud):
    cloud = make_cloud(scrubber=False)
    good, gone, cut = (cloud.image(DATA) for _ in range(3))
    orphan = stray(cloud)
    (cloud.services.images / gone).unlink()
    (cloud.services.images / cut).write_bytes(DATA[:3])
    before = cloud.services.files()
    done = cloud.services.scrub_once("--reconcile", "--fix", "--store", "file")
    assert (done.returncode, done.stderr) == (0, "")
    assert "1 orphans are new in quarantine, 2 locations are in quarantine" in done.stdout
    assert cloud.services.files() == before
    assert [cloud.states(image)[1] for image in (good, gone, cut)] == ["active", "quarantined", "quarantined"]
    for image in (gone, cut):
        assert cloud.call("GET", f"/v2/images/{image}/file").status_code == 503
    assert cloud.is_whole(good, DATA)
    # A second pass finds the orphan again and lists it once.
    done = cloud.services.scrub_once("--reconcile", "--fix")
    assert "0 orphans are new in quarantine, 0 locations are in quarantine" in done.stdout
    (row,) = cloud.rows("SELECT id::text, key FROM orphans")
    assert row.key == orphan
    listed = cloud.services.scrub_once("--quarantine", "list").stdout
    assert row.id in listed
    assert listed.count("missing: ") == listed.count("size: ") == 1
    done = cloud.services.scrub_once("--quarantine", "release", row.id)
    assert (done.returncode, "is an orphan" in done.stderr) == (1, True)
    make_old(cloud)
    done = cloud.services.scrub_once("--quarantine", "discard", row.id)
    assert (done.returncode, done.stdout) == (0, f"{row.id}: removed from store file\n")
    assert orphan not in cloud.services.files()
    assert cloud.rows("SELECT * FROM orphans") == []


def test_an_orphan_that_is_gone_leaves_the_list(make_cloud):
    cloud = make_cloud(scrubber=False)
    orphan = stray(cloud)
    assert cloud.services.scrub_once("--reconcile", "--fix").returncode == 0
    (cloud.services.images / orphan).unlink()
    done = cloud.services.scrub_once("--reconcile", "--fix")
    assert "1 orphans are off the list" in done.stdout
    assert cloud.rows("SELECT * FROM orphans") == []


def test_what_writers_and_scrubbers_are_at_is_no_difference(make_cloud):
    cloud = make_cloud(scrubber=False)
    writing, deleted, reaped = (cloud.image(DATA) for _ in range(3))
    cloud.rows("UPDATE locations SET status = 'writing' WHERE image_id = :id", id=writing)
    cloud.delete(deleted)
    cloud.rows(
        "UPDATE locations SET status = 'deleted', late_passes = 2, not_before = now() + interval '1 hour'"
        " WHERE image_id = :id", id=reaped,
    )
    for image in (writing, deleted):
        (cloud.services.images / image).unlink()
    os.utime(cloud.services.images / reaped, (0, 0))
    done = cloud.services.scrub_once("--reconcile")
    assert (done.returncode, done.stderr) == (0, "")
    assert ": 0 orphans (0 bytes), 0 missing, 0 of a wrong size" in done.stdout


def test_a_second_fix_at_the_same_time_is_refused_and_changes_nothing(make_cloud):
    cloud = make_cloud(scrubber=False)
    stray(cloud)
    cloud.rows(
        "INSERT INTO store_runs (kind, store, token, lease_until)"
        " VALUES ('reconcile', 'file', :token, now() + interval '1 hour')", token=str(uuid4()),
    )
    done = cloud.services.scrub_once("--reconcile", "--fix")
    assert done.returncode == 1
    assert done.stderr == "ERROR: reconcile file: another process is at the reconcile run of store file\n"
    assert cloud.rows("SELECT * FROM orphans") == []
    # A dry run needs no turn.
    assert "1 orphans" in cloud.services.scrub_once("--reconcile").stdout


def test_a_store_that_cannot_list_is_one_line(make_cloud):
    cloud = make_cloud(scrubber=False, shared={"glance_store": {"stores": "file, http"}})
    done = cloud.services.scrub_once("--reconcile", "--store", "http")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "ERROR: store http cannot list its objects\n"
    done = cloud.services.scrub_once("--reconcile")
    assert (done.returncode, done.stderr) == (0, "store http cannot list its objects\n")


def test_a_store_that_is_not_mounted_has_nothing_missing(make_cloud):
    cloud = make_cloud(scrubber=False)
    image = cloud.image(DATA)
    (cloud.services.images / ".glance-store").rename(cloud.services.images / ".elsewhere")
    done = cloud.services.scrub_once("--reconcile", "--fix")
    assert done.returncode == 1
    assert done.stderr.startswith("ERROR: reconcile file: ")
    assert cloud.states(image) == ("active", "active")
    assert cloud.services.scrub_once("--reconcile", "--store", "nowhere").stderr.startswith(
        "ERROR: there is no store 'nowhere'"
    )


def test_a_fix_that_was_stopped_goes_on_where_it_was(make_cloud):
    cloud = make_cloud(scrubber=False)
    orphans = sorted(stray(cloud) for _ in range(3))
    cloud.rows("INSERT INTO store_runs (kind, store, cursor) VALUES ('reconcile', 'file', :key)", key=orphans[0])
    done = cloud.services.scrub_once("--reconcile", "--fix")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"file: goes on behind {orphans[0]}, where the last run was stopped\n")
    assert "file: 2 objects" in done.stdout
    assert [row.key for row in cloud.rows("SELECT key FROM orphans ORDER BY key")] == orphans[1:]
    # It came to its end, so the next one begins at the start. A dry run always does.
    assert cloud.rows("SELECT cursor FROM store_runs") == [(None,)]
    cloud.rows("UPDATE store_runs SET cursor = :key", key=orphans[2])
    assert "file: 3 objects" in cloud.services.scrub_once("--reconcile").stdout
