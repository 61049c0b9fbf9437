"""Every metric is in the operator's documentation, and the sample alerts speak of metrics that exist."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from glance_api.cache.monitoring import CacheNumbers
from glance_common.delete_queue.depth import QueueDepth
from glance_common.messaging.connection import Broker
from glance_common.monitor import dependencies, monitor
from glance_common.observability.metrics import catalog
from glance_registry import monitoring
from glance_registry.locations.purge import Backlog

ROOT = Path(__file__).resolve().parents[2]
ALERTS = ROOT / "deploy/prometheus/glance-alerts.yaml"
OPERATIONS = (ROOT / "docs/operations.md").read_text()


def families():
    """All metrics with their labels and types: those that are counted and those that are asked for."""
    registry = SimpleNamespace(http=SimpleNamespace(check=None), close=None)
    backlog = monitoring._Backlog(None)
    backlog._last = Backlog(0, 0.0, 0)
    cache = CacheNumbers(SimpleNamespace(directory="/nonexistent", max_size=1))
    asked = [*dependencies.watched(registry, [], QueueDepth(Broker())).collectors, backlog, monitor._Up(list), cache]
    for collector in (*catalog.ALL, *asked):
        for family in collector.collect():
            yield family.name, family.type


NAMES = dict(families())


def samples():
    suffixes = {"histogram": ("_bucket", "_count", "_sum"), "counter": ("_total",)}
    return {name + suffix for name, kind in NAMES.items() for suffix in suffixes.get(kind, ("",))}


def test_the_catalog_is_complete():
    counted = {family.name for family in catalog.REGISTRY.collect()}
    assert counted == {family.name for metric in catalog.ALL for family in metric.collect()}


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_metric_is_documented(name):
    suffix = "_total" if NAMES[name] == "counter" else ""
    assert f"`{name}{suffix}`" in OPERATIONS


def test_documented_metrics_exist():
    documented = {name for name in re.findall(r"`(glance_[a-z_]+)`", OPERATIONS) if "." not in name}
    assert documented - {"glance_store", "glance_api"} <= samples() | set(NAMES)


def test_the_sample_alerts_use_metrics_and_outcomes_that_exist():
    rules = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
    assert len(rules) > 10
    for rule in rules:
        used = set(re.findall(r"\bglance_[a-z_]+\b", rule["expr"]))
        assert used <= samples(), rule["alert"]
        assert used or "up{" in rule["expr"]
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert rule["annotations"]["summary"]
    assert len({rule["alert"] for rule in rules}) == len(rules)
