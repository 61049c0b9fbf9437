"""The http driver passes the suite of all drivers, as far as reading goes, and refuses to write."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conformance.harness import READ_ONLY
from tests.servers.web import web_server

from glance_common.stores.conformance.harness import DATA, Harness
from glance_common.stores.conformance.reading import *  # noqa: F403 - the tests of the suite
from glance_common.stores.contract import AddDisabled, BadLocation, DeleteUnsupported, WalkUnsupported


@pytest.fixture(params=list(READ_ONLY))
def harness(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Harness]:
    """The driver, and the store that the loader makes of it."""
    with web_server() as server:
        yield READ_ONLY[request.param](tmp_path, server)


def test_writers_are_refused(harness: Harness):
    key = harness.put(DATA)
    with pytest.raises(AddDisabled):
        harness.store.add(key, [b"x"], 1)
    with pytest.raises(DeleteUnsupported):
        harness.store.delete(key)
    with pytest.raises(WalkUnsupported):
        list(harness.store.walk())
    for odd in ("", "x", "file:///etc/passwd", "http://", "http://[::1", "http://a b/"):
        for act in (harness.store.open, harness.store.size, harness.store.delete, harness.store.url):
            with pytest.raises(BadLocation):
                act(odd)
    assert harness.read(key) == DATA


def test_it_is_no_one_place(harness: Harness):
    assert (harness.store.identity(), harness.store.free()) == ("", None)
    assert harness.store.presign(harness.put(DATA), 60) is None
