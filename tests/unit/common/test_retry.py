"""Pauses between tries, and tries that end."""

from itertools import islice

import pytest

from glance_common.registry_client import http
from glance_common.retry import Backoff, pause, pauses, retried


def test_a_pause_doubles_up_to_a_bound():
    assert [pause(failures, 1.0, 5.0) for failures in range(5)] == [1, 2, 4, 5, 5]
    assert pause(10**9, 60, 3600) == 3600
    assert list(islice(pauses(0.1, 0.8), 6)) == [0.1, 0.2, 0.4, 0.8, 0.8, 0.8]


def test_a_call_of_the_registry_is_repeated_at_once_and_then_ever_later():
    assert http._PAUSES == (0.0, 0.1, 0.2, 0.4, 0.8, 1.6)


def test_a_backoff_grows_up_to_a_bound_and_begins_again():
    backoff = Backoff(first=1.0, most=8.0)
    waits = [backoff.next() for _ in range(200)]
    assert 0.5 <= waits[0] <= 1.0
    assert 1.0 <= waits[1] <= 2.0
    assert all(4.0 <= wait <= 8.0 for wait in waits[3:])
    assert len(set(waits[3:])) > 100, "without jitter all processes would come back at once"
    backoff.reset()
    assert backoff.next() <= 1.0


def test_a_backoff_without_jitter_is_exact():
    backoff = Backoff(first=1.0, most=30.0, has_jitter=False)
    assert [backoff.next() for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]


class Act:
    """Raises its errors one after another, then returns 7."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)
        self.calls = 0

    def __call__(self) -> int:
        self.calls += 1
        if self._errors:
            raise self._errors.pop(0)
        return 7


def is_os_error(error: Exception) -> bool:
    return isinstance(error, OSError)


def test_what_may_help_is_tried_again_after_each_pause():
    act, slept = Act(OSError("first"), OSError("second")), []
    assert retried(act, [1, 2, 3], is_os_error, slept.append) == 7
    assert (act.calls, slept) == (3, [1, 2])


def test_the_error_of_the_last_try_goes_up():
    act, slept = Act(OSError("first"), OSError("second"), OSError("third")), []
    with pytest.raises(OSError, match="third"):
        retried(act, [1, 2], is_os_error, slept.append)
    assert slept == [1, 2]


def test_what_another_try_does_not_help_is_raised_at_once():
    act, slept = Act(ValueError("bad")), []
    with pytest.raises(ValueError, match="bad"):
        retried(act, [1, 2], is_os_error, slept.append)
    assert (act.calls, slept) == (1, [])
