"""What is down is seen in detail within seconds, and the public answers stay short and fast."""

import os
import time
from collections.abc import Callable

import pytest
import requests
from tests.support.daemons import Services, WebDaemon
from tests.support.observer import Seen, wait_until

QUICK = 1.0
"""Seconds that a public health check may take, whatever is down."""


def public(daemon: WebDaemon, method: str = "GET") -> tuple[int, str]:
    started = time.monotonic()
    answer = requests.request(method, f"{daemon.url}/healthcheck", timeout=10)
    assert time.monotonic() - started < QUICK
    return answer.status_code, answer.text


def wait_status(daemon, kind: str, status: str) -> dict:
    seen = Seen(daemon)
    wait_until(lambda: seen.status(kind) == status, f"{kind} {status}")
    return seen.dependency(kind)


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
    assert public(api) == (200, "OK\n")
    running.registry.stop()
    found = wait_status(api, "registry", "down")
    assert found["error"] == "the registry does not answer"
    wait_until(lambda: public(api)[0] == 503, "the public answer")
    assert public(api) == (503, "DOWN\n")
    assert public(api, "HEAD") == (503, "")
    detail = Seen(api).get("/healthcheck")
    assert (detail.status_code, detail.json()["status"]) == (503, "down")
    since = found["since"]
    time.sleep(1.1)
    assert Seen(api).dependency("registry")["since"] == since
    assert Seen(api).value("glance_dependency_up", kind="registry") == 0
    assert Seen(running.scrubber).status("registry") == "down"
    running.start(running.registry)
    wait_until(lambda: public(api) == (200, "OK\n"), "the return of the registry")
    assert Seen(api).value("glance_dependency_up", kind="registry") == 1


def test_broker_down(running, rabbitmq):
    rabbitmq.kill()
    try:
        for daemon in (running.api, running.scrubber):
            assert wait_status(daemon, "broker", "down")["error"]
        document = Seen(running.api).get("/healthcheck")
        assert (document.status_code, document.json()["status"]) == (200, "degraded")
        # Clients lose nothing by it.
        assert public(running.api) == (200, "OK\n")
        assert rabbitmq.url not in document.text
    finally:
        rabbitmq.start()
    wait_status(running.api, "broker", "ok")


def test_store_unmounted(running):
    away = running.images.with_name("elsewhere")
    # First use makes the sentinel by which the store is known.
    requests.post(f"{running.api.url}/v2/images", json={"name": "one"}, timeout=10)
    wait_until(lambda: (running.images / ".glance-store").exists(), "the sentinel")
    running.images.rename(away)
    running.images.mkdir()
    for daemon in (running.api, running.scrubber):
        assert wait_status(daemon, "store", "down")["name"] == "file"
    assert Seen(running.api).get("/healthcheck").json()["status"] == "degraded"
    assert public(running.api) == (200, "OK\n")
    running.images.rmdir()
    away.rename(running.images)
    wait_status(running.api, "store", "ok")


def test_s85_the_public_health_check_needs_no_token_and_tells_nothing(make_services):
    services = make_services(api={"paste_deploy": {"flavor": "trusted-auth"}})
    switch = services.folder / "healthcheck_disable"
    services.api.configure({**services.api.options, "healthcheck": {"disable_by_file_path": switch}})
    services.start(services.registry, services.api)
    assert public(services.api) == (200, "OK\n")
    assert requests.get(f"{services.api.url}/metrics", timeout=10).status_code != 200
    switch.touch()
    assert public(services.api) == (503, "DISABLED BY FILE\n")
    switch.unlink()
    assert public(services.api) == (200, "OK\n")


def test_a_hanging_registry_is_down_and_nobody_waits_for_it(running):
    running.registry.freeze()
    try:
        found = wait_status(running.api, "registry", "down")
        assert "no answer" in found["error"] or "does not answer" in found["error"]
        wait_until(lambda: public(running.api)[0] == 503, "the public answer")
    finally:
        running.registry.thaw()
    wait_until(lambda: public(running.api)[0] == 200, "the return")


def test_unknown_paths_and_methods(running):
    seen = Seen(running.api)
    assert seen.get("/").status_code == 404
    url = f"http://127.0.0.1:{running.api.metrics_port}/metrics"
    assert requests.post(url, timeout=5).status_code == 501
    head = requests.head(url, timeout=5)
    assert (head.status_code, head.content) == (200, b"")
    assert os.stat(running.api.log).st_size
