"""The queue as a directory: complete messages, one owner each, a bound, and garbage put aside."""

import stat
import threading
from itertools import chain
from uuid import uuid4

import pytest
from tests.support.queues import bodies, put

from glance_common.delete_queue import DeletePublisher, filesystem
from glance_common.delete_queue.broker import DELETE_QUEUE, connected
from glance_common.delete_queue.message import decode
from glance_common.messaging.connection import parse_broker


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "deep/queue"


@pytest.fixture
def url(folder):
    return f"filesystem://{folder}"


def take_all(url):
    """Take and acknowledge what is there."""
    taken = []
    with connected(parse_broker(url)) as connection:
        channel = connection.default_channel
        while (message := channel.basic_get(DELETE_QUEUE.name)) is not None:
            taken.append(message.body)
            message.ack()
    return taken


def test_only_the_owner_may_look_into_the_queue(url, folder):
    put(url, b"x")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()] == [0o600]


def test_what_was_taken_and_acknowledged_leaves_nothing_behind(url, folder):
    put(url, b"one")
    put(url, b"two")
    assert take_all(url) == [b"one", b"two"]
    assert list(folder.iterdir()) == []


def test_what_was_not_acknowledged_comes_back_with_the_end_of_the_connection(url):
    put(url, b"one")
    with connected(parse_broker(url)) as connection:
        assert connection.default_channel.basic_get(DELETE_QUEUE.name).body == b"one"
    assert take_all(url) == [b"one"]


def test_an_unfinished_message_of_a_killed_writer_is_no_message(url, folder):
    put(url, b"one")
    (folder / ".4711-140.unfinished").write_text('{"body"')
    assert take_all(url) == [b"one"]


@pytest.mark.parametrize(
    "garbage", [b"", b"\xff\xfe", b"{}", b"[]", b'{"body": 7, "properties": {"delivery_tag": "a"}}']
)
def test_a_file_that_is_no_message_is_parked_and_does_not_stop_the_others(url, folder, garbage):
    put(url, b"one")
    path = folder / f"0_garbage.{DELETE_QUEUE.name}.msg"
    path.write_bytes(garbage)
    put(url, b"two")
    assert take_all(url) == [b"one", b"two"]
    assert [path.name for path in folder.iterdir()] == ["0_garbage.glance.delete.dead.msg"]


def test_files_of_others_are_left_alone(url, folder):
    put(url, b"one")
    for name in ("README", "1_2.other.msg", "1_2.glance.delete.dead.msg"):
        (folder / name).write_text("")
    assert take_all(url) == [b"one"]
    assert len(list(folder.iterdir())) == 3


def test_the_queue_has_a_bound(url, monkeypatch):
    monkeypatch.setattr(filesystem, "MAX_LENGTH", 25)
    monkeypatch.setattr(filesystem, "_COUNT_AHEAD", 10)
    publisher = DeletePublisher(url)
    publisher.publish([str(uuid4()) for _ in range(100)], None)
    publisher.start()
    publisher.stop()
    assert len(bodies(url)) == 25


def test_several_writers_and_readers_share_it_and_each_message_has_one_reader(url):
    locations = [[str(uuid4()) for _ in range(150)] for _ in range(3)]
    publishers = [DeletePublisher(url) for _ in locations]
    taken, still_writing = [], threading.Event()

    def read():
        while not still_writing.is_set():
            taken.extend(take_all(url))
        taken.extend(take_all(url))

    readers = [threading.Thread(target=read) for _ in range(3)]
    for thread in readers:
        thread.start()
    for publisher, mine in zip(publishers, locations, strict=True):
        publisher.start()
        publisher.publish(mine, None)
    for publisher in publishers:
        publisher.stop(timeout=60)
    still_writing.set()
    for thread in readers:
        thread.join()
    assert sorted(decode(body).location for body in taken) == sorted(chain.from_iterable(locations))
