"""The figures of a run as Markdown: medians, ratios, budgets."""

import statistics
from collections import defaultdict
from enum import Enum

TOOL = "tool"
BESIDE = "tool with our work"
"""An upload beside programs that make the two digests; a download that goes on to a client."""

ORIGINAL = "original"
OURS = "ours"
_S3 = frozenset({"radosgw", "seaweedfs"})
"""Where the original sends data of unknown size one part after another."""

_COLUMNS = (TOOL, BESIDE, ORIGINAL, OURS)


class Measure(Enum):
    """What is measured, with its unit."""

    UPLOAD = "upload, size known, MiB/s"
    UNKNOWN = "upload, size unknown, MiB/s"
    DOWNLOAD = "download, MiB/s"
    FIRST = "first byte from the middle, ms"


class Table:
    """All readings of a run."""

    def __init__(self) -> None:
        self._readings: dict[tuple[str, Measure, str], list[float]] = defaultdict(list)
        self._costs: dict[tuple[str, Measure, str], list[float]] = defaultdict(list)
        self._notes: list[str] = []

    def add(self, store: str, measure: Measure, column: str, value: float) -> None:
        """Add one reading."""
        self._readings[store, measure, column].append(value)

    def add_cost(self, store: str, measure: Measure, column: str, seconds: float) -> None:
        """Add the processor seconds that all processes of a service took for a GiB."""
        self._costs[store, measure, column].append(seconds)

    def note(self, text: str) -> None:
        """Add a line below the table."""
        self._notes.append(text)

    def median(self, store: str, measure: Measure, column: str) -> float | None:
        """Return the median of the readings, None when there are none."""
        found = self._readings.get((store, measure, column))
        return statistics.median(found) if found else None

    def markdown(self, said: str) -> str:
        """Return everything as Markdown below a line about the run."""
        lines = [
            said, "",
            f"| store | measure | {' | '.join(_COLUMNS)} | ratio | budget | ours / original | budget |",
            "|---|---|---|---|---|---|---|---|---|---|",
        ]
        measured = {(store, measure) for store, measure, _ in self._readings}
        stores = dict.fromkeys(store for store, _, _ in self._readings)
        lines += [
            self._row(store, measure) for store in stores for measure in Measure if (store, measure) in measured
        ]
        lines += ["", f"| processor seconds of the API a GiB | {ORIGINAL} | {OURS} |", "|---|---|---|"]
        for store, measure in dict.fromkeys((store, measure) for store, measure, _ in self._costs):
            costs = [self._costs.get((store, measure, column), []) for column in (ORIGINAL, OURS)]
            cells = [f"{statistics.median(found):.1f}" if found else "" for found in costs]
            lines.append(f"| {store}, {measure.value.partition(', MiB')[0]} | {' | '.join(cells)} |")
        return "\n".join([*lines, "", *(f"- {note}" for note in self._notes)]) + "\n"

    def _row(self, store: str, measure: Measure) -> str:
        found = {column: self.median(store, measure, column) for column in _COLUMNS}
        known = self.median(store, Measure.UPLOAD, OURS)
        through = _ratio(found[OURS], found[BESIDE])
        base, word, budget = {
            Measure.UPLOAD: (found[BESIDE], "of the tool with our work", "≥ 0.8"),
            Measure.UNKNOWN: (known, "of known size", "≥ 0.9"),
            Measure.DOWNLOAD: (found[TOOL], f"of the tool, {through} with our work", "≥ 0.9"),
            Measure.FIRST: (found[TOOL], "of the tool", "≤ 1.5"),
        }[measure]
        five = "≥ 5" if store in _S3 else ""
        least = {Measure.UPLOAD: "≥ 2", Measure.UNKNOWN: five}.get(measure, "") if found[ORIGINAL] else ""
        cells = [store, measure.value, *map(_number, found.values()), f"{_ratio(found[OURS], base)} {word}", budget,
                 _ratio(found[OURS], found[ORIGINAL]), least]
        return f"| {' | '.join(cells)} |"


def _ratio(value: float | None, base: float | None) -> str:
    return "" if value is None or not base else f"{value / base:.2f}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}" if value >= 100 else f"{value:.1f}"
