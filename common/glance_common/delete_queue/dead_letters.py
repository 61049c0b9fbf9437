"""The dead queue for operators: what is in it, and the way back into the delete queue.

A message that this version cannot read stays where it is. A failure in the middle of a replay leaves a message in both
queues, which costs one refused claim.
"""

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from amqp.exceptions import NotFound
from kombu.connection import Connection
from kombu.messaging import Producer

from glance_common.delete_queue.broker import DEAD_QUEUE, DELETE_QUEUE, EXCHANGE, connected
from glance_common.delete_queue.message import BadMessage, Nudge, decode, encode
from glance_common.messaging.connection import Broker

SHOWN = 80
"""Bytes of a message that are shown."""

MOST = 10_000
"""Messages that are looked at in one call, which is also the bound of the dead queue."""

_LARGEST = 2**20
"""Bytes of a file that is read as a message."""

_UNKNOWN = "it is no message of this queue"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One message: why it was put aside, what it says to this version (None = unreadable), and how it begins."""

    reason: str
    nudge: Nudge | None
    beginning: str


def listed(broker: Broker) -> list[DeadLetter]:
    """Return what is in the dead queue; it stays there. Raises one of BROKER_ERRORS."""
    found: list[DeadLetter] = []

    def keep(letter: DeadLetter) -> bool:
        found.append(letter)
        return False

    _each(broker, keep)
    return found


def replay(broker: Broker) -> tuple[int, int]:
    """Put every message that can be read back into the delete queue; return how many were, and how many stay.

    Raises one of BROKER_ERRORS.
    """
    stay = replayed = 0
    with connected(broker) as connection:
        producer = Producer(connection.default_channel)

        def send(letter: DeadLetter) -> bool:
            nonlocal stay, replayed
            if letter.nudge is None:
                stay += 1
                return False
            producer.publish(
                encode(letter.nudge), exchange=EXCHANGE.name, routing_key=DELETE_QUEUE.routing_key, retry=False,
                content_type="application/octet-stream", content_encoding="binary", delivery_mode="persistent",
            )
            replayed += 1
            return True

        _each(broker, send)
    return replayed, stay


def _each(broker: Broker, work: Callable[[DeadLetter], bool]) -> None:
    """Call ``work`` for each message, which leaves the dead queue when that returns True."""
    if broker.directory is not None:
        for path, letter in _files(broker.directory):
            if work(letter):
                path.unlink(missing_ok=True)
        return
    # What is not acknowledged goes back to its place with the end of the connection.
    with connected(broker) as connection:
        _each_of_queue(connection, work)


def _each_of_queue(connection: Connection, work: Callable[[DeadLetter], bool]) -> None:
    channel = connection.default_channel
    try:
        waiting = DEAD_QUEUE(channel).queue_declare(passive=True).message_count
    except NotFound:
        # The first message that is put aside makes the queue.
        return
    for _ in range(min(waiting, MOST)):
        raw = channel.basic_get(DEAD_QUEUE.name)
        if raw is None:
            return
        message = channel.message_to_python(raw)
        body = message.body
        data = body.encode("utf-8", "surrogateescape") if isinstance(body, str) else bytes(body)
        if work(_letter(data, str((message.headers or {}).get("reason") or _UNKNOWN))):
            message.ack()


def _files(directory: Path) -> Iterator[tuple[Path, DeadLetter]]:
    """Yield the parked files of a queue that is a directory, oldest first."""
    suffix = f"{DEAD_QUEUE.name}.msg"
    names = sorted(path.name for path in directory.glob(f"*.{suffix}") if path.name.partition(".")[2] == suffix)
    for name in names[:MOST]:
        path = directory / name
        try:
            with path.open("rb") as file:
                data = file.read(_LARGEST)
        except FileNotFoundError:
            continue
        yield path, _unwrapped(data)


def _unwrapped(data: bytes) -> DeadLetter:
    """Return the message in a file: in the transport's wrapping, or whatever else it holds."""
    try:
        wrapped = json.loads(data)
        body = wrapped["body"].encode()
        if wrapped["properties"]["body_encoding"] == "base64":
            body = base64.b64decode(body)
        return _letter(body, str((wrapped.get("headers") or {}).get("reason") or _UNKNOWN))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return DeadLetter(_UNKNOWN, None, _shown(data))


def _letter(body: bytes, reason: str) -> DeadLetter:
    try:
        nudge = decode(body)
    except BadMessage:
        nudge = None
    return DeadLetter(reason[:200], nudge, _shown(body))


def _shown(data: bytes) -> str:
    return repr(data[:SHOWN])[2:-1]
