"""Tokens kept in memcached for all nodes, as `[keystone_authtoken] memcached_servers` says: a real memcached."""

from collections.abc import Callable, Iterator

import pytest
from tests.e2e.calls import Caller
from tests.e2e.people import keystone_options
from tests.servers.keystone import ALT_DEMO, DEMO, Keystone
from tests.servers.memcached import Memcached
from tests.support.daemons import Services, WebDaemon
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def memcached(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Memcached]:
    """An empty one; a test that stops it starts it again."""
    server = Memcached(tmp_path_factory.mktemp("memcached"))
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def services(deploy: Callable[..., Services], keystone: Keystone, memcached: Memcached) -> Services:
    """A deployment that keeps tokens there."""
    options = keystone_options(keystone)
    del options["keystone_authtoken"]["token_cache_time"]
    # A server that is away is asked again after a second.
    kept = {"memcached_servers": memcached.address, "memcache_pool_dead_retry": 1, "memcache_pool_socket_timeout": 1}
    options["keystone_authtoken"].update(kept)
    return deploy(api=options)


@pytest.fixture(scope="module")
def second(services: Services) -> WebDaemon:
    """Another node of the API."""
    api = services.new_api("second")
    services.start(api)
    return api


def call(node: WebDaemon, token: str, expected: int = 200) -> None:
    Caller(node.url, {"X-Auth-Token": token}).call("GET", "/v2/images", expected)


def is_known(node: WebDaemon, token: str) -> bool:
    """Return whether the node accepts a token while Keystone is down.

    Call it again after False: memcached may have been too slow once.
    """
    return Caller(node.url, {"X-Auth-Token": token}).call("GET", "/v2/images", 200, 503).status_code == 200


def keep(node: WebDaemon, token: str, memcached: Memcached) -> dict[str, str]:
    """Call with a new token until memcached keeps it, and return what it keeps of it.

    A process that has met a dead memcached leaves it alone for a second.
    """
    before = set(memcached.content())

    def kept() -> dict[str, str]:
        call(node, token)
        return {key: value for key, value in memcached.content().items() if key not in before}

    return wait_for(kept, "the token in memcached")


def test_a_token_that_one_node_has_checked_is_good_for_all(
    services: Services, second: WebDaemon, memcached: Memcached, keystone: Keystone
):
    known, unknown = keystone.token(DEMO), keystone.token(ALT_DEMO)
    keep(services.api, known, memcached)
    keystone.stop()
    try:
        hits = memcached.counters()["get_hits"]
        wait_for(lambda: is_known(second, known), "the token that the other node has checked")
        assert memcached.counters()["get_hits"] > hits
        call(second, unknown, 503)
        memcached.stop()
        call(second, known, 503)
    finally:
        keystone.start()
        if not memcached.running:
            memcached.start()
    call(second, known)
    call(second, unknown)


def test_s53_what_memcached_keeps_shows_no_token(services: Services, memcached: Memcached, keystone: Keystone):
    token = keystone.token(DEMO)
    assert token not in str(keep(services.api, token, memcached))


def test_a_memcached_that_says_nothing_delays_and_refuses_nothing(
    services: Services, memcached: Memcached, keystone: Keystone
):
    token = keystone.token(DEMO)
    memcached.freeze()
    try:
        call(services.api, token)
    finally:
        memcached.thaw()
    hits = memcached.counters()["get_hits"]

    def is_used_again() -> bool:
        call(services.api, token)
        return memcached.counters()["get_hits"] > hits

    wait_for(is_used_again, "memcached in use again")


def test_encrypted_as_configured(services: Services, memcached: Memcached, keystone: Keystone):
    secret = {"memcache_security_strategy": "ENCRYPT", "memcache_secret_key": "of this test"}
    node = services.new_api("encrypting", {"keystone_authtoken": secret})
    services.start(node)
    token = keystone.token(DEMO)
    kept = keep(node, token, memcached)
    hits = memcached.counters()["get_hits"]

    def is_read() -> bool:
        call(node, token)
        return memcached.counters()["get_hits"] > hits

    wait_for(is_read, "the token out of memcached")
    for word in (token, keystone.project_ids["demo"], DEMO.name):
        assert word not in str(kept)
