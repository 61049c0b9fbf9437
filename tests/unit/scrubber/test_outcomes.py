"""The table of exceptions, outcomes and pauses."""

import pytest

from glance_common.stores import contract
from glance_scrubber.outcomes import NEVER, Outcome, judge, pause


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, Outcome.PURGED),
        (contract.BlobNotFound("k"), Outcome.ALREADY_GONE),
        (contract.DeleteUnsupported("k"), Outcome.KEPT),
        (contract.StoreUnavailable("down"), Outcome.RETRY),
        (contract.WriteDenied("read-only"), Outcome.RETRY),
        (contract.InUse("cloned"), Outcome.RETRY),
        (contract.StoreForbidden("locked"), Outcome.RETRY),
        (contract.BadLocation("odd"), Outcome.RETRY),
        (contract.UnknownStore("gone"), Outcome.RETRY),
        (OSError("disk"), Outcome.RETRY),
        (ZeroDivisionError(), Outcome.RETRY),
    ],
)
def test_every_end_of_a_removal_has_an_outcome(error, outcome):
    verdict = judge(error, 0, 100)
    assert verdict.outcome is outcome
    assert bool(verdict.error) is (outcome is Outcome.RETRY)
    assert verdict.store_down is isinstance(error, contract.StoreUnavailable)


def test_a_store_that_is_down_is_no_reason_to_give_up():
    assert judge(contract.StoreUnavailable("down"), 5000, 100).max_attempts == NEVER


def test_a_key_that_cannot_be_one_of_the_store_is_given_up_at_once():
    assert judge(contract.BadLocation("odd"), 0, 100).max_attempts == 1


def test_pauses_double_up_to_an_hour():
    pauses = [judge(contract.InUse("cloned"), attempts, 100).delay for attempts in range(10)]
    assert pauses[:3] == [60, 120, 240]
    assert pauses[-1] == 3600
    assert pause(10**9, 60, 3600) == 3600


def test_a_hundred_attempts_last_longer_than_a_weekend():
    assert sum(pause(attempts, 60, 3600) for attempts in range(100)) > 3 * 86400


def test_s_75_texts_of_unknown_errors_are_not_repeated():
    try:
        raise ValueError("swift://account:secret@host/container")
    except ValueError as error:
        text = judge(error, 0, 100).error
    assert "secret" not in text
    assert "ValueError at test_outcomes.py:" in text
