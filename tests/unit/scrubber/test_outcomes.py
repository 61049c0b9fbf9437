"""What follows from each error of a store: pauses and limits."""

from itertools import islice

import pytest

from glance_common.purge import NEVER, Outcome
from glance_common.retry import pauses
from glance_common.stores import contract
from glance_scrubber.outcomes import failed


@pytest.mark.parametrize(
    "error",
    [
        contract.StoreUnavailable("down"), contract.WriteDenied("read-only"), contract.InUse("cloned"),
        contract.StoreForbidden("locked"), contract.BadLocation("odd"), contract.UnknownStore("gone"),
        OSError("disk"), ZeroDivisionError(),
    ],
)
def test_every_failure_is_tried_again_and_says_why(error):
    verdict = failed(error, 0, 100)
    assert verdict.outcome is Outcome.RETRY
    assert type(error).__name__ in verdict.error
    assert verdict.store_down is isinstance(error, contract.StoreUnavailable)


def test_a_store_that_is_down_is_no_reason_to_give_up():
    verdicts = [failed(contract.StoreUnavailable("down"), attempts, 100) for attempts in (0, 1, 5000)]
    assert [verdict.delay for verdict in verdicts] == [30, 60, 900]
    assert {verdict.max_attempts for verdict in verdicts} == {NEVER}


def test_a_key_that_cannot_be_one_of_the_store_is_given_up_at_once():
    assert failed(contract.BadLocation("odd"), 0, 100).max_attempts == 1


@pytest.mark.parametrize(
    ("error", "most"), [(contract.StoreForbidden("locked"), 100), (contract.InUse("cloned"), NEVER)]
)
def test_pauses_double_up_to_an_hour(error, most):
    """Data in use are never given up: a clone may live for years, and they go after it."""
    verdicts = [failed(error, attempts, 100) for attempts in range(10)]
    delays = [verdict.delay for verdict in verdicts]
    assert delays[:3] == [60, 120, 240]
    assert delays[-1] == 3600
    assert {verdict.max_attempts for verdict in verdicts} == {most}


def test_a_hundred_attempts_last_longer_than_a_weekend():
    assert sum(islice(pauses(60, 3600), 100)) > 3 * 86400
