"""Permits: bounds that never wait."""

import contextvars

import pytest
from tests.unit.api.conftest import make_conf

from glance_api.transfers.permits import RemoteChecks, TransferPermits
from glance_api.wsgi import transfer_permits
from glance_common.fetch import deadlines
from glance_common.model.errors import Unavailable


def test_a_permit_more_than_the_limit_is_refused_and_given_back_ones_return():
    permits = TransferPermits(2)
    give_back = permits.take("p")
    permits.take("p")
    with pytest.raises(Unavailable, match="max_transfers") as caught:
        permits.take("p")
    assert caught.value.details["retry_after"] > 0
    give_back()
    give_back()
    permits.take("p")
    with pytest.raises(Unavailable):
        permits.take("p")


def test_a_stopping_server_takes_no_new_transfer():
    with pytest.raises(Unavailable, match="stopping"):
        TransferPermits(2, stopping=lambda: True).take("p")


def test_one_project_leaves_the_rest_to_others():
    permits = TransferPermits(4, share=3)
    own = [permits.take("greedy") for _ in range(3)]
    for _ in range(2):
        with pytest.raises(Unavailable, match="max_transfers_per_project") as caught:
            permits.take("greedy")
        assert caught.value.details["retry_after"] > 0
    give_back = permits.take("other")
    with pytest.raises(Unavailable, match="all 4 transfers"):
        permits.take(None)
    give_back()
    own[0]()
    own[0]()
    permits.take("greedy")
    with pytest.raises(Unavailable, match="max_transfers_per_project"):
        permits.take("greedy")
    permits.take(None)


def test_callers_without_a_project_count_as_one():
    permits = TransferPermits(4, share=1)
    permits.take(None)
    with pytest.raises(Unavailable, match="max_transfers_per_project"):
        permits.take(None)


@pytest.mark.parametrize(("options", "limit", "share"), [
    ({}, 28, 21), ({"threads": 4}, 1, 1), ({"max_transfers": 60}, 60, 45), ({"max_transfers_per_project": 5}, 28, 5),
    ({"max_transfers_per_project": 0}, 28, 28), ({"max_transfers_per_project": 99}, 28, 28),
])
def test_a_project_may_have_three_quarters_unless_told_otherwise(options, limit, share):
    conf = make_conf({"paste_deploy.flavor": "trusted-auth", **options})
    permits = transfer_permits(conf, lambda: False)
    assert (permits.limit, permits.share) == (limit, share)


def test_without_a_flavor_all_callers_are_one_that_may_have_all():
    permits = transfer_permits(make_conf({"max_transfers_per_project": 1}), lambda: False)
    assert permits.share == permits.limit == 28


def test_s22_more_requests_than_may_wait_for_other_servers_are_refused_at_once():
    checks = RemoteChecks(1, 15.0)
    with checks.permit(), pytest.raises(ValueError, match="meant"):
        raise ValueError("meant")
    first = checks.permit()
    first.__enter__()
    assert contextvars.Context().run(refusal, checks) > 0
    first.__exit__(None, None, None)
    with checks.permit():
        pass


def refusal(checks: RemoteChecks) -> int:
    """Return after which time another request is asked to come back."""
    with pytest.raises(Unavailable, match="max_remote_checks") as caught, checks.permit():
        pass
    return int(caught.value.details["retry_after"])


def test_s22_what_one_request_asks_shares_its_permit_and_its_time():
    checks = RemoteChecks(1, 15.0)
    with checks.permit():
        ends_at = deadlines.current().ends_at
        assert 0 < deadlines.current().remaining() <= 15
        for _ in range(3):
            with checks.permit():
                assert deadlines.current().ends_at == ends_at
        assert contextvars.Context().run(refusal, checks)
    assert deadlines.current().ends_at == deadlines.NEVER
