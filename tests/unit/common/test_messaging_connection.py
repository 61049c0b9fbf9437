"""The option transport_url, and what is logged about a broker."""

from pathlib import Path

import pytest

from glance_common.config.loading import ConfigError
from glance_common.messaging.connection import Broker, describe, parse_broker


@pytest.mark.parametrize(
    ("url", "urls"),
    [
        ("amqp://u:p@host:5672/v", ["amqp://u:p@host:5672/v"]),
        ("rabbit://u:p@host", ["amqp://u:p@host"]),
        ("amqps://host/v?ca_file=/ca.pem", ["amqps://host/v?ca_file=/ca.pem"]),
        ("amqp://a;amqp://b", ["amqp://a", "amqp://b"]),
        ("rabbit://u:p@a:1,u:q@b:2/v", ["amqp://u:p@a:1/v", "amqp://u:q@b:2/v"]),
        ("amqp://u:p@[::1]:5672/", ["amqp://u:p@[::1]:5672/"]),
    ],
)
def test_urls_of_brokers_ours_and_the_originals(url, urls):
    assert parse_broker(url) == Broker(urls=tuple(urls))


def test_a_directory():
    assert parse_broker("filesystem:///var/lib/glance/queue") == Broker(directory=Path("/var/lib/glance/queue"))


@pytest.mark.parametrize(
    "url",
    [
        "", "host", "http://secret@host", "redis://secret@host", "amqp://", "amqp://secret@", "amqp://host:port",
        "amqp://a;", "amqp://a;filesystem:///q", "filesystem://queue", "filesystem:///", "filesystem://host/queue",
        "amqp://host?ca_file=/ca", "amqps://host?verify=no", "rabbit://a,,b/v",
    ],
)
def test_anything_else_stops_the_start_and_is_not_repeated(url):
    with pytest.raises(ConfigError, match="transport_url") as caught:
        parse_broker(url)
    assert "secret" not in str(caught.value)


def test_s_02_the_name_for_logs_has_no_credentials():
    name = parse_broker("amqp://user:secret@a/v;amqps://user:secret@b/v").name
    assert "secret" not in name
    assert "user" not in name
    assert "a/v" in name
    assert "b/v" in name


def test_our_own_time_limit_is_explained():
    assert "alarm" in describe(TimeoutError("timed out"))
    assert describe(TimeoutError(110, "Connection timed out")) == "[Errno 110] Connection timed out"
    assert describe(ConnectionError()) == "ConnectionError"
