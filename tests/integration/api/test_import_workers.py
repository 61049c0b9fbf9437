"""How many imports one process runs at the same time (TSK-04)."""

import threading

import pytest
from tests.integration.api.imports_kit import Node, options, page, wait_for, working
from tests.support.web import web_server


@pytest.mark.parametrize(
    ("changed", "at_once"),
    [
        ({"taskflow_executor__engine_mode": "serial", "taskflow_executor__max_workers": 3}, 1),
        ({"taskflow_executor__max_workers": 2}, 2),
    ],
    ids=["serial", "parallel"],
)
def test_tsk04_as_many_as_configured(make_api, tmp_path, changed, at_once):
    """All sources wait until as many imports as may run have begun, and a moment longer for one that may not."""
    with web_server() as web:
        node = Node(make_api(**{**options(tmp_path, web), **changed}), tmp_path)
        go_on, running, most = threading.Event(), [], []
        store = node.api.glance.stores.get("fast").inner
        original = store.add

        def add(key, pieces, size):
            running.append(key)
            most.append(len(running))
            go_on.wait(20)
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
