"""The figures of a run as Markdown: medians, ratios, budgets."""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence

from tests.benchmarks.measures import Measure, Reading

ORIGINALS = ("original, gunicorn", "original, uWSGI")
OURS = "ours"
SHA256 = "ours, sha256 alone"
NGINX = "nginx"

DOWNLOAD_TO_NGINX = 0.9
DOWNLOAD_PROCESSOR = 0.5


class Results:
    """All readings of a run."""

    def __init__(self) -> None:
        self._readings: dict[tuple[str, str], list[Reading]] = defaultdict(list)
        self._hashing: dict[str, list[float]] = defaultdict(list)

    def add(self, measure: Measure, column: str, reading: Reading) -> None:
        """Note one reading."""
        self._readings[measure.name, column].append(reading)

    def add_hashing(self, name: str, speed: float) -> None:
        """Note how fast the machine hashes, in MB/s."""
        self._hashing[name].append(speed)

    def rate(self, measure: Measure, column: str) -> float | None:
        """Return the median of the rates, None when there are none."""
        taken = self._readings.get((measure.name, column))
        return statistics.median(each.rate for each in taken) if taken else None

    def spent(self, measure: Measure, column: str) -> float | None:
        """Return the median of the processor seconds a unit, None when there are none."""
        taken = self._readings.get((measure.name, column))
        return statistics.median(each.spent for each in taken) if taken else None

    def best(self, measure: Measure) -> float | None:
        """Return the better of the original's rates."""
        return max((rate for column in ORIGINALS if (rate := self.rate(measure, column)) is not None), default=None)

    def least_spent(self, measure: Measure) -> float | None:
        """Return the smaller of the original's processor seconds."""
        return min((spent for column in ORIGINALS if (spent := self.spent(measure, column)) is not None), default=None)

    def markdown(self, measures: Sequence[Measure], heading: Iterable[str]) -> str:
        """Return everything as Markdown below these lines."""
        blocks = [*heading, "", *_rates(self, measures), "", *_processor(self, measures), "", *self._hash_lines()]
        return "\n".join(blocks) + "\n"

    def _hash_lines(self) -> list[str]:
        lines = ["| hashing alone, pieces of 1 MiB | MB/s |", "|---|---|"]
        lines += [_row([name, _number(statistics.median(speeds))]) for name, speeds in self._hashing.items()]
        return lines


def _rates(results: Results, measures: Sequence[Measure]) -> list[str]:
    lines = [
        f"| more is better | {ORIGINALS[0]} | {ORIGINALS[1]} | ours | ours / better original | budget |",
        "|---|---|---|---|---|---|",
    ]
    for measure in measures:
        before = [_number(results.rate(measure, column)) for column in ORIGINALS]
        best = results.best(measure)
        for column, name, budget in (
            (OURS, measure.name, measure.least), (SHA256, f"{measure.name}, ours with sha256 alone", measure.sha256),
        ):
            ours = results.rate(measure, column)
            if ours is None:
                continue
            cells = [f"{name}, {measure.unit}", *before, _number(ours), _ratio(ours, best), _at_least(budget)]
            lines.append(_row(cells))
        nginx = results.rate(measure, NGINX)
        if nginx is not None:
            ratio = _ratio(results.rate(measure, OURS), nginx)
            cells = [f"{measure.name}, nginx sends {_number(nginx)} {measure.unit}", "", "", "", f"{ratio} of nginx",
                     _at_least(DOWNLOAD_TO_NGINX)]
            lines.append(_row(cells))
    return lines


def _processor(results: Results, measures: Sequence[Measure]) -> list[str]:
    lines = [
        f"| processor time of the servers | {ORIGINALS[0]} | {ORIGINALS[1]} | ours | ours / better original | budget |",
        "|---|---|---|---|---|---|",
    ]
    for measure in measures:
        in_seconds = measure.per == "GB"
        factor = 1 if in_seconds else 1000
        before = [_scaled(results.spent(measure, column), factor) for column in ORIGINALS]
        for column in (OURS, SHA256, NGINX):
            spent = results.spent(measure, column)
            if spent is None:
                continue
            name = measure.name if column == OURS else f"{measure.name}, {column}"
            budget = f"≤ {DOWNLOAD_PROCESSOR}" if measure.is_download and column == OURS else ""
            unit = f"{'s' if in_seconds else 'ms'} a {measure.per}"
            ratio = _ratio(spent, results.least_spent(measure))
            lines.append(_row([f"{name}, {unit}", *before, _scaled(spent, factor), ratio, budget]))
    return lines


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _ratio(ours: float | None, theirs: float | None) -> str:
    return "-" if ours is None or not theirs else f"{ours / theirs:.2f}"


def _at_least(budget: float | None) -> str:
    return "" if budget is None else f"≥ {budget:g}"


def _scaled(value: float | None, factor: float) -> str:
    return "-" if value is None else f"{value * factor:.2f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}" if value >= 100 else f"{value:.1f}"
