"""The file driver passes the suite of all drivers."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conformance.harness import WRITABLE

from glance_common.stores.conformance.harness import Harness
from glance_common.stores.conformance.reading import *  # noqa: F403 - the tests of the suite
from glance_common.stores.conformance.writing import *  # noqa: F403 - as above


@pytest.fixture(params=list(WRITABLE))
def harness(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Harness]:
    """Each kind of file store."""
    yield from WRITABLE[request.param](tmp_path).checked()


@pytest.fixture
def writable(harness: Harness) -> Harness:
    """The same: every file store takes data."""
    return harness
