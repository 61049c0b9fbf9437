"""What follows when the scrubber cannot purge a location: the table of errors, pauses and limits."""

from glance_common.purge import NEVER, Outcome, Verdict, error_text
from glance_common.retry import pause
from glance_common.stores.contract import BadLocation, InUse, StoreUnavailable


def failed(error: Exception, attempts: int, max_attempts: int) -> Verdict:
    """Return what follows from an error of the store; ``attempts`` counts the failures before this one.

    After ``max_attempts`` failures the purge is given up, but not while the store is down or the data are in use.
    """
    match error:
        case StoreUnavailable():
            return Verdict(Outcome.RETRY, error_text(error), pause(attempts, 30, 900), NEVER, store_down=True)
        case InUse():
            # A disk that was cloned from the data may live for years.
            return Verdict(Outcome.RETRY, error_text(error), pause(attempts, 60, 3600), NEVER)
        case BadLocation():
            # The key cannot become one of this store, so only an operator can help.
            return Verdict(Outcome.RETRY, error_text(error), pause(attempts, 60, 3600), 1)
        case _:
            return Verdict(Outcome.RETRY, error_text(error), pause(attempts, 60, 3600), max_attempts)
