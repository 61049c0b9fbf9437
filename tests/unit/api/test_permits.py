"""Permits: bounds that never wait."""

import contextvars
import time

import pytest
from tests.unit.api.conftest import make_conf

from glance_api.transfers.permits import RemoteChecks, TransferPermits
from glance_api.wsgi import cache_permits, remote_checks, transfer_permits
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
    ({}, 22, 16), ({"threads": 8}, 4, 3), ({"threads": 4}, 1, 1), ({"max_transfers": 60}, 60, 45),
    ({"max_transfers_per_project": 5}, 22, 5),
    ({"max_transfers_per_project": 0}, 22, 22), ({"max_transfers_per_project": 99}, 22, 22),
])
def test_a_project_may_have_three_quarters_unless_told_otherwise(options, limit, share):
    conf = make_conf({"paste_deploy.flavor": "trusted-auth", **options})
    permits = transfer_permits(conf, lambda: False)
    assert (permits.limit, permits.share) == (limit, share)


def test_where_a_caller_has_another_way_there_is_a_permit_or_none():
    permits = TransferPermits(2, share=1)
    give_back = permits.try_take("p")
    assert give_back is not None
    assert permits.try_take("p") is None
    other = permits.try_take("q")
    assert other is not None
    assert permits.try_take("r") is None
    give_back()
    assert permits.try_take("p") is not None
    stopping = TransferPermits(2, stopping=lambda: True)
    assert stopping.try_take("p") is None
    assert stopping.try_take("p", is_running=True) is not None


@pytest.mark.parametrize(("options", "limit", "share"), [
    ({"image_cache_dir": "/cache"}, 1000, 727),
    ({"image_cache_dir": "/cache", "image_cache_max_readers": 22}, 22, 16),
    ({"image_cache_dir": "/cache", "image_cache_max_readers": 1}, 1, 1),
    ({"image_cache_dir": "/cache", "image_cache_max_readers": 0}, 0, 0),
    ({"image_cache_dir": "/cache", "paste_deploy.flavor": ""}, 1000, 1000),
    ({}, 0, 0),
])
def test_a_project_has_the_same_part_of_the_readers_of_the_cache(options, limit, share):
    conf = make_conf({"paste_deploy.flavor": "trusted-auth", **options})
    permits = cache_permits(conf, transfer_permits(conf, lambda: False), lambda: False)
    assert (permits.limit, permits.share) == (limit, share)


def test_without_a_flavor_all_callers_are_one_that_may_have_all():
    permits = transfer_permits(make_conf({"max_transfers_per_project": 1}), lambda: False)
    assert permits.share == permits.limit == 22


def test_s22_more_requests_than_may_wait_for_other_servers_are_refused_at_once():
    checks = RemoteChecks(1, 15.0)
    with checks.permit("p"), pytest.raises(ValueError, match="meant"):
        raise ValueError("meant")
    first = checks.permit("p")
    first.__enter__()
    assert contextvars.Context().run(refusal, checks) > 0
    first.__exit__(None, None, None)
    with checks.permit("p"):
        pass


def test_one_project_leaves_half_of_the_checks_to_others():
    checks = RemoteChecks(2, 15.0, 1)
    first = checks.permit("greedy")
    first.__enter__()
    assert contextvars.Context().run(refusal, checks, "greedy") > 0
    with pytest.raises(RuntimeError, match="it got one"):
        contextvars.Context().run(meant, checks, "other")
    first.__exit__(None, None, None)


def meant(checks: RemoteChecks, project: str) -> None:
    """Hold a permit for a moment."""
    with checks.permit(project):
        raise RuntimeError("it got one")


def test_transfers_and_checks_together_leave_threads_for_all_others(caplog):
    conf = make_conf({"paste_deploy.flavor": "trusted-auth"})
    assert transfer_permits(conf, lambda: False).limit + remote_checks(conf).limit == conf.threads - 2
    assert remote_checks(conf).share == remote_checks(conf).limit // 2
    assert not caplog.text
    transfer_permits(make_conf({"max_transfers": 28}), lambda: False)
    assert "may take all threads" in caplog.text


def refusal(checks: RemoteChecks, project: str = "p") -> int:
    """Return after which time another request is asked to come back."""
    with pytest.raises(Unavailable, match="max_remote_checks") as caught, checks.permit(project):
        pass
    return int(caught.value.details["retry_after"])


def test_s22_what_one_request_asks_shares_its_permit_and_its_time():
    checks = RemoteChecks(1, 15.0)
    with checks.permit("p"):
        ends_at = deadlines.current().ends_at
        assert 0 < ends_at - time.monotonic() <= 15
        for _ in range(3):
            with checks.permit("p"):
                assert deadlines.current().ends_at == ends_at
        assert contextvars.Context().run(refusal, checks)
    assert deadlines.current().ends_at == deadlines.NEVER
