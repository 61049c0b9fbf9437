"""Exchange and queues of deletions, and how a connection to them is made.

On RabbitMQ the queue is a quorum queue with a bound on its length: when nobody consumes, the oldest messages are
dropped, because the sweep finds their rows. The queues have no dead-letter exchange of the broker's: it would also
receive everything that the bound drops; the consumer itself parks what cannot be read.
"""

import random
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlsplit, urlunsplit

from kombu.connection import Connection
from kombu.entity import Exchange, Queue
from kombu.exceptions import KombuError

from glance_common.config import ConfigError
from glance_common.log import mask_url

MAX_LENGTH = 100_000
"""Messages kept while nobody consumes."""

EXCHANGE = Exchange("glance", type="direct", durable=True)
DELETE_QUEUE = Queue(
    "glance.delete", EXCHANGE, routing_key="glance.delete", durable=True,
    queue_arguments={"x-queue-type": "quorum", "x-max-length": MAX_LENGTH, "x-overflow": "drop-head"},
)
DEAD_QUEUE = Queue(
    "glance.delete.dead", EXCHANGE, routing_key="glance.delete.dead", durable=True,
    queue_arguments={"x-queue-type": "quorum", "x-max-length": 10_000, "x-overflow": "drop-head"},
)
"""Messages that could not be read, for an operator to look at.

Declared by whoever parks the first one: a quorum queue that was never used does not answer any more after its broker
was killed (seen with RabbitMQ 3.10.8)."""

CONNECT_TIMEOUT = 5.0
ANSWER_TIMEOUT = 10.0
"""Seconds to wait for any answer of the broker, a publisher confirm included. A broker whose memory or disk alarm is
on stops reading from its publishers, so without a limit they would wait for as long as the alarm lasts."""

# A peer that vanished without a word is noticed by the kernel within a minute, also while a thread only listens.
_KEEPALIVE = {socket.TCP_KEEPIDLE: 30, socket.TCP_KEEPINTVL: 10, socket.TCP_KEEPCNT: 3}
_ALLOWED = (
    "must be amqp://user:password@host:5672/vhost or amqps://…, several separated by ';', or filesystem:///directory"
)
_TLS_PARAMETERS = {"ca_file": "ca_certs", "cert_file": "certfile", "key_file": "keyfile"}


@dataclass(frozen=True, slots=True)
class Broker:
    """Where the queue is: AMQP URLs that are tried in turn, or one directory."""

    urls: tuple[str, ...] = ()
    directory: Path | None = None

    @property
    def name(self) -> str:
        """The place for logs, without credentials (S-02)."""
        return ";".join(mask_url(url) for url in self.urls) or f"filesystem://{self.directory}"


def parse_broker(transport_url: str) -> Broker:
    """Return what the option ``transport_url`` names.

    Files of the original hold URLs of oslo.messaging: ``rabbit`` means amqp, and hosts may be separated by commas.
    Raises ConfigError, which never repeats the URL.
    """
    parts = [urlsplit(url.strip()) for url in transport_url.split(";")]
    if len(parts) == 1 and parts[0].scheme == "filesystem":
        if parts[0].netloc or not parts[0].path.strip("/"):
            raise _refused("filesystem:///directory needs three slashes and an absolute directory")
        return Broker(directory=Path(parts[0].path))
    return Broker(urls=tuple(url for part in parts for url in _amqp_urls(part)))


def _amqp_urls(parts: SplitResult) -> Iterator[str]:
    scheme = "amqp" if parts.scheme == "rabbit" else parts.scheme
    if scheme not in ("amqp", "amqps"):
        raise _refused(_ALLOWED)
    unknown = {name for name, _ in parse_qsl(parts.query)} - set(_TLS_PARAMETERS)
    if unknown or (parts.query and scheme != "amqps"):
        raise _refused(f"parameters may only be {', '.join(_TLS_PARAMETERS)} of an amqps URL")
    for host in parts.netloc.split(","):
        single = parts._replace(scheme=scheme, netloc=host)
        try:
            usable = bool(single.hostname) and single.port != 0
        except ValueError:
            usable = False
        if not usable:
            raise _refused(_ALLOWED)
        yield urlunsplit(single)


def _refused(allowed: str) -> ConfigError:
    return ConfigError("DEFAULT", "transport_url", "***", allowed)


@contextmanager
def connected(broker: Broker) -> Iterator[Connection]:
    """Give a connection with DELETE_QUEUE declared, and close it.

    Everything the connection raises within the block is one of ``BROKER_ERRORS``; no call on it waits for more than
    ANSWER_TIMEOUT.
    """
    connection = _open(broker)
    try:
        DELETE_QUEUE(connection.default_channel).declare()
        yield connection
    except BaseException:
        # Without the closing handshake, which a broker that is gone or blocks us would not answer.
        connection.collect()
        raise
    connection.release()


def _open(broker: Broker) -> Connection:
    if broker.directory is not None:
        broker.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        options = {"data_folder_in": broker.directory, "data_folder_out": broker.directory, "polling_interval": 0.5}
        return Connection(transport="glance_common.delete_queue.filesystem:Transport", transport_options=options)
    for url in broker.urls[:-1]:
        try:
            return _open_amqp(url)
        except BROKER_ERRORS:
            continue
    return _open_amqp(broker.urls[-1])


def _open_amqp(url: str) -> Connection:
    parts = urlsplit(url)
    connection = Connection(
        urlunsplit(parts._replace(scheme="amqp", query="")),
        ssl=_tls(parts) if parts.scheme == "amqps" else False,
        port=parts.port or (5671 if parts.scheme == "amqps" else 5672),
        connect_timeout=CONNECT_TIMEOUT,
        transport_options={"confirm_publish": True, "socket_settings": _KEEPALIVE},
    )
    connection.ensure_connection(max_retries=0)
    connection.connection.transport.sock.settimeout(ANSWER_TIMEOUT)
    return connection


def _tls(parts: SplitResult) -> dict[str, Any]:
    """Return the arguments for TLS; the broker's certificate is always checked."""
    files = {_TLS_PARAMETERS[name]: path for name, path in parse_qsl(parts.query)}
    return {"cert_reqs": ssl.CERT_REQUIRED, "server_hostname": parts.hostname, **files}


BROKER_ERRORS: tuple[type[Exception], ...] = (
    *Connection("amqp://").connection_errors,
    *Connection("amqp://").channel_errors,
    *Connection("amqp://").recoverable_connection_errors,
    KombuError,
    OSError,
    # What py-amqp raises when the other thread of control, the broker, closed the socket in the middle of a call.
    AttributeError,
)
"""What a connection raises when the broker is away, blocks, refuses, or was restarted."""


def describe(error: Exception) -> str:
    """Return what to log for one of BROKER_ERRORS."""
    # With a number it is the kernel that speaks, not our own limit.
    if isinstance(error, TimeoutError) and error.errno is None:
        return f"no answer within {ANSWER_TIMEOUT:g} s: it hangs, or an alarm for memory or disk blocks publishers"
    return str(error) or type(error).__name__


class Backoff:
    """Growing pauses between tries, with jitter so that many processes do not come back at the same moment."""

    def __init__(self, first: float = 0.5, most: float = 30.0) -> None:
        self._first, self._most = first, most
        self._tries = 0

    def reset(self) -> None:
        """Begin again with the shortest pause."""
        self._tries = 0

    def next(self) -> float:
        """Return the seconds to wait before the next try."""
        pause = min(self._most, self._first * 2.0 ** min(self._tries, 20))
        self._tries += 1
        return pause * random.uniform(0.5, 1.0)  # noqa: S311 - jitter is no secret
