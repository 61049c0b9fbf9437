"""From publisher to consumer, over a real RabbitMQ and over a directory."""

import json
import threading
import time

import pytest
from amqp.exceptions import AccessRefused
from kombu.message import Message
from tests.support.queues import bodies, put
from tests.support.waiting import wait_for
from tests.unit.scrubber.fakes import make_scrubber

from glance_common.delete_queue.broker import DEAD_QUEUE, DELETE_QUEUE, connected
from glance_common.messaging.connection import parse_broker
from glance_common.model.errors import OutcomeUnknown, Unavailable
from glance_scrubber import batch, consumer, scrub
from glance_scrubber.batch import MOST
from glance_scrubber.consumer import drain
from glance_scrubber.sweep import Sweep


def test_what_is_published_is_purged_and_the_queue_is_empty(url, bench):
    locations = bench.add(30)
    bench.consume(url)
    publisher = bench.publisher(url)
    for location in locations:
        publisher.publish([location], f"req-{location}")
    bench.wait_purged(locations)
    assert bench.deletions.calls["done"] == 30
    assert bodies(url) == []


def test_a_message_by_itself_is_worked_for_its_request(url, bench):
    bench.consume(url)
    publisher = bench.publisher(url)
    for location in bench.add(2):
        publisher.publish([location], f"req-{location}")
        bench.wait_purged([location])
        assert ("claim", f"req-{location}") in bench.deletions.asked


def test_messages_that_wait_are_worked_together_with_one_claim(url, bench, monkeypatch):
    claims = []
    claim_many = bench.deletions.claim_many

    def noted(context, locations, token, **terms):
        claims.append(len(locations))
        return claim_many(context, locations, token, **terms)

    monkeypatch.setattr(bench.deletions, "claim_many", noted)
    locations = bench.add(2 * MOST)
    bench.publish(url, locations)
    bench.consume(url)
    bench.wait_purged(locations)
    assert max(claims) > 1
    assert max(claims) <= MOST
    assert bodies(url) == []


def test_what_is_given_back_comes_again_with_its_message(url, bench, monkeypatch):
    """A batch begins one delete only here: the messages of the others have to come again."""
    monkeypatch.setattr(batch, "LONGEST", 0.0)
    locations = bench.add(10)
    bench.publish(url, locations)
    bench.consume(url)
    bench.wait_purged(locations)
    bench.close()
    assert bodies(url) == []
    assert len(bench.store.deleted) == len(locations)


def test_several_consumers_share_the_work_and_duplicates_do_no_harm(url, bench, monkeypatch):
    # A batch that a busy machine holds up would give back, and claim again, what it has not begun.
    monkeypatch.setattr(batch, "LONGEST", 3600.0)
    monkeypatch.setattr(scrub, "LONGEST", 3600.0)
    locations = bench.add(40)
    publishers = [bench.publisher(url) for _ in range(2)]
    for publisher in publishers:
        publisher.publish(locations, None)
    bench.consume(url, consumers=3)
    bench.wait_purged(locations)
    # What one batch names twice is claimed once.
    wait_for(lambda: bodies(url) == [])
    assert 40 <= bench.deletions.calls["claim"] <= 80
    assert bench.deletions.calls["done"] == 40
    assert sorted(bench.store.deleted) == sorted(bench.deletions.rows[location].key for location in locations)


def test_a_refused_claim_is_forgotten(url, bench):
    bench.publisher(url).publish([bench.deletions.add(is_due=False)], None)
    bench.consume(url)
    wait_for(lambda: bench.deletions.calls["claim"] == 1)
    bench.close()
    assert bodies(url) == []
    assert bench.store.deleted == []


@pytest.mark.parametrize(
    "poison", [b"", b"\x00\xff", b"not json", b'{"version": 9}', b'{"version": 1, "location": "x"}']
)
def test_what_cannot_be_read_goes_to_the_dead_queue_and_stops_nothing(url, bench, poison):
    put(url, poison)
    locations = bench.add(1)
    bench.publisher(url).publish(locations, None)
    bench.consume(url)
    bench.wait_purged(locations)
    bench.close()
    wait_for(lambda: bodies(url, dead=True) == [poison])
    assert bodies(url) == []


def test_a_registry_that_is_away_is_waited_for_without_spinning(url, bench):
    locations = bench.add(1)
    bench.deletions.broken["claim"] = Unavailable("down")
    bench.publisher(url).publish(locations, None)
    bench.consume(url)
    wait_for(lambda: bench.deletions.calls["claim"] >= 1)
    time.sleep(2)
    # Three by then; spinning would make thousands.
    assert bench.deletions.calls["claim"] <= 20
    bench.deletions.broken.clear()
    bench.wait_purged(locations)


def test_a_lost_answer_is_repeated_with_the_same_token(url, bench):
    locations = bench.add(1)
    bench.deletions.broken["done"], bench.deletions.late = OutcomeUnknown("no answer"), True
    bench.publisher(url).publish(locations, None)
    bench.consume(url)
    wait_for(lambda: bench.deletions.calls["done"] >= 1)
    bench.deletions.broken.clear()
    bench.wait_purged(locations)
    assert len(bench.store.deleted) == 1


def test_a_registry_that_dies_without_an_answer_is_waited_for(url, bench):
    locations = bench.add(1)
    bench.deletions.broken = {"claim": OutcomeUnknown("no answer"), "due": Unavailable("down")}
    bench.publisher(url).publish(locations, None)
    bench.consume(url, lease=0.3)
    wait_for(lambda: bench.deletions.calls["claim"] >= 3)
    bench.deletions.broken = {}
    bench.wait_purged(locations)


def test_a_stop_while_the_registry_is_away_gives_the_message_back(url, bench):
    bench.deletions.broken["claim"] = Unavailable("down")
    bench.publisher(url).publish(bench.add(1), None)
    bench.consume(url)
    wait_for(lambda: bench.deletions.calls["claim"] >= 1)
    bench.close()
    # A queue takes back what a connection had in hand some time after its end.
    wait_for(lambda: len(bodies(url)) == 1)


def test_a_stop_finishes_the_image_in_hand_and_takes_no_other(url, bench):
    locations = bench.add(3)
    bench.store.gate.clear()
    bench.publisher(url).publish(locations, None)
    thread = bench.consume(url)
    assert bench.store.entered.wait(60)
    bench.stop.set()
    time.sleep(0.3)
    assert thread.is_alive()
    bench.store.gate.set()
    thread.join(60)
    assert not thread.is_alive()
    assert [bench.purged([location]) for location in locations] == [True, False, False]
    wait_for(lambda: len(bodies(url)) == 2)


@pytest.mark.parametrize("pool_size", [1, 4])
def test_one_pass_takes_what_is_there_and_waits_for_no_more(url, bench, pool_size):
    locations = bench.add(10)
    put(url, b"poison")
    bench.publish(url, locations)
    scrubber = make_scrubber(bench.deletions, bench.store, pool_size=pool_size)
    started = time.monotonic()
    drain(parse_broker(url), scrubber, threading.Event())
    assert time.monotonic() - started < 120
    assert bench.purged(locations)
    assert bodies(url) == []
    wait_for(lambda: bodies(url, dead=True) == [b"poison"])
    drain(parse_broker(url), scrubber, threading.Event())


def test_one_pass_without_a_registry_leaves_the_messages(url, bench):
    bench.publish(url, bench.add(5))
    bench.deletions.broken["claim"] = Unavailable("down")
    with pytest.raises(Unavailable):
        drain(parse_broker(url), make_scrubber(bench.deletions, bench.store), threading.Event())
    wait_for(lambda: len(bodies(url)) == 5)


def test_what_a_purged_queue_lost_is_found_by_the_sweep(url, bench):
    locations = bench.add(20)
    bench.publish(url, locations)
    assert purge(url) == 20
    scrubber = make_scrubber(bench.deletions, bench.store)
    drain(parse_broker(url), scrubber, threading.Event())
    assert not bench.purged(locations[:1])
    Sweep(bench.deletions, scrubber, threading.Event()).run_once()
    bench.wait_purged(locations, seconds=1)


def purge(url):
    with connected(parse_broker(url)) as connection:
        return connection.default_channel.queue_purge(DELETE_QUEUE.name)


def test_poison_that_came_before_is_parked_too(rabbit_url, bench):
    """Another consumer had it in hand and gave it back or died: that says nothing of the dead queue."""
    put(rabbit_url, b"poison")
    assert bodies(rabbit_url) == [b"poison"]
    bench.consume(rabbit_url)
    wait_for(lambda: bodies(rabbit_url, dead=True) == [b"poison"])
    bench.close()
    assert bodies(rabbit_url) == []


def test_poison_is_parked_in_a_dead_queue_that_another_made(rabbit_url, bench):
    with connected(parse_broker(rabbit_url)) as connection:
        # Not as the consumer would declare it.
        connection.default_channel.queue_declare(DEAD_QUEUE.name, durable=True, auto_delete=False)
    put(rabbit_url, b"poison")
    locations = bench.add(1)
    bench.publisher(rabbit_url).publish(locations, None)
    bench.consume(rabbit_url)
    bench.wait_purged(locations)
    wait_for(lambda: bodies(rabbit_url, dead=True) == [b"poison"])


def test_poison_that_cannot_be_parked_is_kept_and_stops_nothing(rabbit_url, bench, monkeypatch):
    park, tried = consumer._park, []

    def refused(*asked):
        tried.append(asked)
        if len(tried) < 3:
            raise AccessRefused("no permission")
        park(*asked)

    monkeypatch.setattr(consumer, "_park", refused)
    put(rabbit_url, b"poison")
    locations = bench.add(5)
    bench.publish(rabbit_url, locations)
    bench.consume(rabbit_url)
    bench.wait_purged(locations)
    wait_for(lambda: bodies(rabbit_url, dead=True) == [b"poison"])
    assert len(tried) == 3


def test_one_that_the_registry_cannot_handle_does_not_hold_the_others(url, bench, caplog):
    odd, *locations = bench.add(10)
    bench.deletions.poison.add(odd)
    bench.publish(url, [odd, *locations])
    bench.consume(url)
    bench.wait_purged(locations)
    wait_for(lambda: caplog.text.count("cannot handle location") == 2)
    bench.close()
    assert bodies(url) == [], "the sweep meets the row again"
    assert bench.deletions.rows[odd].status == "pending_delete"


def test_a_message_that_the_registry_never_handles_is_left_to_the_sweep(url, bench, caplog):
    [odd] = bench.add(1)
    bench.deletions.poison.add(odd)
    bench.publish(url, [odd])
    drain(parse_broker(url), make_scrubber(bench.deletions, bench.store), threading.Event())
    assert bodies(url) == []
    locations = bench.add(1)
    bench.consume(url)
    again = bench.publisher(url)
    again.publish([odd], None)
    again.publish(locations, None)
    bench.wait_purged(locations)
    # Once in the pass, and twice by the consumer.
    wait_for(lambda: caplog.text.count("cannot handle location") == 3)
    bench.close()
    assert bodies(url) == []


def test_a_message_is_given_back_once_only(rabbit_url, bench, monkeypatch):
    """RabbitMQ drops what is given back too often."""
    monkeypatch.setattr(batch, "LONGEST", 0.0)
    monkeypatch.setattr(scrub, "LONGEST", 0.0)
    # Each batch begins one delete only, and the next is as large again.
    monkeypatch.setattr(consumer, "next_size", lambda size, *_: 5 if size == MOST else MOST)
    given_back = []
    requeue = Message.requeue

    def noted(message):
        given_back.append(str(message.body))
        requeue(message)

    monkeypatch.setattr(Message, "requeue", noted)
    locations = bench.add(20)
    bench.publish(rabbit_url, locations)
    bench.consume(rabbit_url)
    bench.wait_purged(locations)
    wait_for(lambda: bodies(rabbit_url) == [])
    assert given_back
    assert len(given_back) == len(set(given_back))


def test_a_message_that_the_library_cannot_unpack_is_parked_too(url, bench):
    put(url, json.dumps({"version": 1}).encode(), headers={"compression": "application/x-gzip"})
    locations = bench.add(1)
    bench.publisher(url).publish(locations, None)
    bench.consume(url)
    bench.wait_purged(locations)
    bench.close()
    wait_for(lambda: len(bodies(url, dead=True)) == 1)
