"""70 callers register a location at a server that drips one byte of its header at a time: others are served (S-22)."""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait

import pytest
from tests.e2e.calls import Caller
from tests.servers.scripted import ScriptedPeer, dripping, scripted_peer
from tests.support.daemons import Services
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(900)

CALLERS = 70
HEADERS = {
    "x-image-meta-name": "x", "x-image-meta-disk_format": "raw", "x-image-meta-container_format": "bare",
}


@pytest.fixture(scope="module")
def peer() -> Iterator[ScriptedPeer]:
    """A server that answers for ever."""
    with scripted_peer(dripping(b"HTTP/1.1 200 OK\r\nX-Drip: ")) as found:
        yield found


@pytest.fixture(scope="module")
def services(deploy: Callable[..., Services], peer: ScriptedPeer) -> Services:
    """One worker process with 16 threads, of which four may wait for other servers."""
    return deploy(
        shared={
            "glance_store": {"stores": "file, http"},
            "import_filtering_opts": {"allowed_hosts": "127.0.0.1", "allowed_ports": peer.port},
        },
        api={"DEFAULT": {"workers": 1, "threads": 16, "remote_check_timeout": 5.0}},
    )


def test_s22_a_server_that_drips_does_not_take_the_threads(services: Services, peer: ScriptedPeer):
    def register(_: int) -> int:
        headers = {**HEADERS, "x-image-meta-location": peer.url()}
        return Caller(services.api.url).call("POST", "/v1/images", headers=headers).status_code

    caller = Caller(services.api.url)
    with ThreadPoolExecutor(CALLERS) as pool:
        running = [pool.submit(register, number) for number in range(CALLERS)]
        wait_for(lambda: peer.connections)
        while not wait(running, timeout=0).done >= set(running):
            caller.call("GET", "/healthcheck", 200)
            caller.call("GET", "/v2/images", 200)
        answers = Counter(each.result() for each in running)
    assert set(answers) == {400, 503}
    wait_for(lambda: answers[400] == peer.connections, "as many connections as refusals that needed one")
    assert answers[503] > CALLERS / 2
    assert caller.call("GET", "/v2/images", 200).json()["images"] == []
