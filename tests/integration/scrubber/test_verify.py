"""``glance-scrubber --verify`` against real daemons, files and rows: rot is found, set aside and mended."""

from __future__ import annotations

import json
import re
from uuid import uuid4

import pytest
import requests
from tests.integration.scrubber.conftest import Cloud
from tests.support.observer import Seen, wait_until
from tests.support.waiting import wait_for

DATA = bytes(range(256)) * 4096
STORES = ("fast", "slow")


@pytest.fixture
def two_stores(make_cloud, tmp_path):
    """A function that returns a cloud with two file stores, without a running scrubber."""

    def make(**options) -> Cloud:
        for store in STORES:
            (tmp_path / store).mkdir(exist_ok=True)
        shared = {
            "DEFAULT": {"enabled_backends": "fast:file, slow:file"},
            "glance_store": {"default_backend": "fast"},
            **{store: {"filesystem_store_datadir": tmp_path / store} for store in STORES},
        }
        for group, values in options.pop("shared", {}).items():
            shared[group] = {**shared.get(group, {}), **values}
        return make_cloud(scrubber=options.pop("scrubber", False), shared=shared, **options)

    return make


def copied(cloud: Cloud, data: bytes = DATA) -> str:
    """Return an image whose data are in both stores."""
    image = cloud.image(data)
    answer = cloud.call(
        "POST", f"/v2/images/{image}/import",
        json={"method": {"name": "copy-image"}, "stores": ["slow"]},
    )
    assert answer.status_code == 202, answer.text
    wait_for(lambda: cloud.call("GET", f"/v2/images/{image}").json()["stores"] == "fast,slow")
    return image


def flip(path) -> None:
    """Change one bit in the middle of a file, as a rotten disk does."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def locations(cloud: Cloud, image: str) -> dict[str, tuple[str, str]]:
    """Return status and store of each location of an image by its key and store."""
    rows = cloud.rows("SELECT store, key, status FROM locations WHERE image_id = :id ORDER BY position", id=image)
    return {f"{row.store}/{row.key}": row.status for row in rows}


def test_one_flipped_bit_is_found_and_the_copy_is_never_served_again(make_cloud):
    cloud = make_cloud(scrubber=False)
    good, rotten = cloud.image(DATA), cloud.image(DATA)
    flip(cloud.services.images / rotten)
    damaged = (cloud.services.images / rotten).read_bytes()
    done = cloud.services.scrub_once("--verify")
    assert done.returncode == 1
    assert "verified: 1 right, 1 damaged, 0 unreadable, 0 unproved, 0 replaced; 3.1 MB" in done.stdout
    assert done.stderr == ""
    assert cloud.states(rotten) == ("active", "quarantined")
    assert cloud.is_whole(good, DATA)
    answer = cloud.call("GET", f"/v2/images/{rotten}/file")
    assert answer.status_code == 503
    assert (cloud.services.images / rotten).read_bytes() == damaged
    (row,) = cloud.rows("SELECT verified_at FROM locations WHERE image_id = :id", id=good)
    assert row.verified_at is not None
    # What is in quarantine is not read again, and the sweep leaves it alone.
    done = cloud.services.scrub_once("--verify", "--store", "file")
    assert (done.returncode, done.stderr) == (0, "")
    assert "verified: 1 right, 0 damaged" in done.stdout
    assert cloud.services.scrub_once().returncode == 0
    assert (cloud.services.images / rotten).read_bytes() == damaged
    cloud.delete(rotten)
    assert cloud.services.scrub_once().returncode == 0
    assert cloud.is_purged(rotten)


@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_a_damaged_copy_is_replaced_from_the_other_store(two_stores, tmp_path, damage):
    cloud = two_stores()
    image = copied(cloud)
    path = tmp_path / "fast" / image
    match damage:
        case "flip":
            flip(path)
        case "cut":
            path.write_bytes(DATA[:-1])
        case "remove":
            path.unlink()
    done = cloud.services.scrub_once("--verify", "--image", image)
    assert done.returncode == 1, done.stderr
    assert "1 right, 1 damaged" in done.stdout
    assert "1 replaced" in done.stdout
    assert locations(cloud, image) == {
        f"fast/{image}": "quarantined", f"slow/{image}": "active", f"fast/{image}.1": "active",
    }
    assert (tmp_path / "fast" / f"{image}.1").read_bytes() == DATA
    assert cloud.is_whole(image, DATA)
    done = cloud.services.scrub_once("--verify")
    assert (done.returncode, done.stdout[:30]) == (0, "verified: 2 right, 0 damaged, ")


def test_quarantine_and_repair_are_told(two_stores, tmp_path):
    cloud = two_stores(shared={"oslo_messaging_notifications": {"driver": "log"}})
    image = copied(cloud)
    flip(tmp_path / "fast" / image)
    assert cloud.services.scrub_once("--verify").returncode == 1
    ids = {row.key: row.id for row in cloud.rows("SELECT key, id::text FROM locations WHERE store = 'fast'")}
    told = {
        one["event_type"]: (one["priority"], one["payload"])
        for one in map(json.loads, re.findall(r"(\{.*\})", cloud.services.scrubber.said())) if "event_type" in one
    }
    assert told.keys() == {"image.quarantine", "image.repair"}
    common = {"image_id": image, "location_id": ids[image], "store": "fast", "size": len(DATA)}
    for event, priority, more in (
        ("image.quarantine", "ERROR", {"good_copies": 1}),
        ("image.repair", "INFO", {"new_location_id": ids[f"{image}.1"], "source_store": "slow"}),
    ):
        reason = told[event][1]["reason"]
        assert reason.startswith("digest: ")
        assert told[event] == (priority, {**common, **more, "reason": reason})


def test_two_damaged_copies_mend_nothing(two_stores, tmp_path):
    cloud = two_stores()
    image = copied(cloud)
    for store in STORES:
        flip(tmp_path / store / image)
    done = cloud.services.scrub_once("--verify")
    assert done.returncode == 1
    assert set(locations(cloud, image).values()) <= {"quarantined", "deleted", "reaping"}
    assert cloud.call("GET", f"/v2/images/{image}/file").status_code == 503
    assert sorted(path.name for path in (tmp_path / "fast").glob("[0-9a-f]*")) == [image]


def test_a_run_that_was_stopped_goes_on_at_its_cursor(make_cloud):
    cloud = make_cloud(scrubber=False)
    images = sorted(cloud.image(DATA) for _ in range(4))
    cloud.rows(
        "INSERT INTO store_runs (kind, store, cursor) VALUES ('verify', 'file', :key)", key=images[1]
    )
    done = cloud.services.scrub_once("--verify")
    assert (done.returncode, done.stdout[:18]) == (0, "verified: 2 right,")
    rows = cloud.rows("SELECT image_id::text FROM locations WHERE verified_at IS NOT NULL ORDER BY 1")
    assert [row.image_id for row in rows] == images[2:]
    (run,) = cloud.rows("SELECT cursor, lease_until, finished_at FROM store_runs")
    assert (run.cursor, run.lease_until) == (None, None)
    assert run.finished_at is not None
    assert cloud.services.scrub_once("--verify").stdout.startswith("verified: 4 right,")


def test_a_second_verification_of_the_store_is_refused_at_once(make_cloud):
    cloud = make_cloud(scrubber=False)
    cloud.image(DATA)
    cloud.rows(
        "INSERT INTO store_runs (kind, store, token, lease_until)"
        " VALUES ('verify', 'file', :token, now() + interval '1 hour')", token=str(uuid4()),
    )
    done = cloud.services.scrub_once("--verify")
    assert done.returncode == 1
    assert done.stderr == "ERROR: verify file: another process is at the verify run of store file\n"
    assert cloud.rows("SELECT 1 FROM locations WHERE verified_at IS NOT NULL") == []


def test_a_download_that_finds_damage_puts_the_copy_into_quarantine(two_stores, tmp_path):
    cloud = two_stores(shared={"DEFAULT": {"verify_downloads": "always"}})
    image = copied(cloud)
    flip(tmp_path / "fast" / image)
    with pytest.raises(requests.RequestException):
        cloud.call("GET", f"/v2/images/{image}/file")
    wait_for(lambda: locations(cloud, image)[f"fast/{image}"] == "quarantined")
    assert cloud.is_whole(image, DATA)
    # The next pass replaces it.
    done = cloud.services.scrub_once("--verify", "--store", "fast")
    assert "1 replaced" in done.stdout
    assert locations(cloud, image)[f"fast/{image}.1"] == "active"


def test_the_daemon_verifies_in_the_background(two_stores, tmp_path):
    cloud = two_stores(scrubber=False)
    image = copied(cloud)
    flip(tmp_path / "slow" / image)
    cloud.services.scrubber.configure(
        {**cloud.services.scrubber.options, "scrubber": {"claim_lease": 3, "verify_interval": 1}}
    )
    cloud.services.start(cloud.services.scrubber)
    wait_for(lambda: locations(cloud, image).get(f"slow/{image}.1") == "active", seconds=60)
    assert locations(cloud, image)[f"slow/{image}"] == "quarantined"
    seen = Seen(cloud.services.scrubber)
    # Counted after the rows say so.
    wait_until(lambda: seen.value("glance_copies_replaced_total", store="slow") == 1, "the count of the new copy")
    assert seen.value("glance_copies_quarantined_total", store="slow", damage="digest") == 1


def test_bad_input_is_one_line_and_changes_nothing(make_cloud):
    cloud = make_cloud(scrubber=False)
    image = cloud.image(DATA)
    for arguments, words in (
        (("--verify", "--store", "nowhere"), "there is no store 'nowhere'"),
        (("--verify", "--image", "no-uuid"), "image_id must be a uuid"),
        (("--verify", "--image", str(uuid4())), "has no data"),
        (("--verify", "--store", "file", "--image", image), "cannot be used together"),
        (("--verify", "--reconcile"), "cannot be used together"),
        (("--rate", "5"), "--rate can only be used with --verify"),
        (("--fix",), "--fix can only be used with --reconcile"),
        (("--verify", "--rate", "-1"), "rate"),
        (("--quarantine", "release"), "release and discard take one"),
        (("--quarantine", "list", image), "list takes no ID"),
        (("--quarantine", "burn", image), "burn"),
        (("--quarantine", "release", str(uuid4())), "nothing in quarantine has the ID"),
        (("--quarantine", "discard", "x" * 500), "nothing in quarantine has the ID"),
        (("some-id",), "ID can only be used with --quarantine"),
    ):
        done = cloud.services.scrub_once(*arguments)
        assert done.returncode != 0, arguments
        assert words in done.stderr, done.stderr
        assert "Traceback" not in done.stderr
        assert len(done.stderr.splitlines()[-1]) < 500
    assert cloud.states(image) == ("active", "active")
    assert cloud.rows("SELECT * FROM store_runs") == []


def test_without_a_registry_it_is_one_line(make_cloud):
    cloud = make_cloud(scrubber=False)
    cloud.services.registry.stop()
    for arguments in (("--verify",), ("--reconcile",), ("--quarantine", "list"), ("--dead-letters", "list")):
        done = cloud.services.scrub_once(*arguments)
        assert done.returncode == 1, arguments
        assert done.stderr.startswith("ERROR: "), done.stderr
        assert done.stderr.count("\n") == 1, done.stderr


def test_a_store_that_is_down_damages_nothing(make_cloud):
    cloud = make_cloud(scrubber=False)
    image = cloud.image(DATA)
    (cloud.services.images / ".glance-store").rename(cloud.services.images / ".elsewhere")
    done = cloud.services.scrub_once("--verify")
    assert done.returncode == 1
    assert "ERROR: verify file: store file: " in done.stderr
    assert cloud.states(image) == ("active", "active")


def test_release_reads_the_copy_again_and_discard_spares_the_last_one(make_cloud):
    cloud = make_cloud(scrubber=False)
    image = cloud.image(DATA)
    path = cloud.services.images / image
    flip(path)
    assert cloud.services.scrub_once("--verify").returncode == 1
    (row,) = cloud.rows("SELECT id::text FROM locations WHERE image_id = :id", id=image)
    listed = cloud.services.scrub_once("--quarantine", "list")
    assert listed.returncode == 0
    assert row.id in listed.stdout
    assert "digest: " in listed.stdout
    for action, words in (("release", "stays in quarantine: it is damaged"), ("discard", "the last copy of image")):
        done = cloud.services.scrub_once("--quarantine", action, row.id)
        assert (done.returncode, cloud.states(image)) == (1, ("active", "quarantined"))
        assert words in done.stderr
    flip(path)
    done = cloud.services.scrub_once("--quarantine", "release", row.id)
    assert (done.returncode, done.stderr) == (0, "")
    assert cloud.is_whole(image, DATA)
    assert cloud.services.scrub_once("--quarantine", "list").stdout == "Nothing is in quarantine.\n"


def test_discard_removes_the_bytes_of_a_replaced_copy(two_stores, tmp_path):
    cloud = two_stores()
    image = copied(cloud)
    flip(tmp_path / "fast" / image)
    cloud.services.scrub_once("--verify")
    (row,) = cloud.rows("SELECT id::text FROM locations WHERE status = 'quarantined'")
    done = cloud.services.scrub_once("--quarantine", "release", row.id)
    assert done.returncode == 1
    done = cloud.services.scrub_once("--quarantine", "discard", row.id)
    assert (done.returncode, done.stdout) == (0, f"{row.id}: purged\n")
    assert sorted(path.name for path in (tmp_path / "fast").glob("[0-9a-f]*")) == [f"{image}.1"]
    assert cloud.is_whole(image, DATA)


def test_a_repair_that_dies_leaves_nothing_and_is_done_by_the_next_pass(two_stores, tmp_path):
    cloud = two_stores()
    image = copied(cloud)
    flip(tmp_path / "fast" / image)
    scrubber = cloud.services.scrubber
    scrubber.arm("repair.before-commit", "kill")
    done = cloud.services.scrub_once("--verify")
    assert done.returncode == -9
    assert locations(cloud, image)[f"fast/{image}.1"] == "writing"
    (scrubber.failpoints / "repair.before-commit").unlink(missing_ok=True)
    cloud.rows("UPDATE locations SET lease_until = now() - interval '1 second' WHERE status = 'writing'")
    cloud.rows("UPDATE store_runs SET lease_until = now() - interval '1 second'")
    assert cloud.services.scrub_once().returncode == 0
    done = cloud.services.scrub_once("--verify")
    assert "1 replaced" in done.stdout
    assert cloud.is_whole(image, DATA)
    # The key of the dead attempt waits for its late passes.
    assert locations(cloud, image)[f"fast/{image}.2"] == "active"
    assert sorted(path.name for path in (tmp_path / "fast").glob("[0-9a-f]*")) == [image, f"{image}.2"]


def test_the_rate_bounds_all_threads_together(make_cloud):
    cloud = make_cloud(scrubber=False, shared={"DEFAULT": {"scrub_pool_size": 4}})
    for _ in range(8):
        cloud.image(DATA)
    done = cloud.services.scrub_once("--verify", "--rate", "2")
    assert done.returncode == 0
    seconds = int(done.stdout.split(" in ")[1].split()[0])
    # 8.4 MB at 2 MB/s; four threads with a bound of their own each would need one.
    assert seconds >= 3
