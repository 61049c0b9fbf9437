import threading
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def renewing_ends() -> Iterator[None]:
    """Leave no thread that renews a claim behind: what it logs would be in the next test's log."""
    yield
    for thread in threading.enumerate():
        if thread.name == "claim-lease":
            thread.join(60)
            assert not thread.is_alive(), "a claim is renewed although its removal ended"
