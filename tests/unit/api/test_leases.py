"""The keeper renews leases while transfers live and tells them when they are over."""

import threading
from types import SimpleNamespace

import pytest
from tests.support.waiting import wait_for

from glance_api.background.job import Progress
from glance_api.background.runner import Renewals
from glance_api.transfers.leases import LeaseKeeper
from glance_common.model.context import RequestContext
from glance_common.model.errors import Gone, Unavailable
from glance_common.model.operation import Held

CONTEXT = RequestContext(request_id="req-test")


class Registry:
    """Stands for the renew call: records attempts and raises what it is told."""

    def __init__(self):
        self.renewed = []
        self.error = None
        self.asked = threading.Event()

    def renew(self, context, attempt, *, lease):
        self.renewed.append((attempt, lease))
        self.asked.set()
        if self.error:
            raise self.error
        return lease


def test_a_kept_lease_is_renewed_until_the_block_ends():
    registry = Registry()
    keeper = LeaseKeeper(registry, seconds=0.03)
    with keeper.keep(CONTEXT, "one") as lease:
        wait_for(lambda: len(registry.renewed) >= 3)
        lease.check()
    with keeper.keep(CONTEXT, "two"):
        wait_for(lambda: registry.renewed.count(("two", 0.03)) >= 3)
    assert set(registry.renewed) == {("one", 0.03), ("two", 0.03)}
    assert ("one", 0.03) not in registry.renewed[registry.renewed.index(("two", 0.03)):]


def test_an_attempt_that_is_over_is_told_so():
    registry = Registry()
    registry.error = Gone("the image was deleted")
    with LeaseKeeper(registry, seconds=0.03).keep(CONTEXT, "one") as lease:
        wait_for(lambda: lease.lost)
        with pytest.raises(Gone, match="deleted"):
            lease.check()


def test_an_operation_claimed_again_is_renewed_by_its_last_token():
    """The first worker lost its lease and ends only now, in the same process."""
    asked = []

    def renew(context, held, *, lease, message):
        asked.append(held)
        return True

    renewals = Renewals(SimpleNamespace(registry=SimpleNamespace(operations=SimpleNamespace(renew=renew))))
    first, second = Held("operation", "first"), Held("operation", "second")
    renewals.add(first, Progress())
    renewals.add(second, Progress())
    renewals.remove(first)
    assert renewals.renew(CONTEXT, "second", lease=60) == 60
    assert asked == [second]
    with pytest.raises(Gone):
        renewals.renew(CONTEXT, "first", lease=60)


def test_a_registry_that_is_away_ends_nothing():
    registry = Registry()
    registry.error = Unavailable("the registry does not answer")
    with LeaseKeeper(registry, seconds=0.03).keep(CONTEXT, "one") as lease:
        wait_for(lambda: len(registry.renewed) >= 2)
        lease.check()
