"""How the removal of one location ended, and what follows: the table of exceptions, outcomes and pauses."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from glance_common.stores.contract import (
    BadLocation,
    BlobNotFound,
    DeleteUnsupported,
    StoreError,
    StoreUnavailable,
)

NEVER = 1_000_000
"""Failures allowed when a removal is never given up: the most that the registry takes, centuries of pauses."""


class Outcome(StrEnum):
    """What became of one location."""

    PURGED = "purged"
    """The store has removed the bytes."""
    ALREADY_GONE = "already gone"
    """The store proved that it holds nothing under the key."""
    KEPT = "kept"
    """The bytes are not ours to delete (http); only the row is closed."""
    NOT_OURS = "not ours"
    """Not due, claimed by another, or in a store that this scrubber does not work."""
    RETRY = "retry"
    """It failed and is tried again later."""
    STOPPED = "stopped"
    """Nothing was done, because this process is ending."""
    FAILED = "failed"
    """It failed too often; an operator lists and replays it."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to record: ``error`` is for operators, ``delay`` seconds to the next try, ``max_attempts`` failures at most.

    ``store_down`` says that no other removal in this store would work now.
    """

    outcome: Outcome
    error: str = ""
    delay: float = 0
    max_attempts: int = 0
    store_down: bool = False


def judge(error: Exception | None, attempts: int, max_attempts: int) -> Verdict:
    """Return what follows from the end of ``store.delete``; ``attempts`` counts the failures before this one."""
    match error:
        case None:
            return Verdict(Outcome.PURGED)
        case BlobNotFound():
            return Verdict(Outcome.ALREADY_GONE)
        case DeleteUnsupported():
            return Verdict(Outcome.KEPT)
        case StoreUnavailable():
            return Verdict(Outcome.RETRY, _text(error), pause(attempts, 30, 900), NEVER, store_down=True)
        case BadLocation():
            # The key cannot become one of this store, so only an operator can help.
            return Verdict(Outcome.RETRY, _text(error), pause(attempts, 60, 3600), 1)
        case _:
            return Verdict(Outcome.RETRY, _text(error), pause(attempts, 60, 3600), max_attempts)


def pause(attempts: int, first: float, most: float) -> float:
    """Return the seconds to wait after ``attempts`` earlier failures: twice as long each time, up to ``most``."""
    return min(most, first * 2.0 ** min(attempts, 30))


def _text(error: Exception) -> str:
    """Return the reason. The texts of StoreErrors hold no credentials; those of others may, and are left out (S-75)."""
    if isinstance(error, StoreError):
        return f"{type(error).__name__}: {error}"
    return f"unexpected {type(error).__name__} at {place(error)}"


def place(error: BaseException) -> str:
    """Return file and line where the error was raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return "an unknown place"
    return f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
