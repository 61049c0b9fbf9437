"""What a guard lets pass and what not, by a clock that the tests move."""

from contextlib import nullcontext
from itertools import pairwise

import pytest

from glance_common.fetch import deadlines, guards
from glance_common.fetch.guards import ExchangeLimits, Guard, TimeIsUp


class Clock:
    """Seconds since the start of the test."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> bool:
        """Let the time pass; nothing comes."""
        self.now += seconds
        return False


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(guards, "monotonic", made)
    monkeypatch.setattr(deadlines, "monotonic", made)
    return made


def test_the_header_has_its_time_and_no_more(clock: Clock):
    guard = Guard(ExchangeLimits(answer=10))
    clock.now += 9.9
    guard.check()
    clock.now += 0.2
    with pytest.raises(TimeIsUp, match=r"took more than 10\.1 seconds"):
        guard.check()
    assert guard.reason == "took more than 10.1 seconds"


def test_data_may_take_longer_than_their_header_and_documents_may_not(clock: Clock):
    data, document = Guard(ExchangeLimits(answer=10)), Guard(ExchangeLimits(answer=10))
    data.begin_body(document=False)
    document.begin_body(document=True)
    clock.now += 1000
    data.check()
    with pytest.raises(TimeIsUp):
        document.check()


def test_a_wait_ends_when_the_time_does(clock: Clock):
    begun = clock.now
    with pytest.raises(TimeIsUp):
        Guard(ExchangeLimits(answer=10)).until(clock.wait, 3600, "is away")
    assert clock.now - begun == pytest.approx(10)
    with pytest.raises(TimeIsUp, match="is away"):
        Guard(ExchangeLimits(answer=10)).until(clock.wait, 3, "is away")
    assert clock.now - begun == pytest.approx(13)


def test_a_scope_around_bounds_data_too(clock: Clock):
    with deadlines.within(5):
        guard = Guard(ExchangeLimits(answer=10))
    guard.begin_body(document=False)
    begun = clock.now
    with pytest.raises(TimeIsUp):
        guard.until(clock.wait, 3600, "is away")
    assert clock.now - begun == pytest.approx(5)


def test_the_checks_of_the_scope_are_called_twice_a_second(clock: Clock):
    called: list[float] = []
    with deadlines.within(still_wanted=lambda: called.append(clock.now)):
        guard = Guard(ExchangeLimits(answer=3600))
    for _ in range(40):
        guard.check()
        clock.now += 0.25
    assert len(called) == 19
    assert all(later - earlier == pytest.approx(0.5) for earlier, later in pairwise(called))


@pytest.mark.parametrize(("size", "is_enough"), [(1000, False), (1050, True)])
def test_data_have_a_least_rate(clock: Clock, size: int, is_enough: bool):
    guard = Guard(ExchangeLimits(rate=1024, window=60))
    guard.begin_body(document=False)
    clock.now += 3600
    seconds = 0
    with pytest.raises(TimeIsUp, match="less than 1024 bytes a second") if not is_enough else nullcontext():
        for _ in range(300):
            guard.begin_read()
            clock.now += 1
            guard.check()
            guard.end_read(size)
            seconds += 1
    assert seconds == (300 if is_enough else 59)


def test_only_the_time_of_waiting_counts_for_the_rate(clock: Clock):
    """A reader that takes its time is no fault of the peer."""
    guard = Guard(ExchangeLimits(rate=1024, window=60))
    guard.begin_body(document=False)
    for _ in range(100):
        guard.begin_read()
        guard.check()
        guard.end_read(10)
        clock.now += 3600


def test_headers_and_documents_have_a_largest_size_and_data_have_none():
    guard = Guard(ExchangeLimits(document=100))
    guard.count(guards.LARGEST_HEADER)
    guard.begin_header()
    guard.count(guards.LARGEST_HEADER)
    with pytest.raises(TimeIsUp, match="a header of more than"):
        guard.count(1)
    guard.begin_body(document=True)
    guard.count(100)
    with pytest.raises(TimeIsUp, match="a document of more than 100 bytes"):
        guard.count(1)
    guard.begin_body(document=False)
    guard.count(1 << 40)
