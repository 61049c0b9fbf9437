"""What is down is seen in detail within seconds, and the public answers stay short and fast."""

import os
import time
from collections.abc import Callable
from typing import Any

import pytest
import requests
from tests.support.daemons import Daemon, Services, WebDaemon
from tests.support.observer import Seen, wait_until

QUICK = 6.0
"""Seconds that a public health check may take, whatever is down: one that asked a hanging registry would wait ten."""


def public(daemon: WebDaemon, method: str = "GET") -> tuple[int, str] | None:
    """Return the answer, or None when it is slow."""
    started = time.monotonic()
    answer = requests.request(method, f"{daemon.url}/healthcheck", timeout=60)
    return (answer.status_code, answer.text) if time.monotonic() - started < QUICK else None


def wait_public(daemon: WebDaemon, status: int, text: str, method: str = "GET") -> None:
    """Wait for a quick answer; a probe that a busy machine holds up makes another or a slow one of it for a moment."""
    wait_until(lambda: public(daemon, method) == (status, text), f"the quick public answer {status}")


def wait_detail(daemon: Daemon, code: int, status: str) -> str:
    """Wait until the detailed health says so; return its text."""
    seen, text = Seen(daemon), []

    def is_so() -> bool:
        answer = seen.get("/healthcheck")
        text.append(answer.text)
        return (answer.status_code, answer.json()["status"]) == (code, status)

    wait_until(is_so, f"the detailed health {status}")
    return text[-1]


def wait_status(daemon, kind: str, status: str) -> dict:
    """Wait until this kind of dependency is ok or down; return what is said about it."""
    seen = Seen(daemon)
    found: dict[str, Any] = {}

    def is_so() -> bool:
        found.clear()
        found.update(seen.dependency(kind))
        return found.get("status") == status

    wait_until(is_so, f"{kind} {status}")
    return found


@pytest.fixture
def running(make_services: Callable[..., Services], rabbitmq) -> Services:
    services = make_services(transport_url=rabbitmq.url, registry={"DEFAULT": {"workers": 2}})
    services.start()
    for daemon in (services.api, services.scrubber):
        for kind in ("registry", "broker", "store"):
            wait_status(daemon, kind, "ok")
    wait_status(services.registry, "database", "ok")
    return services


def test_registry_down(running):
    api = running.api
    wait_public(api, 200, "OK\n")
    running.registry.stop()
    found = wait_status(api, "registry", "down")
    assert found["error"] == "the registry does not answer"
    wait_public(api, 503, "DOWN\n")
    wait_public(api, 503, "", "HEAD")
    wait_detail(api, 503, "down")
    since = found["since"]
    time.sleep(1.1)
    assert Seen(api).dependency("registry")["since"] == since
    assert Seen(api).value("glance_dependency_up", kind="registry") == 0
    wait_status(running.scrubber, "registry", "down")
    running.start(running.registry)
    wait_public(api, 200, "OK\n")
    wait_until(lambda: Seen(api).value("glance_dependency_up", kind="registry") == 1, "the return of the registry")


def test_broker_down(running, rabbitmq):
    rabbitmq.kill()
    try:
        for daemon in (running.api, running.scrubber):
            assert wait_status(daemon, "broker", "down")["error"]
        text = wait_detail(running.api, 200, "degraded")
        # Clients lose nothing by it.
        wait_public(running.api, 200, "OK\n")
        assert rabbitmq.url not in text
    finally:
        rabbitmq.start()
    wait_status(running.api, "broker", "ok")


def test_store_unmounted(running):
    away = running.images.with_name("elsewhere")
    # First use makes the sentinel by which the store is known.
    requests.post(f"{running.api.url}/v2/images", json={"name": "one"}, timeout=30)
    wait_until(lambda: (running.images / ".glance-store").exists(), "the sentinel")
    running.images.rename(away)
    running.images.mkdir()
    for daemon in (running.api, running.scrubber):
        assert wait_status(daemon, "store", "down")["name"] == "file"
    wait_detail(running.api, 200, "degraded")
    wait_public(running.api, 200, "OK\n")
    running.images.rmdir()
    away.rename(running.images)
    wait_status(running.api, "store", "ok")


def test_s85_the_public_health_check_needs_no_token_and_tells_nothing(make_services):
    services = make_services(api={"paste_deploy": {"flavor": "trusted-auth"}})
    switch = services.folder / "healthcheck_disable"
    services.api.configure({**services.api.options, "healthcheck": {"disable_by_file_path": switch}})
    services.start(services.registry, services.api)
    wait_public(services.api, 200, "OK\n")
    assert requests.get(f"{services.api.url}/metrics", timeout=30).status_code != 200
    switch.touch()
    wait_public(services.api, 503, "DISABLED BY FILE\n")
    switch.unlink()
    wait_public(services.api, 200, "OK\n")


def test_a_hanging_registry_is_down_and_nobody_waits_for_it(running):
    running.registry.freeze()
    try:
        found = wait_status(running.api, "registry", "down")
        assert "no answer" in found["error"] or "does not answer" in found["error"]
        wait_public(running.api, 503, "DOWN\n")
    finally:
        running.registry.thaw()
    wait_public(running.api, 200, "OK\n")


def test_unknown_paths_and_methods(running):
    seen = Seen(running.api)
    assert seen.get("/").status_code == 404
    url = f"http://127.0.0.1:{running.api.metrics_port}/metrics"
    assert requests.post(url, timeout=30).status_code == 501
    head = requests.head(url, timeout=30)
    assert (head.status_code, head.content) == (200, b"")
    assert os.stat(running.api.log).st_size
