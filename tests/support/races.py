"""Several callers at the same moment."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from glance_common.model import errors


def race(*calls: Callable[[], Any]) -> list[Any]:
    """Return what each call returned or raised; all begin at the same moment."""
    barrier = threading.Barrier(len(calls))
    outcomes: list[Any] = [None] * len(calls)

    def run(number: int) -> None:
        barrier.wait()
        try:
            outcomes[number] = calls[number]()
        except errors.GlanceError as error:
            outcomes[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def failures(outcomes: list[Any]) -> list[errors.GlanceError]:
    """Return the errors among ``outcomes``."""
    return [outcome for outcome in outcomes if isinstance(outcome, errors.GlanceError)]
