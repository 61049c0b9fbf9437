"""Permits: bounds that never wait."""

import contextvars

import pytest

from glance_api.permits import RemoteChecks, TransferPermits
from glance_common import deadlines
from glance_common.errors import Unavailable


def test_a_permit_more_than_the_limit_is_refused_and_given_back_ones_return():
    permits = TransferPermits(2)
    give_back = permits.take()
    permits.take()
    with pytest.raises(Unavailable, match="max_transfers") as caught:
        permits.take()
    assert caught.value.details["retry_after"] > 0
    give_back()
    give_back()
    permits.take()
    with pytest.raises(Unavailable):
        permits.take()


def test_a_stopping_server_takes_no_new_transfer():
    with pytest.raises(Unavailable, match="stopping"):
        TransferPermits(2, stopping=lambda: True).take()


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
