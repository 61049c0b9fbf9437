"""The tests that every driver of stores passes, for drivers of this project and of others.

A test file of a driver takes the tests in and gives the fixtures that they ask for (docs/stores/writing-a-driver.md)::

    from glance_common.stores.conformance.reading import *
    from glance_common.stores.conformance.writing import *
    from glance_common.stores.conformance.network import *

    @pytest.fixture
    def harness(tmp_path): ...  # a Harness of a store with data to read
    @pytest.fixture
    def writable(harness): ...  # one that takes data
    @pytest.fixture
    def remote(harness): ...  # one behind a network

Needs pytest, which the services themselves do not.
"""

import pytest

pytest.register_assert_rewrite(
    *(f"{__name__}.{name}" for name in ("harness", "network", "reading", "writing"))
)
