"""The pauses before something is tried again: they double up to a bound."""

import itertools
import random
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def pause(failures: int, first: float, most: float) -> float:
    """Return the seconds to wait after ``failures`` earlier failures: twice as long each time, up to ``most``."""
    return min(most, first * 2.0 ** min(failures, 30))


def pauses(first: float, most: float) -> Iterator[float]:
    """Yield the pauses one after another, without end."""
    return (pause(failures, first, most) for failures in itertools.count())


class Backoff:
    """Growing pauses between tries, with jitter so that many processes do not come back at the same moment."""

    def __init__(self, first: float = 0.5, most: float = 30.0, *, has_jitter: bool = True) -> None:
        self._first, self._most = first, most
        self._has_jitter = has_jitter
        self._failures = 0

    def reset(self) -> None:
        """Begin again with the shortest pause."""
        self._failures = 0

    def next(self) -> float:
        """Return the seconds to wait before the next try."""
        seconds = pause(self._failures, self._first, self._most)
        self._failures += 1
        return seconds * random.uniform(0.5, 1.0) if self._has_jitter else seconds  # noqa: S311 - jitter is no secret


def retried(
    act: Callable[[], T],
    waits: Iterable[float],
    may_help: Callable[[Exception], bool],
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """Return what ``act`` returns. After an error that another try ``may_help`` sleep for the next of ``waits``.

    Raises any other error at once, and every error of the try after the last wait.
    """
    for seconds in waits:
        try:
            return act()
        except Exception as error:
            if not may_help(error):
                raise
        sleep(seconds)
    return act()
