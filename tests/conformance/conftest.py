"""The drivers that the suite runs over."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conformance.harness import READ_ONLY, WRITABLE, Harness
from tests.servers.web import web_server


@pytest.fixture(params=[*WRITABLE, *READ_ONLY])
def harness(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Harness]:
    """Every driver; the tests of reading run over it."""
    if request.param in WRITABLE:
        yield from _checked(WRITABLE[request.param](tmp_path))
        return
    with web_server() as server:
        yield READ_ONLY[request.param](tmp_path, server)


@pytest.fixture(params=list(WRITABLE))
def writable(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Harness]:
    """Every driver that takes data."""
    yield from _checked(WRITABLE[request.param](tmp_path))


def _checked(harness: Harness) -> Iterator[Harness]:
    """Teardown is a test too: no unfinished data, and nothing at all once every object is deleted."""
    yield harness
    assert harness.unfinished() == []
    for name in set(harness.files()):
        harness.store.delete(name)
    assert harness.files() == []
