"""One request traced through API and registry by OSProfiler, with the spans in a real Redis."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from osprofiler import profiler, web
from redis import Redis
from tests.e2e.calls import Caller
from tests.servers import redis
from tests.support.daemons import Services
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(900)

KEY = "the key of this test"


@pytest.fixture(scope="module")
def spans(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of the Redis that takes the spans."""
    with redis.running(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture(scope="module")
def services(deploy: Callable[..., Services], spans: str) -> Services:
    """A deployment that traces."""
    traced = {"profiler": {"enabled": True, "hmac_keys": f"old, {KEY}", "connection_string": spans}}
    return deploy(api=traced, registry=traced)


def trace(key: str) -> tuple[dict[str, str], str]:
    """Return the headers of a new trace signed with ``key``, and where its spans go in Redis."""
    profiler.init(key)
    try:
        active = profiler.get()
        assert active is not None
        return web.get_trace_id_headers(), f"osprofiler_opt:{active.get_base_id()}"
    finally:
        profiler.clean()


def points(spans: str, place: str) -> list[dict[str, Any]]:
    with Redis.from_url(spans) as client:
        return [json.loads(text) for text in client.lrange(place, 0, -1)]


def test_a_signed_trace_goes_through_both_services(services: Services, spans: str):
    caller = Caller(services.api.url)
    foreign, elsewhere = trace("a foreign key")
    caller.call("GET", "/v2/images", 200, headers=foreign)
    ours, place = trace(KEY)
    caller.call("GET", "/v2/images", 200, headers=ours)

    def starts() -> dict[str, dict[str, Any]]:
        return {point["service"]: point for point in points(spans, place) if point["name"] == "wsgi-start"}

    wait_for(lambda: len(starts()) >= 2, "the trace of two services")
    started = starts()
    assert started.keys() == {"api", "registry"}
    assert started["registry"]["parent_id"] == started["api"]["trace_id"]
    assert started["registry"]["info"]["request"]["path"].startswith("/v1/images")
    assert points(spans, elsewhere) == [], "only requests that were signed with a key of ours are traced"


def test_a_dead_place_for_spans_harms_no_request(services: Services):
    dead = {"enabled": True, "hmac_keys": KEY, "connection_string": "redis://127.0.0.1:1"}
    api = services.new_api("api-without-spans", {"profiler": dead})
    services.start(api)
    Caller(api.url).call("GET", "/v2/images", 200, headers=trace(KEY)[0])
    wait_for(lambda: "a span of the profiler was lost" in api.said(), "the word about it")
