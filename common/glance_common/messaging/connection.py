"""Connections to the message broker, and what can go wrong with them."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlsplit, urlunsplit

from kombu.connection import Connection
from kombu.exceptions import KombuError

from glance_common.config.loading import ConfigError
from glance_common.observability.log import mask_url

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
    """Where messages go: AMQP URLs that are tried in turn, or one directory."""

    urls: tuple[str, ...] = ()
    directory: Path | None = None

    @property
    def name(self) -> str:
        """The place for logs, without credentials (S-02)."""
        return ";".join(mask_url(url) for url in self.urls) or f"filesystem://{self.directory}"


def parse_broker(transport_url: str, group: str = "DEFAULT") -> Broker:
    """Return what the option ``transport_url`` of ``group`` names.

    Files of the original hold URLs of oslo.messaging: ``rabbit`` means amqp, and hosts may be separated by commas.
    Raises ConfigError, which never repeats the URL.
    """
    parts = [urlsplit(url.strip()) for url in transport_url.split(";")]
    if len(parts) == 1 and parts[0].scheme == "filesystem":
        if parts[0].netloc or not parts[0].path.strip("/"):
            raise _refused(group, "filesystem:///directory needs three slashes and an absolute directory")
        return Broker(directory=Path(parts[0].path))
    return Broker(urls=tuple(url for part in parts for url in _amqp_urls(part, group)))


def _amqp_urls(parts: SplitResult, group: str) -> Iterator[str]:
    scheme = "amqp" if parts.scheme == "rabbit" else parts.scheme
    if scheme not in ("amqp", "amqps"):
        raise _refused(group, _ALLOWED)
    unknown = {name for name, _ in parse_qsl(parts.query)} - set(_TLS_PARAMETERS)
    if unknown or (parts.query and scheme != "amqps"):
        raise _refused(group, f"parameters may only be {', '.join(_TLS_PARAMETERS)} of an amqps URL")
    for host in parts.netloc.split(","):
        single = parts._replace(scheme=scheme, netloc=host)
        try:
            usable = bool(single.hostname) and single.port != 0
        except ValueError:
            usable = False
        if not usable:
            raise _refused(group, _ALLOWED)
        yield urlunsplit(single)


def _refused(group: str, allowed: str) -> ConfigError:
    return ConfigError(group, "transport_url", "***", allowed)


@contextmanager
def held(connection: Connection) -> Iterator[Connection]:
    """Give an open connection and close it, after trouble without the handshake of closing.

    A broker that is gone or blocks us would not answer that.
    """
    try:
        yield connection
    except BaseException:
        connection.collect()
        raise
    connection.release()


def open_amqp(broker: Broker) -> Connection:
    """Return a connection to the first broker that takes one; no call on it waits for more than ANSWER_TIMEOUT.

    Everything it raises, now and later, is one of ``BROKER_ERRORS``.
    """
    for url in broker.urls[:-1]:
        try:
            return _open(url)
        except BROKER_ERRORS:
            continue
    return _open(broker.urls[-1])


def _open(url: str) -> Connection:
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
    # What py-amqp raises when the broker closed the socket in the middle of a call.
    AttributeError,
)
"""What a connection raises when the broker is away, blocks, refuses, or was restarted."""


def describe(error: Exception) -> str:
    """Return what to log for one of BROKER_ERRORS."""
    # With a number it is the kernel that speaks, not our own limit.
    if isinstance(error, TimeoutError) and error.errno is None:
        return f"no answer within {ANSWER_TIMEOUT:g} s: it hangs, or an alarm for memory or disk blocks publishers"
    return str(error) or type(error).__name__
