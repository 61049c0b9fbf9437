"""What PostgreSQL's error codes become."""

from __future__ import annotations

import pytest
from sqlalchemy import exc

from glance_common.model import errors
from glance_registry.db.errors import ConnectionLost, RetryTransaction, translate, translate_commit


class Failure(Exception):
    """A database error with a code; the driver's own cannot be given one."""

    def __init__(self, code: str | None) -> None:
        super().__init__("details of the inside")
        self.pgcode = code


def failure(code: str | None, kind: type[exc.DBAPIError] = exc.OperationalError) -> exc.DBAPIError:
    return kind("SELECT 1", {}, Failure(code))


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("23505", errors.Duplicate), ("40001", RetryTransaction), ("40P01", RetryTransaction),
        ("55P03", errors.Unavailable), ("57014", errors.Unavailable), ("25006", errors.Unavailable),
        ("53100", errors.Unavailable), ("53300", errors.Unavailable), ("42P01", errors.Unavailable),
        ("26000", errors.Unavailable), ("22003", errors.BadRequest), ("22021", errors.BadRequest),
        ("22P05", errors.BadRequest), ("57P01", ConnectionLost), ("57P03", ConnectionLost), ("08006", ConnectionLost),
        (None, ConnectionLost),
    ],
)
def test_codes(code: str | None, expected: type[errors.GlanceError]) -> None:
    found = translate(failure(code))
    assert type(found) is expected
    assert "inside" not in str(found)


@pytest.mark.parametrize("code", ["55P03", "40001", "40P01"])
def test_rows_that_other_requests_hold_are_told_from_a_database_that_is_away(code: str) -> None:
    """The title is the one that daemons of the release before know."""
    sent = translate(failure(code))
    assert isinstance(sent, errors.Unavailable)
    received = errors.from_document(503, sent.document())
    assert type(received) is errors.Unavailable
    assert errors.is_row_held(received)


@pytest.mark.parametrize("code", [None, "57P01", "57014", "53300", "25006"])
def test_trouble_of_all_rows_is_not_said_to_be_that_of_some(code: str | None) -> None:
    sent = translate(failure(code))
    assert isinstance(sent, errors.Unavailable)
    assert not errors.is_row_held(sent)


@pytest.mark.parametrize("code", ["42601", "42883", "XX000", "23502"])
def test_what_means_a_defect_stays_as_it_is(code: str) -> None:
    error = failure(code, exc.ProgrammingError)
    assert translate(error) is error


def test_other_errors() -> None:
    assert isinstance(translate(exc.TimeoutError()), errors.Unavailable)
    unknown = exc.InvalidRequestError("x")
    assert translate(unknown) is unknown


@pytest.mark.parametrize("code", [None, "57P01", "08006", "58030", "53100"])
def test_a_commit_that_may_have_worked_is_unknown(code: str | None) -> None:
    assert type(translate_commit(failure(code))) is errors.OutcomeUnknown


def test_a_commit_that_surely_failed_is_named() -> None:
    assert type(translate_commit(failure("23505"))) is errors.Duplicate
    assert type(translate_commit(failure("40001"))) is RetryTransaction
