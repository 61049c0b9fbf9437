"""Waiting for what happens somewhere else."""

import socket
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_for(condition: Callable[[], T | None], what: str = "the condition", seconds: float = 60) -> T:
    """Return the first true value of ``condition()``; fail after ``seconds``.

    It is asked once more after that: a machine that stood still in the meantime is no failure.
    """
    limit = time.monotonic() + seconds
    is_late = False
    while not (value := condition()):
        assert not is_late, f"{what}: not within {seconds:g} s"
        time.sleep(0.02)
        is_late = time.monotonic() > limit
    return value


def promptly(seconds: float, act: Callable[[], T], tries: int = 4) -> T:
    """Call ``act`` until one call takes less than ``seconds``, and return its result. Fail when each call is slower.

    A machine that stands still makes one call slow. A service that waits for something makes each of them slow.
    """
    took: list[float] = []
    for _ in range(tries):
        began = time.monotonic()
        value = act()
        took.append(time.monotonic() - began)
        if took[-1] < seconds:
            return value
    raise AssertionError(f"not once within {seconds:g} s: {took}")


def accepts_connections(port: int) -> bool:
    """Return whether something listens on this TCP port of the loopback address."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
