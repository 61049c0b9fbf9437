"""The daemon as a process: stop, death at the worst moments, company, and a broker or store that is away."""

import os
import signal
import time

import pytest
from deploy.local import processes
from tests.integration.scrubber.conftest import LEASE
from tests.support.waiting import wait_for


def test_deleted_data_are_purged_under_the_request_id_of_the_delete(make_cloud):
    cloud = make_cloud()
    image = cloud.image()
    assert cloud.services.files() == [image]
    cloud.delete(image, **{"X-Openstack-Request-ID": "req-who-did-it"})
    cloud.wait_purged(image)

    def purges():
        return [line for line in cloud.services.scrubber.said().splitlines() if "removal: purged" in line]

    wait_for(purges)
    assert ["req-who-did-it]" in line for line in purges()] == [True]


def test_term_finishes_the_image_in_hand_and_leaves_the_others(make_cloud):
    cloud = make_cloud()
    scrubber = cloud.services.scrubber
    scrubber.arm("purge.claim.after", "wait")
    first = cloud.image()
    cloud.delete(first)
    scrubber.wait_fired("purge.claim.after")
    others = [cloud.image(), cloud.image()]
    for image in others:
        cloud.delete(image)
    # Long enough for a sweep to wait for its turn as well.
    time.sleep(1.5)
    scrubber.ask_to_stop()
    assert scrubber.running
    scrubber.release("purge.claim.after")
    assert scrubber.wait_dead() == 0
    assert cloud.is_purged(first)
    assert [cloud.states(image) for image in others] == [("pending_delete", "pending_delete")] * 2
    assert cloud.services.files() == sorted(others)


def test_a_second_term_ends_it_at_once(make_cloud):
    cloud = make_cloud()
    scrubber = cloud.services.scrubber
    scrubber.arm("purge.claim.after", "wait")
    cloud.delete(cloud.image())
    scrubber.wait_fired("purge.claim.after")
    scrubber.ask_to_stop()
    time.sleep(0.5)
    assert scrubber.running
    os.kill(scrubber.pid, signal.SIGTERM)
    assert scrubber.wait_dead() == -signal.SIGTERM


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["purge.claim.after", "purge.delete.after", "purge.record.after"])
def test_i6_killed_at_any_moment_another_finishes_after_the_lease(make_cloud, moment):
    cloud = make_cloud()
    first, second = cloud.services.scrubber, cloud.services.new_scrubber("second")
    image = cloud.image()
    first.arm(moment, "kill")
    began = time.monotonic()
    cloud.delete(image)
    assert first.wait_dead() == -signal.SIGKILL
    gone = moment != "purge.claim.after"
    assert (image not in cloud.services.files()) is gone
    cloud.services.start(second)
    cloud.wait_purged(image)
    if moment != "purge.record.after":
        assert time.monotonic() - began > LEASE - 0.1, "nobody may take a claim before its lease is over"
        wait_for(lambda: ("already gone" if gone else "purged") in second.said())


def test_frozen_past_its_lease_and_woken_after_another_finished(make_cloud):
    cloud = make_cloud()
    first, second = cloud.services.scrubber, cloud.services.new_scrubber("second")
    image, other = cloud.image(), cloud.image()
    first.arm("purge.claim.after", "stop")
    cloud.delete(image)
    first.wait_fired("purge.claim.after")
    cloud.services.start(second)
    cloud.wait_purged(image)
    first.thaw()
    wait_for(lambda: "removal: not ours" in first.said())
    assert cloud.is_purged(image)
    assert cloud.is_whole(other)


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["filesystem", "rabbitmq"])
def test_two_scrubbers_purge_each_image_once(make_cloud, request, transport):
    url = request.getfixturevalue("rabbitmq").url if transport == "rabbitmq" else None
    cloud = make_cloud(scrubber=False, lease=120, transport_url=url, shared={"DEFAULT": {"scrub_pool_size": 2}})
    images = [cloud.image() for _ in range(30)]
    pair = [cloud.services.new_scrubber(name) for name in ("one", "two")]
    cloud.services.start(*pair)
    for image in images:
        cloud.delete(image)
    cloud.wait_purged(*images)

    def said(words):
        return sum(scrubber.said().count(words) for scrubber in pair)

    wait_for(lambda: said("removal: purged") == 30)
    assert said("removal: ") == 30


def test_i9_without_a_broker_the_sweep_purges(make_cloud):
    cloud = make_cloud(transport_url=f"amqp://user:s3cret-word@127.0.0.1:{processes.free_port()}//")
    image = cloud.image()
    cloud.delete(image)
    cloud.wait_purged(image)
    for daemon in (cloud.services.scrubber, cloud.services.api):
        wait_for(lambda daemon=daemon: "next try in" in daemon.said())
        assert "s3cret-word" not in daemon.said()


@pytest.mark.slow
def test_i10_a_registry_that_comes_back_is_found_again(make_cloud):
    cloud = make_cloud()
    image = cloud.image()
    cloud.services.scrubber.freeze()
    cloud.delete(image)
    cloud.services.registry.kill()
    cloud.services.scrubber.thaw()
    wait_for(lambda: "the registry" in cloud.services.scrubber.said())
    assert cloud.services.files() == [image]
    cloud.services.registry.start()
    cloud.services.registry.wait_ready()
    cloud.wait_purged(image)


@pytest.mark.slow
def test_i6_an_unmounted_store_makes_nothing_deleted(make_cloud):
    cloud = make_cloud()
    image = cloud.image()
    images = cloud.services.images
    images.rename(images.with_name("elsewhere"))
    images.mkdir()
    cloud.delete(image)
    # The line alone may be of the health check.
    wait_for(lambda: "StoreUnavailable" in cloud.services.scrubber.said() and cloud.states(image)[1] == "deleting")
    assert cloud.states(image) == ("pending_delete", "deleting")
    assert cloud.services.files() == []
    images.rmdir()
    images.with_name("elsewhere").rename(images)
    assert cloud.services.files() == [image]
    # Not to wait for the pause of half a minute.
    cloud.rows("UPDATE locations SET not_before = now() WHERE image_id = :id", id=image)
    cloud.wait_purged(image)
