"""The helper that runs our own daemons: it starts, stops, kills, freezes and reports as tests expect."""

from pathlib import Path

import requests
from deploy.local import processes


def test_a_set_of_daemons_starts_and_stops(make_services):
    services = make_services()
    services.start()
    assert services.registry.status() == 200
    assert services.api.status() == 300
    assert all(daemon.running for daemon in (services.registry, services.api, services.scrubber))
    processes.wait_until(lambda: "started" in services.scrubber.said(), what="the scrubber's first words")
    pids = [services.registry.pid, services.api.pid, services.scrubber.pid, *services.api.workers()]
    services.stop()
    assert not any(map(processes.is_running, pids))


def test_killed_frozen_and_started_again(services):
    api = services.api
    workers = api.workers()
    assert len(workers) == 2
    api.kill()
    assert not api.running
    assert api.status() is None
    assert not any(map(processes.is_running, workers))
    api.restart()
    assert api.status() == 300

    services.registry.freeze()
    # The state stands after the name, which may hold spaces.
    facts = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2] for pid in services.registry.workers()]
    assert {fact.split()[0] for fact in facts} == {"T"}
    services.registry.thaw()
    processes.wait_until(services.registry.ready, what="the thawed registry")


def test_a_second_api_and_a_failpoint_of_its_own(services):
    second = services.new_api("second", {"DEFAULT": {"workers": 1}})
    services.start(second)
    assert second.port != services.api.port
    assert len(second.workers()) == 1
    second.arm("no.such.place", "kill")
    assert (second.failpoints / "no.such.place").read_text() == "kill"
    assert not second.fired("no.such.place")
    assert not list(services.api.failpoints.iterdir())


def test_one_pass_of_the_scrubber_removes_what_is_due(services):
    services.scrubber.stop()
    image = {"name": "x", "disk_format": "raw", "container_format": "bare"}
    made = requests.post(f"{services.api.url}/v2/images", json=image, timeout=30).json()["id"]
    url = f"{services.api.url}/v2/images/{made}"
    headers = {"Content-Type": "application/octet-stream"}
    assert requests.put(f"{url}/file", data=b"x" * 1000, headers=headers, timeout=30).status_code == 204
    assert services.files() == [made]
    assert requests.delete(url, timeout=30).status_code == 204
    passed = services.scrub_once()
    assert passed.returncode == 0, passed.stderr
    assert services.files() == []
