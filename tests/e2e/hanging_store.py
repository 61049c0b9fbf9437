"""A store that hangs beside one that works: a test that a module of one kind of store takes in.

The module gives the fixture ``cloud``, with the store ``slow`` behind ``cloud.gate`` and the store ``disk``.
"""

from __future__ import annotations

import time
from abc import ABC
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import pytest
from tests.e2e.calls import OCTETS, Caller
from tests.e2e.store_lives import DATA, MIB, TIMEOUT, StoreLives
from tests.servers.gate import Gate
from tests.support.daemons import Services
from tests.support.waiting import wait_for

CLIENTS = 64


class Way(Protocol):
    """The way to a server, or the server itself, which can be made to hang."""

    def shut(self) -> None:
        """Let no call get an answer any more."""

    def reopen(self) -> None:
        """Let all of them get one."""


class HangingCloud(Protocol):
    """What the test needs: the daemons, with the stores slow and disk."""

    services: Services
    caller: Caller
    gate: Way

    def uploaded_to(self, store: str, data: bytes) -> str:
        """Create an image with data in this store."""


class GatedLives(StoreLives, ABC):
    """The daemons of ``store_lives``; ``gate`` is the way to the store slow."""

    def __init__(self, services: Services, disk: Path, alias: Gate, gate: Gate) -> None:
        super().__init__(services, disk, alias)
        self.gate: Way = gate


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_a_store_that_hangs_takes_no_threads_from_others(cloud: HangingCloud, method: str):
    """More clients than the process has threads ask the store that hangs; all of them get an answer, and the file
    store serves meanwhile."""
    caller = cloud.caller
    local = cloud.uploaded_to("disk", DATA[:MIB])
    if method == "GET":
        images = [cloud.uploaded_to("slow", DATA[:1000])] * CLIENTS
    else:
        images = [str(caller.create()["id"]) for _ in range(CLIENTS)]
    headers = {**OCTETS, "X-Image-Meta-Store": "slow"}

    def ask(image: str) -> int:
        return Caller(cloud.services.api.url).call(
            method, f"/v2/images/{image}/file", headers=headers, data=b"x" * 1000 if method == "PUT" else None,
            timeout=300,
        ).status_code

    def served() -> bool:
        answer = caller.call("GET", f"/v2/images/{local}/file", 200, 503)
        assert answer.status_code == 503 or answer.content == DATA[:MIB]
        return answer.status_code == 200

    cloud.gate.shut()
    try:
        with ThreadPoolExecutor(CLIENTS) as pool:
            asked = [pool.submit(ask, image) for image in images]
            # Those that came in the first half second may have taken all transfers.
            wait_for(lambda: served() and served() and served(), "the file store to serve")
            in_time = not all(answer.done() for answer in asked)
            assert {answer.result() for answer in asked} == {503}
        assert in_time, "while calls hang"
        began = time.monotonic()
        assert ask(images[0]) == 503
        assert time.monotonic() - began < 2 * TIMEOUT + 60
    finally:
        cloud.gate.reopen()
    if method == "GET":
        wait_for(lambda: ask(images[0]) == 200, "the store's return", seconds=300)
    else:
        wait_for(lambda: ask(images[0]) == 204, "the store's return", seconds=300)
        assert caller.download(images[0]) == b"x" * 1000
    for image in {local, *images}:
        caller.delete(image)
