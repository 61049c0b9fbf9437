"""The numbers of running daemons: they add up over workers, and stay right when workers come and go."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import requests
from deploy.local import processes
from tests.support.daemons import Services
from tests.support.observer import OCTETS, Seen, upload, wait_until
from tests.support.raw_data import random_bytes

REQUESTS = "glance_http_request_seconds_count"
ROUTE = "/v2/images"


def lists(services: Services, count: int) -> None:
    """Ask for the list of images ``count`` times, each over a connection of its own so that all workers get some."""
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: requests.get(f"{services.api.url}/v2/images", timeout=30), range(count)))
    assert {answer.status_code for answer in answers} == {200}


def counted(seen: Seen) -> float:
    return seen.value(REQUESTS, method="GET", route=ROUTE, status="200")


def has_looked(seen: Seen) -> bool:
    return seen.status("registry") is not None or seen.status("database") is not None


def wait_metrics(*all_seen: Seen) -> None:
    for seen in all_seen:
        wait_until(partial(has_looked, seen), "the monitor")


@pytest.fixture
def running(make_services) -> Services:
    services = make_services(scrubber={"DEFAULT": {"wakeup_time": 1}}, api={"upload": {"lease": 3}})
    services.start()
    wait_metrics(Seen(services.api), Seen(services.registry), Seen(services.scrubber))
    return services


def test_counts_add_up_over_workers_a_reload_and_a_killed_worker(running):
    seen, api = Seen(running.api), running.api
    lists(running, 40)
    wait_until(lambda: counted(seen) == 40, "40 requests of two workers")
    old, monitors = api.workers(), api.monitors()
    assert len(old) == 2
    api.hang_up()
    wait_until(lambda: len(api.workers()) == 2 and not set(api.workers()) & set(old), "the reload")
    # Both of them may be there for a moment.
    wait_until(lambda: len(api.monitors()) == 1 and api.monitors() != monitors, "the next monitor")
    wait_until(lambda: seen.status("registry") == "ok", "the next monitor's first answers")
    lists(running, 20)
    wait_until(lambda: counted(seen) == 60, "the counts of both generations")

    killed = api.workers()[0]
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: killed not in api.workers() and len(api.workers()) == 2, "the next worker")
    lists(running, 10)
    wait_until(lambda: counted(seen) == 70, "the counts of the killed worker")

    (monitor,) = api.monitors()
    os.kill(monitor, signal.SIGKILL)
    wait_until(lambda: api.monitors() not in ([], [monitor]), "the next monitor")
    wait_until(lambda: seen.status("registry") == "ok", "the next monitor's first answers")
    wait_until(lambda: counted(seen) == 70, "the counts in the next monitor")
    # The limit is a gauge of the living only: 2 workers with 8 threads, less 4 each.
    wait_until(lambda: seen.value("glance_transfers", state="limit") == 8, "the limit of two workers")


def test_labels_are_bounded_whatever_clients_send(running):
    seen = Seen(running.api)
    for number in range(30):
        requests.request(f"MOVE{number}", f"{running.api.url}/v2/images/{number}/x{number}", timeout=30)
        requests.get(f"{running.api.url}/v2/images/00000000-0000-0000-0000-{number:012}", timeout=30)
    wait_until(lambda: seen.value(REQUESTS, route="/v2/images/<image_id>", status="404") == 30, "30 shows")
    wait_until(lambda: seen.value(REQUESTS, method="other", route="(none)") == 30, "30 moves")
    text = seen.get("/metrics").text
    assert "MOVE" not in text
    assert "00000000-0000" not in text


def test_bytes_transfers_registry_calls_and_connections(running):
    api, registry = Seen(running.api), Seen(running.registry)
    data = random_bytes(3 * 1024 * 1024 + 17)
    image_id = upload(running, data)
    assert requests.get(f"{running.api.url}/v2/images/{image_id}/file", timeout=30).content == data
    part = requests.get(f"{running.api.url}/v2/images/{image_id}/file", headers={"Range": "bytes=0-99"}, timeout=30)
    assert part.status_code == 206
    wait_until(lambda: api.value("glance_store_bytes_total", store="file", direction="out") == len(data) + 100, "out")
    assert api.value("glance_store_bytes_total", store="file", direction="in") == len(data)
    # What a request takes is given back, and counted, after its answer; others use connections for a moment.
    wait_until(lambda: api.value("glance_transfers", state="taken") == 0, "the end of the transfers")
    calls = {"method": "POST", "outcome": "ok"}
    wait_until(lambda: api.value("glance_registry_call_seconds_count", **calls) >= 3, "the calls of the registry")
    wait_until(lambda: registry.value("glance_uploads_total", outcome="committed") == 1, "the committed upload")
    wait_until(lambda: registry.value("glance_database_connections", state="used") == 0, "no connection in use")
    assert registry.value("glance_database_connections", state="limit") == 16
    commits = {"route": "/v1/uploads/<attempt>/commit", "method": "POST", "status": "200"}
    wait_until(lambda: registry.value(REQUESTS, **commits) == 1, "the commit")


def test_a_removal_is_counted_and_so_is_a_reaped_upload(running):
    registry, scrubber, api = Seen(running.registry), Seen(running.scrubber), Seen(running.api)
    image_id = upload(running, b"x" * 100)
    assert requests.delete(f"{running.api.url}/v2/images/{image_id}", timeout=30).status_code == 204
    wait_until(lambda: scrubber.value("glance_removals_total", store="file", outcome="purged") == 1, "the removal")
    wait_until(lambda: api.value("glance_outbox_messages", queue="delete") == 0, "the end of sending")
    wait_until(lambda: scrubber.value("glance_sweeps_total", outcome="ok") >= 1, "a sweep")
    assert scrubber.value("glance_last_sweep_timestamp_seconds", outcome="ok") > 1_700_000_000

    running.api.arm("api.upload.before-commit", "kill")
    document = {"name": "one", "disk_format": "raw", "container_format": "bare"}
    second = requests.post(f"{running.api.url}/v2/images", json=document, timeout=30).json()["id"]
    with pytest.raises(requests.ConnectionError):
        requests.put(
            f"{running.api.url}/v2/images/{second}/file", data=b"x", timeout=30,
            headers={"Content-Type": "application/octet-stream"},
        )
    wait_until(lambda: registry.value("glance_uploads_total", outcome="reaped") == 1, "the reaper")


def test_due_rows_are_seen_without_a_scrubber(make_services):
    services = make_services()
    services.start(services.registry, services.api)
    registry = Seen(services.registry)
    for _ in range(3):
        requests.delete(f"{services.api.url}/v2/images/{upload(services, b'data')}", timeout=30)
    wait_until(lambda: registry.value("glance_deletions_due") == 3, "the next look at the due rows")
    assert registry.value("glance_deletions_oldest_due_seconds") > 0
    assert registry.value("glance_deletions_failed") == 0
    wait_until(lambda: Seen(services.api).value("glance_delete_queue_messages") == 3, "the depth of the queue")


def test_a_taken_port_is_a_warning_and_an_empty_one_is_off(make_services):
    services = make_services()
    taken = services.registry.metrics_port
    options = {"DEFAULT": {"metrics_bind": f"127.0.0.1:{taken}"}}
    second, silent = services.new_api("second", options), services.new_api("silent", {"DEFAULT": {"metrics_bind": ""}})
    services.start(services.registry)
    wait_metrics(Seen(services.registry))
    services.start(second, silent)
    wait_until(lambda: "no metrics at" in second.said(), "the warning")
    for api in (second, silent):
        assert requests.get(f"{api.url}/v2/images", timeout=30).status_code == 200
        assert requests.get(f"{api.url}/healthcheck", timeout=30).text == "OK\n"
    wait_until(lambda: Seen(services.registry).status("database") == "ok", "the first monitor's answer")
    assert processes.port_is_free(silent.metrics_port)


def test_nothing_stays_when_a_daemon_ends(running):
    (monitor,) = running.api.monitors()
    running.stop()
    assert not processes.is_running(monitor)
    assert processes.port_is_free(running.api.metrics_port)


def test_a_killed_master_takes_the_monitor_with_it_and_the_next_one_starts_from_zero(running):
    api, seen = running.api, Seen(running.api)
    lists(running, 5)
    wait_until(lambda: counted(seen) == 5, "5 requests")
    (monitor,) = api.monitors()
    api.kill_master()
    wait_until(lambda: not processes.is_running(monitor), "the end of the monitor")
    running.start(api)
    wait_until(lambda: seen.status("registry") == "ok", "the next monitor")
    assert counted(seen) == 0


def test_an_import_is_counted_with_its_outcome(make_services, tmp_path):
    staging = tmp_path / "staging"
    staging.mkdir()
    services = make_services(api={"DEFAULT": {"node_staging_uri": f"file://{staging}"}})
    services.start(services.registry, services.api)
    seen, url = Seen(services.api), f"{services.api.url}/v2/images"
    wait_metrics(seen)
    document = {"name": "one", "disk_format": "raw", "container_format": "bare"}
    image_id = requests.post(url, json=document, timeout=30).json()["id"]
    staged = requests.put(f"{url}/{image_id}/stage", data=b"data", headers=OCTETS, timeout=30)
    assert staged.status_code == 204, staged.text
    begun = requests.post(f"{url}/{image_id}/import", json={"method": {"name": "glance-direct"}}, timeout=30)
    assert begun.status_code == 202, begun.text
    wait_until(
        lambda: seen.value("glance_operation_seconds_count", kind="api_image_import", outcome="success") == 1,
        "the import",
    )
    running = {"name": "glance_operations_running", "kind": "api_image_import"}
    wait_until(lambda: seen.value(**running) == 0, "the end of the import")
    assert seen.value("glance_store_bytes_total", store="file", direction="in") == 4
