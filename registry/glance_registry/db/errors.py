"""What a database error means for the caller.

Codes are PostgreSQL's SQLSTATE (its manual, appendix A). What is not listed is a defect of ours and stays what it is:
the error handler logs it and answers ``InternalError``.
"""

from typing import Any

import psycopg2
from sqlalchemy import exc

from glance_common.model import errors

NOT_ANSWERING = "the database does not answer"
NOT_SAID = "the database did not say whether it took the change"

_MUST_RETRY = {"40001", "40P01"}
_LOCK_NOT_AVAILABLE = "55P03"
_KNOWN_TO_HAVE_FAILED = ("23", "40")
"""Classes of errors that a COMMIT can answer and that say for sure that nothing was committed."""

_UNAVAILABLE = {
    "25006": "the database is read-only",
    "26000": "the database forgot a prepared statement: a pooler in front of it has to pool sessions",
    "42P01": "the database has no schema of this version: run glance-manage db check",
    "42703": "the database has no schema of this version: run glance-manage db check",
    "53100": "the database has no space left",
    "53200": "the database has no memory left",
    "53300": "the database takes no more connections",
    "57014": "the database took too long to answer",
}
_BAD_REQUEST = {
    "22003": "a number is out of range",
    "22021": "a text holds a character that cannot be stored",
    "22P05": "a text holds a character that cannot be stored",
}


class RetryTransaction(errors.Unavailable):
    """The database broke off the transaction in favour of another one; the same again may work."""

    def __init__(self, message: str) -> None:
        super().__init__(message, reason=errors.ROW_HELD)


class ConnectionLost(errors.Unavailable):
    """The connection was lost before COMMIT was sent: nothing was done."""


def as_sqlalchemy(error: Any, command: str | None = None, *, is_lost: bool = False) -> exc.DBAPIError:
    """Return the driver's ``error`` as SQLAlchemy raises it, without the values of the ``command``."""
    wrapped: exc.DBAPIError = exc.DBAPIError.instance(
        command, None, error, psycopg2.Error, hide_parameters=True, connection_invalidated=is_lost
    )
    return wrapped


def translate(error: exc.SQLAlchemyError) -> Exception:
    """Return the error to raise instead of ``error``, or ``error`` itself when it means a defect."""
    if isinstance(error, exc.TimeoutError):
        return errors.Unavailable("all connections to the database are busy")
    if not isinstance(error, exc.DBAPIError):
        return error
    code = sqlstate(error)
    if code == "23505":
        return errors.Duplicate("a row with this key exists already", constraint=_constraint(error))
    if code in _MUST_RETRY:
        return RetryTransaction("another request changes the same rows")
    if code == _LOCK_NOT_AVAILABLE:
        return errors.Unavailable("another request holds the row for too long", reason=errors.ROW_HELD)
    if code in _UNAVAILABLE:
        return errors.Unavailable(_UNAVAILABLE[code])
    if code in _BAD_REQUEST:
        return errors.BadRequest(_BAD_REQUEST[code])
    if _is_connection_trouble(error, code):
        return ConnectionLost(NOT_ANSWERING)
    return error


def translate_commit(error: exc.SQLAlchemyError) -> Exception:
    """Return the error for a COMMIT that failed: only some answers prove that nothing was committed."""
    if sqlstate(error).startswith(_KNOWN_TO_HAVE_FAILED):
        return translate(error)
    return errors.OutcomeUnknown(NOT_SAID)


def sqlstate(error: exc.SQLAlchemyError) -> str:
    """Return the SQLSTATE of ``error``; empty when the database did not send one."""
    original = getattr(error, "orig", None)
    return getattr(original, "pgcode", None) or ""


def _constraint(error: exc.DBAPIError) -> str:
    diagnostics = getattr(error.orig, "diag", None)
    return getattr(diagnostics, "constraint_name", None) or ""


def _is_connection_trouble(error: exc.DBAPIError, code: str) -> bool:
    if code:
        return code.startswith(("08", "57P"))
    return error.connection_invalidated or isinstance(error, exc.OperationalError | exc.InterfaceError)
