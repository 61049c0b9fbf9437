"""What a run found and did, for the operator: counts by kind and state, and what does not come, with the reason."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from enum import StrEnum

_EXAMPLES = 5
_MOST_REASONS = 200
"""Reasons that are told apart; they hold names of stores and properties, of which there can be many."""


class RowOutcome(StrEnum):
    """What became of a row of the other side; also the heading of its column."""

    NEW = "new"
    CHANGED = "changed"
    SAME = "unchanged"
    KEPT = "kept here"
    """Changed here since it was adopted, or not adopted at all: it stays as it is here."""
    LEFT = "left out"


class Report:
    """Counts rows and collects reasons; bounded, however many rows there are."""

    def __init__(self) -> None:
        self._counts: defaultdict[tuple[str, str], Counter[RowOutcome]] = defaultdict(Counter)
        self._reasons: Counter[str] = Counter()
        self._examples: defaultdict[str, list[str]] = defaultdict(list)
        self.warnings: list[str] = []
        self.revision = ""
        """Of the schema there."""
        self.next_since = ""
        """What the next run gives to ``--since`` to bring what changes from now on."""

    def count(self, kind: str, state: str, outcome: RowOutcome, number: int = 1) -> None:
        """Note what became of rows of a kind in a state."""
        if number:
            self._counts[kind, state][outcome] += number

    def problem(self, name: str, reason: str) -> None:
        """Note that the thing ``name`` does not come, or not as it is."""
        if reason not in self._reasons and len(self._reasons) >= _MOST_REASONS:
            reason = "further reasons"
        self._reasons[reason] += 1
        if len(self._examples[reason]) < _EXAMPLES:
            self._examples[reason].append(name)

    @property
    def is_complete(self) -> bool:
        """Whether everything comes as it is."""
        return not self._reasons and not any(counts[RowOutcome.KEPT] for counts in self._counts.values())

    def lines(self) -> Iterator[str]:
        """Yield the report, line by line."""
        headings = ("", "", "there", *RowOutcome)
        rows = [
            (kind, state, str(counts.total()), *(str(counts[each]) if counts[each] else "-" for each in RowOutcome))
            for (kind, state), counts in sorted(self._counts.items())
        ]
        yield from table([headings, *rows])
        if self._reasons:
            yield ""
            yield "Not as it is there:"
        for reason, number in self._reasons.most_common():
            more = ", …" if number > len(self._examples[reason]) else ""
            yield f"{number:>8}  {reason}"
            yield f"          {', '.join(self._examples[reason])}{more}"
        for warning in self.warnings:
            yield ""
            yield f"WARNING: {warning}"


def table(rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """Yield the rows in columns: numbers to the right, texts to the left."""
    lines = list(rows)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = [
            cell.rjust(width) if cell.isdigit() or cell == "-" else cell.ljust(width)
            for cell, width in zip(line, widths, strict=True)
        ]
        yield "  ".join(cells).rstrip()
