"""``glance-scrubber --dead-letters``: unreadable messages and purges that failed too often, listed and replayed."""

from deploy.local import processes


def test_failed_purges_are_listed_and_tried_again(make_cloud):
    cloud = make_cloud(scrubber=False)
    assert cloud.services.scrub_once("--dead-letters", "list").stdout == (
        "There are no dead letters and no failed purges.\n"
    )
    image = cloud.image()
    cloud.delete(image)
    cloud.rows("UPDATE locations SET status = 'failed', attempts = 100, last_error = 'the disk is on fire'")
    queue = cloud.services.queue
    (queue / "1_a.glance.delete.dead.msg").write_bytes(b"nonsense")
    listed = cloud.services.scrub_once("--dead-letters", "list")
    assert (listed.returncode, listed.stderr) == (0, "")
    for words in ("nonsense", image, "the disk is on fire"):
        assert words in listed.stdout
    done = cloud.services.scrub_once("--dead-letters", "replay")
    # What cannot be read stays.
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout == (
        "0 messages are in the delete queue again, 1 cannot be read and stay; 1 of 1 failed purges are due again\n"
    )
    assert cloud.services.scrub_once().returncode == 0
    assert cloud.is_purged(image)


def test_a_broker_that_is_away_changes_nothing(make_cloud):
    cloud = make_cloud(scrubber=False, transport_url=f"amqp://127.0.0.1:{processes.free_port()}//")
    image = cloud.image()
    cloud.delete(image)
    cloud.rows("UPDATE locations SET status = 'failed', attempts = 100")
    for action in ("list", "replay"):
        done = cloud.services.scrub_once("--dead-letters", action)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("ERROR: the delete queue at ")
        assert done.stderr.count("\n") == 1
    assert cloud.states(image) == ("pending_delete", "failed")
