"""The keeper renews leases while work lives and tells the work when it is over."""

import threading
import time
from contextlib import ExitStack
from itertools import pairwise

import pytest
from tests.support.waiting import wait_for

from glance_common.leases import LeaseKeeper
from glance_common.model.context import RequestContext
from glance_common.model.errors import Gone, Unavailable
from glance_common.observability.log_context import request_id

CONTEXT = RequestContext(request_id="req-test")


class Registry:
    """Stands for the renew calls: records them and raises what it is told."""

    def __init__(self):
        self.renewed = []
        self.request_ids = set()
        self.error = None

    def renewal(self, name):
        def renew():
            self.renewed.append(name)
            self.request_ids.add(request_id.get())
            if self.error:
                raise self.error

        return renew


@pytest.fixture
def registry():
    return Registry()


def test_a_kept_lease_is_renewed_until_the_block_ends(registry):
    keeper = LeaseKeeper(seconds=0.03)
    with keeper.keep(CONTEXT, registry.renewal("one"), "upload one") as lease:
        wait_for(lambda: len(registry.renewed) >= 3)
        lease.check()
    with keeper.keep(CONTEXT, registry.renewal("two"), "upload two"):
        wait_for(lambda: registry.renewed.count("two") >= 3)
    assert set(registry.renewed) == {"one", "two"}
    assert "one" not in registry.renewed[registry.renewed.index("two"):]


def test_all_kept_leases_are_renewed_equally_often(registry):
    keeper = LeaseKeeper(seconds=0.03)
    names = ["a", "b", "c"]
    with ExitStack() as stack:
        for name in names:
            stack.enter_context(keeper.keep(CONTEXT, registry.renewal(name), name))
        registry.renewed.clear()
        wait_for(lambda: len(registry.renewed) >= 9)
    # They take turns: none comes twice before the others came once.
    assert [set(registry.renewed[first:first + 3]) for first in (0, 3, 6)] == [set(names)] * 3


def test_a_lease_is_renewed_three_times_within_its_length():
    length, renewals = 0.9, []
    keeper = LeaseKeeper(length)
    began = time.monotonic()

    def shortest_pause() -> float:
        return min(later - earlier for earlier, later in pairwise(renewals))

    with keeper.keep(CONTEXT, lambda: renewals.append(time.monotonic()), "work"):
        # A machine may be late many a time.
        wait_for(lambda: len(renewals) >= 6 and shortest_pause() < length / 2, "no fewer than three times")
    assert renewals[5] - began > 2 * length - 0.1, "no more than three times"


def test_work_that_is_over_is_told_so_and_renewed_no_more(registry):
    registry.error = Gone("the image was deleted")
    keeper = LeaseKeeper(seconds=0.03)
    with keeper.keep(CONTEXT, registry.renewal("one"), "upload one") as lease:
        wait_for(lambda: lease.lost)
        with pytest.raises(Gone, match="deleted"):
            lease.check()
        registry.error = None
        with keeper.keep(CONTEXT, registry.renewal("two"), "upload two"):
            wait_for(lambda: registry.renewed.count("two") >= 3)
    assert registry.renewed.count("one") == 1


def test_two_leases_of_the_same_work_do_not_touch_each_other(registry):
    """An operation that lost its lease ends only now, in the process that has claimed it again."""
    keeper = LeaseKeeper(seconds=0.03)
    first = keeper.keep(CONTEXT, registry.renewal("first token"), "operation one")
    first.__enter__()
    with keeper.keep(CONTEXT, registry.renewal("second token"), "operation one"):
        first.__exit__(None, None, None)
        registry.renewed.clear()
        wait_for(lambda: registry.renewed.count("second token") >= 3)
    assert registry.renewed.count("first token") <= 1, "one renewal may have been under way"


@pytest.mark.parametrize("error", [Unavailable("the registry does not answer"), KeyError("a defect")])
def test_a_renewal_that_fails_ends_nothing_and_is_logged(registry, error, caplog):
    registry.error = error
    with LeaseKeeper(seconds=0.03).keep(CONTEXT, registry.renewal("one"), "upload one") as lease:
        wait_for(lambda: len(registry.renewed) >= 2)
        lease.check()
    assert "the lease of upload one was not renewed" in caplog.text
    assert registry.request_ids == {"req-test"}, "its lines carry the request id of the work"


def test_a_renewal_that_fails_after_the_end_of_the_work_is_not_logged(caplog):
    begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def fail_late():
        begun.set()
        assert go_on.wait(60)
        raise Unavailable("the registry does not answer")

    keeper = LeaseKeeper(seconds=0.03)
    with keeper.keep(CONTEXT, fail_late, "upload one"):
        assert begun.wait(60)
    go_on.set()
    with keeper.keep(CONTEXT, ended.set, "upload two"):
        assert ended.wait(60)
    assert "not renewed" not in caplog.text


def test_a_thread_that_cannot_be_started_once_is_started_by_the_next_lease(registry, monkeypatch):
    def fail(thread):
        raise RuntimeError("can't start new thread")

    keeper = LeaseKeeper(seconds=0.03)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", fail)
        with pytest.raises(Unavailable, match="no more threads"), keeper.keep(CONTEXT, registry.renewal("one"), "one"):
            pass
    with keeper.keep(CONTEXT, registry.renewal("two"), "two"):
        wait_for(lambda: registry.renewed.count("two") >= 3)
    assert "one" not in registry.renewed
