"""The metrics address: what is a good one, and what it answers."""

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from deploy.local import processes
from prometheus_client import CollectorRegistry, Counter

from glance_common.config.loading import ConfigError
from glance_common.monitor.exporter import Address, Exporter, parse_address


@pytest.mark.parametrize(
    ("text", "address"),
    [("127.0.0.1:9392", Address("127.0.0.1", 9392)), ("[::1]:1", Address("::1", 1)), ("", None), (None, None)],
)
def test_addresses(text, address):
    assert parse_address(text) == address
    if address is not None:
        assert str(address) == text


@pytest.mark.parametrize("text", ["9392", ":9392", "localhost:9392", "::1:9392", "1.2.3:9392", "127.0.0.1:0",
                                  "127.0.0.1:65536", "127.0.0.1", "[::1]", "127.0.0.1:9392/x"])
def test_anything_else_is_refused_with_the_rule(text):
    with pytest.raises(ConfigError, match=r"metrics_bind.*must be an IP address and a port"):
        parse_address(text)


def free_address() -> Address:
    return Address(processes.LOOPBACK, processes.free_port())


def wait_answer(url: str) -> requests.Response:
    deadline = time.monotonic() + 60
    while True:
        try:
            return requests.get(url, timeout=60)
        except requests.ConnectionError:
            assert time.monotonic() < deadline, "nobody answers"
            time.sleep(0.02)


@pytest.fixture
def registry():
    registry = CollectorRegistry()
    Counter("glance_test", "text", registry=registry).inc(7)
    return registry


def test_metrics_and_health_are_answered_until_the_stop(registry):
    address, document, collected = free_address(), {"status": "ok"}, []
    exporter = Exporter(address, [registry], lambda: document, before=lambda: collected.append(1))
    exporter.start()
    answer = wait_answer(f"http://{address}/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    assert "glance_test_total 7.0" in answer.text
    assert collected == [1]
    assert requests.get(f"http://{address}/healthcheck", timeout=60).status_code == 200
    document["status"] = "degraded"
    assert requests.get(f"http://{address}/healthcheck", timeout=60).status_code == 200
    document["status"] = "down"
    down = requests.get(f"http://{address}/healthcheck", timeout=60)
    assert (down.status_code, down.json()) == (503, {"status": "down"})
    assert "Python" not in down.headers["Server"]
    exporter.stop()
    with pytest.raises(requests.ConnectionError):
        requests.get(f"http://{address}/metrics", timeout=60)


def test_an_answer_that_has_begun_is_finished_at_the_stop(registry):
    address, asked, may_answer = free_address(), threading.Event(), threading.Event()

    def health():
        asked.set()
        may_answer.wait(60)
        return {"status": "ok"}

    exporter = Exporter(address, [registry], health)
    exporter.start()
    wait_answer(f"http://{address}/metrics")
    with ThreadPoolExecutor(2) as pool:
        answer = pool.submit(requests.get, f"http://{address}/healthcheck", timeout=60)
        assert asked.wait(60)
        stopped = pool.submit(exporter.stop)
        with pytest.raises(TimeoutError):
            stopped.result(0.5)
        may_answer.set()
        stopped.result(60)
        assert answer.result(60).json() == {"status": "ok"}


def test_somebody_who_asks_nothing_holds_up_nobody(registry):
    address = free_address()
    exporter = Exporter(address, [registry], dict)
    exporter.start()
    wait_answer(f"http://{address}/metrics")
    with socket.create_connection((address.host, address.port)), socket.create_connection((address.host, address.port)):
        assert requests.get(f"http://{address}/metrics", timeout=60).status_code == 200
    exporter.stop()


def test_a_port_that_becomes_free_is_taken(registry):
    address = free_address()
    with socket.create_server((address.host, address.port)):
        exporter = Exporter(address, [registry], dict)
        exporter.start()
    assert wait_answer(f"http://{address}/metrics").status_code == 200
    exporter.stop()
