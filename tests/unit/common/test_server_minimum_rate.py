"""The rate cuts slow clients, and only for time that they took."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glance_common.body import ClientTooSlow
from glance_common.server import MinimumRate


def test_a_window_below_the_floor_cuts():
    rate = MinimumRate(1024, 60)
    rate.moved(1024 * 60 - 1)
    rate.waited(59.9)
    with pytest.raises(ClientTooSlow, match="61439 bytes in 60 s of waiting; the least is 1024 bytes/s"):
        rate.waited(0.1)


def test_a_window_at_the_floor_begins_the_next():
    rate = MinimumRate(1024, 60)
    rate.moved(1024 * 60)
    rate.waited(60)
    assert rate.patience() == 60
    with pytest.raises(ClientTooSlow):
        rate.waited(60)


def test_the_next_wait_may_last_for_the_rest_of_the_window():
    rate = MinimumRate(1, 60)
    rate.waited(45)
    assert rate.patience() == 15
    rate.restart()
    assert rate.patience() == 60


def test_no_floor():
    rate = MinimumRate(0)
    assert rate.patience() is None
    rate.waited(10_000)


@given(st.lists(st.tuples(st.integers(0, 10_000), st.floats(0.001, 5)), min_size=1, max_size=200))
def test_a_client_that_is_faster_than_the_floor_is_never_cut(steps):
    rate = MinimumRate(100, 10)
    for extra, seconds in steps:
        rate.moved(int(100 * seconds) + 1 + extra)
        rate.waited(seconds)
