"""What an operator's tools see of running daemons."""

from collections.abc import Callable
from typing import Any

import requests
from prometheus_client.parser import text_string_to_metric_families

from tests.support.daemons import Daemon, Services
from tests.support.waiting import wait_for

OCTETS = {"Content-Type": "application/octet-stream"}


class Seen:
    """The metrics address of one daemon."""

    def __init__(self, daemon: Daemon) -> None:
        self._url = f"http://127.0.0.1:{daemon.metrics_port}"

    def get(self, path: str) -> requests.Response:
        """Ask the address."""
        return requests.get(f"{self._url}{path}", timeout=30)

    def value(self, name: str, **labels: str) -> float:
        """Return the sum of all samples of this name that have these labels; 0 when there are none."""
        families = text_string_to_metric_families(self.get("/metrics").text)
        samples = [sample for family in families for sample in family.samples if sample.name == name]
        return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())

    def dependency(self, kind: str) -> dict[str, Any]:
        """Return what the detailed health says about the dependency of this kind, empty before there is an answer."""
        try:
            document = self.get("/healthcheck").json()
        except requests.ConnectionError:
            return {}
        found = [dependency for dependency in document["dependencies"] if dependency["kind"] == kind]
        return found[0] if found else {}

    def status(self, kind: str) -> str | None:
        """Return ok, down or unknown, or None before the daemon answers."""
        return self.dependency(kind).get("status")


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """Wait for the condition, also while the services that it asks do not answer; fail when it takes too long."""
    wait_for(lambda: _holds(condition), what, seconds)


def _holds(condition: Callable[[], bool]) -> bool:
    try:
        return condition()
    except requests.ConnectionError:
        return False


def upload(services: Services, data: bytes) -> str:
    """Make an image with data and return its id."""
    document = {"name": "one", "disk_format": "raw", "container_format": "bare"}
    created = requests.post(f"{services.api.url}/v2/images", json=document, timeout=30)
    image_id = created.json()["id"]
    sent = requests.put(f"{services.api.url}/v2/images/{image_id}/file", data=data, headers=OCTETS, timeout=60)
    assert sent.status_code == 204, sent.text
    return str(image_id)
