"""``glance-scrubber`` without --daemon, as cron runs it, and --restore."""

import threading
from uuid import uuid4

import pytest
from deploy.local import processes
from tests.support.waiting import wait_for

DELAYED = {"DEFAULT": {"delayed_delete": True, "scrub_time": 3600}}


def test_a_pass_purges_what_is_due_and_nothing_else(make_cloud):
    cloud = make_cloud(scrubber=False)
    kept, image = cloud.image(), cloud.image()
    cloud.delete(image)
    wait_for(lambda: any(cloud.services.queue.glob("*.msg")))
    done = cloud.services.scrub_once()
    assert (done.returncode, done.stderr) == (0, "")
    assert cloud.is_purged(image)
    assert cloud.is_whole(kept)
    assert list(cloud.services.queue.glob("*.msg")) == []


def test_a_pass_works_when_the_broker_is_away(make_cloud):
    cloud = make_cloud(scrubber=False, transport_url=f"amqp://127.0.0.1:{processes.free_port()}//")
    image = cloud.image()
    cloud.delete(image)
    assert cloud.services.scrub_once().returncode == 0
    assert cloud.is_purged(image)


def test_a_pass_ends_well_although_data_could_not_be_removed(make_cloud):
    cloud = make_cloud(scrubber=False)
    image = cloud.image()
    cloud.delete(image)
    (cloud.services.images / ".glance-store").unlink()
    assert cloud.services.scrub_once().returncode == 0
    assert cloud.states(image) == ("pending_delete", "deleting")
    assert image in cloud.services.files()


def test_a_pass_without_a_registry_is_an_error(make_cloud):
    cloud = make_cloud(scrubber=False)
    cloud.delete(cloud.image())
    cloud.services.registry.stop()
    done = cloud.services.scrub_once()
    assert done.returncode == 1
    assert done.stderr.startswith("ERROR: the registry")
    assert len(cloud.services.files()) == 1


def test_delayed_data_stay_for_scrub_time(make_cloud):
    cloud = make_cloud(scrubber=False, shared={"DEFAULT": {"delayed_delete": True, "scrub_time": 3600}})
    image = cloud.image()
    cloud.delete(image)
    assert cloud.services.scrub_once().returncode == 0
    assert cloud.states(image) == ("pending_delete", "pending_delete")
    assert cloud.services.files() == [image]
    cloud.make_due(image)
    assert cloud.services.scrub_once().returncode == 0
    assert cloud.is_purged(image)


def test_s_74_restore_brings_everything_back_beside_a_running_daemon(make_cloud):
    cloud = make_cloud(shared=DELAYED)
    image = cloud.image(tags=["blue"], os_distro="debian")
    cloud.delete(image)
    assert cloud.call("GET", f"/v2/images/{image}").status_code == 404
    done = cloud.services.scrub_once("--restore", image)
    assert (done.returncode, done.stderr) == (0, "")
    document = cloud.call("GET", f"/v2/images/{image}").json()
    assert (document["status"], document["tags"], document["os_distro"]) == ("active", ["blue"], "debian")
    assert cloud.is_whole(image)


def test_restore_of_what_is_not_waiting_is_refused(make_cloud):
    cloud = make_cloud(scrubber=False)
    active, purged = cloud.image(), cloud.image()
    cloud.delete(purged)
    assert cloud.services.scrub_once().returncode == 0
    for image in (active, purged, str(uuid4()), "no-uuid"):
        done = cloud.services.scrub_once("--restore", image)
        assert done.returncode == 1, image
        assert done.stderr.startswith("ERROR: "), image
    assert cloud.is_whole(active)


def test_s_74_restore_after_the_claim_is_refused_and_the_purge_ends(make_cloud):
    cloud = make_cloud()
    image = cloud.image()
    cloud.services.scrubber.arm("purge.claim.after", "wait")
    cloud.delete(image)
    cloud.services.scrubber.wait_fired("purge.claim.after")
    done = cloud.services.scrub_once("--restore", image)
    assert done.returncode == 1
    assert done.stderr.startswith("ERROR: ")
    cloud.services.scrubber.release("purge.claim.after")
    cloud.wait_purged(image)


@pytest.mark.slow
def test_restore_against_claim_gives_whole_images_or_none(make_cloud):
    cloud = make_cloud(scrubber=False, shared=DELAYED)
    images = [cloud.image() for _ in range(6)]
    for image in images:
        cloud.delete(image)
    results = {}

    def restore(image):
        results[image] = cloud.services.scrub_once("--restore", image).returncode

    # All are due from now on, and the scrubber and the restores begin together.
    cloud.rows("UPDATE images SET delayed = false WHERE status = 'pending_delete'")
    cloud.rows("UPDATE locations SET not_before = now() WHERE status = 'pending_delete'")
    threads = [threading.Thread(target=restore, args=(image,)) for image in images]
    threads.append(threading.Thread(target=cloud.services.scrub_once))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for image in images:
        if results[image] == 0:
            assert cloud.is_whole(image)
        else:
            wait_for(lambda image=image: cloud.is_purged(image))
