"""What the clients met in each step of a drill."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tests.cluster.crowd import Told


@dataclass(frozen=True, slots=True)
class StepResult:
    """One step: what the clients told of the calls that ended in it; ``is_silent`` says that they may notice nothing.

    ``seconds`` is how long it took until everything worked again.
    """

    name: str
    is_silent: bool
    seconds: float
    calls: Sequence[Told]

    @property
    def retried(self) -> list[Told]:
        """Calls that needed more than one try."""
        return [call for call in self.calls if call.is_retried]

    @property
    def failed(self) -> list[Told]:
        """Calls that no repetition helped."""
        return [call for call in self.calls if not call.done]

    @property
    def errors(self) -> int:
        """Answers 5xx."""
        return sum(status is not None and status >= 500 for call in self.calls for status in call.statuses)

    @property
    def broken(self) -> int:
        """Tries without an answer."""
        return sum(status is None for call in self.calls for status in call.statuses)

    @property
    def slowest(self) -> float:
        """Seconds of the longest call, its repetitions included."""
        return max((call.seconds for call in self.calls), default=0.0)

    def faults(self) -> list[str]:
        """Return what must not be."""
        found = [f"{self.name}: {call.client} could not {call.about}" for call in self.failed]
        if not self.calls:
            found.append(f"{self.name}: no call ended in this step")
        if self.is_silent:
            found += [f"{self.name}: {call.client} had to repeat {call.about}" for call in self.retried if call.done]
        return found


_HEAD = ("step", "requests", "retried", "failed", "5xx", "no answer", "slowest, s", "whole again after, s")


def rows(results: Iterable[StepResult]) -> str:
    """Return the table as Markdown."""
    return "\n".join([_line(_HEAD), _line(["---"] * len(_HEAD)), *map(_row, results)])


def _row(step: StepResult) -> str:
    return _line([
        step.name, len(step.calls), len(step.retried), len(step.failed), step.errors, step.broken,
        f"{step.slowest:.1f}", f"{step.seconds:.1f}",
    ])


def _line(cells: Iterable[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"
