"""How many imports one process runs at the same time (TSK-04), and what it leaves to another."""

import threading
from typing import Any

import pytest
from tests.integration.api.imports_kit import Node, options, page, working
from tests.servers.web import web_server
from tests.support.raw_data import random_bytes
from tests.support.waiting import wait_for

DATA = random_bytes(3 * 1024 * 1024)


@pytest.mark.parametrize(
    ("changed", "at_once"),
    [
        ({"taskflow_executor__engine_mode": "serial", "taskflow_executor__max_workers": 3}, 1),
        ({"taskflow_executor__max_workers": 2, "taskflow_executor__max_workers_per_project": 0}, 2),
        ({"taskflow_executor__max_workers": 4}, 2),
    ],
    ids=["serial", "parallel", "share of the project"],
)
def test_tsk04_as_many_as_configured(make_api, tmp_path, changed, at_once):
    """All sources wait until as many imports as may run have begun, and a moment longer for one that may not."""
    with web_server() as web:
        node = Node(make_api(**{**options(tmp_path, web), **changed}), tmp_path)
        go_on, running, most = threading.Event(), [], []
        store = node.api.services.stores.get("fast").inner
        original = store.add

        def add(key, pieces, size):
            running.append(key)
            most.append(len(running))
            go_on.wait(60)
            try:
                return original(key, pieces, size)
            finally:
                running.remove(key)

        store.add = add
        with working(node):
            images = [node.create() for _ in range(3)]
            for image in images:
                node.begin(image, "web-download", arguments=page(web, b"\x01data"))
            wait_for(lambda: len(running) == at_once)
            # The workers that are free ask again within this time.
            threading.Event().wait(3 * node.pool._poll)
            assert [node.task(image)["status"] for image in images].count("pending") == 3 - at_once
            go_on.set()
            assert {node.finished(image)["status"] for image in images} == {"success"}
        assert max(most) == at_once


def stall(node: Node, name: str) -> threading.Event:
    """Let writes into the store last until the workers of the node stop; the event tells that one began."""
    reading = threading.Event()
    original = node.api.services.stores.get(name).inner.add

    def endless_add(key: str, pieces: Any, size: Any) -> Any:
        def endless() -> Any:
            for piece in pieces:
                reading.set()
                wait_for(lambda: node.pool._stop())
                yield piece

        return original(key, endless(), size)

    node.api.services.stores.get(name).inner.add = endless_add
    return reading


def test_a_stopped_process_gives_its_work_back(make_node, web):
    """The first node stops in the middle of the import; a second one does it."""
    first = make_node()
    reading = stall(first, "fast")
    with working(first):
        image = first.create()
        first.begin(image, "web-download", arguments=page(web, DATA))
        assert reading.wait(60)
    assert first.task(image)["status"] == "pending"
    second = make_node()
    with working(second):
        assert second.finished(image)["status"] == "success"
        assert second.data(image) == DATA
        second.settled()


def test_a_store_that_was_filled_before_the_host_changed_gets_no_second_copy(make_node, web, tmp_path):
    first = make_node()
    reading = stall(first, "slow")
    with working(first):
        image = first.create()
        first.begin(image, "web-download", arguments=page(web, DATA), stores=["fast", "slow"])
        assert reading.wait(60)
    (tmp_path / "elsewhere").mkdir()
    second = make_node(node_staging_uri=f"file://{tmp_path}/elsewhere", staging_host="elsewhere")
    with working(second):
        assert second.finished(image)["status"] == "success"
        assert (second.files("fast"), second.files("slow")) == ([image], [image])
        assert second.show(image)["stores"] == "fast,slow"
