"""Transfer permits: a bound that never waits."""

import pytest

from glance_api.permits import TransferPermits
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
