"""The floor cuts slow clients, and only for time that they took."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glance_common.body import ClientTooSlow
from glance_common.server import RateFloor


def test_a_window_below_the_floor_cuts():
    floor = RateFloor(1024, 60)
    floor.moved(1024 * 60 - 1)
    floor.waited(59.9)
    with pytest.raises(ClientTooSlow, match="61439 bytes in 60 s of waiting; the least is 1024 bytes/s"):
        floor.waited(0.1)


def test_a_window_at_the_floor_begins_the_next():
    floor = RateFloor(1024, 60)
    floor.moved(1024 * 60)
    floor.waited(60)
    assert floor.patience() == 60
    with pytest.raises(ClientTooSlow):
        floor.waited(60)


def test_the_next_wait_may_last_for_the_rest_of_the_window():
    floor = RateFloor(1, 60)
    floor.waited(45)
    assert floor.patience() == 15
    floor.restart()
    assert floor.patience() == 60


def test_no_floor():
    floor = RateFloor(0)
    assert floor.patience() is None
    floor.waited(10_000)


@given(st.lists(st.tuples(st.integers(0, 10_000), st.floats(0.001, 5)), min_size=1, max_size=200))
def test_whoever_is_faster_than_the_floor_is_never_cut(steps):
    floor = RateFloor(100, 10)
    for extra, seconds in steps:
        floor.moved(int(100 * seconds) + 1 + extra)
        floor.waited(seconds)
