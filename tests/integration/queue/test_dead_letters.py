"""Dead letters on both transports: listing changes nothing, a replay brings back what can be read."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest
from deploy.local import processes
from kombu.messaging import Producer

from glance_common.delete_queue import dead_letters
from glance_common.delete_queue.broker import DEAD_QUEUE, DELETE_QUEUE, EXCHANGE, connected
from glance_common.delete_queue.message import Nudge, encode
from glance_common.messaging.connection import BROKER_ERRORS, parse_broker


def park(url: str, *bodies: bytes) -> None:
    """Put bodies into the dead queue, as the consumer does."""
    with connected(parse_broker(url)) as connection:
        DEAD_QUEUE(connection.default_channel).declare()
        for body in bodies:
            Producer(connection.default_channel).publish(
                body, exchange=EXCHANGE.name, routing_key=DEAD_QUEUE.routing_key, retry=False,
                content_type="application/octet-stream", content_encoding="binary", delivery_mode="persistent",
                headers={"reason": "the body is not JSON"},
            )


def waiting(url: str) -> list[bytes]:
    """Take what is in the delete queue."""
    found = []
    with connected(parse_broker(url)) as connection:
        channel = connection.default_channel
        while (raw := channel.basic_get(DELETE_QUEUE.name)) is not None:
            message = channel.message_to_python(raw)
            found.append(bytes(message.body))
            message.ack()
    return found


def test_a_queue_that_never_had_one_is_empty(url: str) -> None:
    assert dead_letters.listed(parse_broker(url)) == []
    assert dead_letters.replay(parse_broker(url)) == (0, 0)


def test_listing_leaves_everything_and_a_replay_what_cannot_be_read(url: str) -> None:
    broker = parse_broker(url)
    nudge = Nudge(str(uuid4()), "req-1")
    park(url, b"\xff\x00 nonsense", encode(nudge), b"[" * 300)
    for _ in range(3):
        letters = dead_letters.listed(broker)
        assert [letter.nudge for letter in letters] == [None, nudge, None]
        assert letters[0].reason == "the body is not JSON"
        assert letters[0].beginning == "\\xff\\x00 nonsense"
        assert len(letters[2].beginning) == dead_letters.SHOWN
    assert dead_letters.replay(broker) == (1, 2)
    assert waiting(url) == [encode(nudge)]
    assert [letter.nudge for letter in dead_letters.listed(broker)] == [None, None]
    assert dead_letters.replay(broker) == (0, 2)
    assert waiting(url) == []


def test_a_file_that_is_no_message_is_listed_and_stays(tmp_path: Path) -> None:
    broker = parse_broker(f"filesystem://{tmp_path}/queue")
    park(f"filesystem://{tmp_path}/queue")
    for number, data in enumerate((b"\x00\xff", b"{}", b'{"body": 5, "properties": {}}', b"[" * 100_000)):
        (tmp_path / "queue" / f"{number}_x.{DEAD_QUEUE.name}.msg").write_bytes(data)
    letters = dead_letters.listed(broker)
    assert [letter.nudge for letter in letters] == [None] * 4
    assert dead_letters.replay(broker) == (0, 4)
    assert len(list((tmp_path / "queue").glob("*.msg"))) == 4


def test_a_broker_that_is_away_is_told() -> None:
    with pytest.raises(BROKER_ERRORS):
        dead_letters.listed(parse_broker(f"amqp://127.0.0.1:{processes.free_port()}//"))
