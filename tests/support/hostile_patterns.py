"""Tries regular expressions with texts that make a backtracking one run for ever, and says which do.

The texts come from the pattern: after each beginning that it has before one of its repetitions, every character that
the pattern knows, and every pair of them, stands thousands of times, and then comes what fits nowhere. A linear pattern
needs milliseconds for one of them, a quadratic one a second and more, an exponential one never ends: each pattern is
tried in a process of its own that the kernel stops (``RLIMIT_CPU``).

As a program it reads patterns from stdin and writes one outcome a pattern, so that no test process has to fork.
"""

import itertools
import json
import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from re import _constants as codes  # type: ignore[attr-defined]  # the parser of re has no public name
from re import _parser as parser  # type: ignore[attr-defined]  # as above
from typing import Any

LENGTH = 100_000
"""Characters of a hostile text."""
SECONDS = 0.5
"""Processor time that one text may take; a linear pattern takes less than a hundredth of it."""
STOPPED_AFTER = 2
"""Seconds of processor time after which the kernel stops the process that is at one text."""

_CATEGORIES = {
    codes.CATEGORY_SPACE: " ", codes.CATEGORY_DIGIT: "0", codes.CATEGORY_WORD: "a", codes.CATEGORY_NOT_SPACE: "a",
    codes.CATEGORY_NOT_DIGIT: "a", codes.CATEGORY_NOT_WORD: "-",
}
_REPEATS = (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT)
_NOWHERE = "\x01"


@dataclass(frozen=True)
class Subject:
    """A pattern to try: ``is_bytes`` when it is one of bytes, ``calls`` are the methods that are used of it."""

    pattern: str
    flags: int
    is_bytes: bool
    calls: tuple[str, ...]


def slow(subjects: Sequence[Subject]) -> list[str]:
    """Return a line for each of the ``subjects`` that is not linear: the pattern and the text that shows it."""
    asked = json.dumps([asdict(subject) for subject in subjects])
    done = subprocess.run(
        [sys.executable, "-I", __file__], input=asked, capture_output=True, text=True, check=True, timeout=1800
    )
    outcomes: list[str | None] = json.loads(done.stdout)
    return [f"{subject.pattern!r}: {line}" for subject, line in zip(subjects, outcomes, strict=True) if line]


def texts(pattern: str, flags: int) -> Iterator[str]:
    """Yield the hostile texts for a pattern."""
    tree = parser.parse(pattern, flags)
    beginnings = {"": None, **dict.fromkeys(_beginnings(tree, ""))}
    known = list(dict.fromkeys(_characters(tree)))
    # Of many that one class holds, some stand for all.
    units = [*known[:20], *("".join(pair) for pair in itertools.permutations(known[:7], 2))]
    for beginning, unit, end in itertools.product(beginnings, units, (_NOWHERE, "")):
        yield beginning + unit * (LENGTH // len(unit)) + end


def _beginnings(tree: Any, before: str) -> Iterator[str]:
    """Yield what stands before each repetition in the tree, in the shortest form that fits."""
    for op, argument in tree:
        if op in _REPEATS:
            yield before
            yield from _beginnings(argument[2], before)
        elif op is codes.SUBPATTERN:
            yield from _beginnings(argument[3], before)
        elif op is codes.BRANCH:
            for branch in argument[1]:
                yield from _beginnings(branch, before)
        before += _shortest([(op, argument)])


def _shortest(tree: Any) -> str:
    """Return a short text that fits the tree; what looks around counts as nothing."""
    found = ""
    for op, argument in tree:
        if op in _REPEATS:
            found += _shortest(argument[2]) * min(argument[0], 40)
        elif op is codes.SUBPATTERN:
            found += _shortest(argument[3])
        elif op is codes.BRANCH:
            found += _shortest(argument[1][0])
        elif op in (codes.LITERAL, codes.NOT_LITERAL, codes.ANY, codes.IN):
            found += next(_characters([(op, argument)]))
    return found


def _characters(tree: Any) -> Iterator[str]:
    """Yield the characters that the pattern names, and one for each class."""
    for op, argument in tree:
        if op is codes.LITERAL:
            yield chr(argument)
        elif op is codes.NOT_LITERAL:
            yield "a" if argument != ord("a") else "b"
        elif op is codes.ANY:
            yield "a"
        elif op is codes.IN:
            yield from _members(argument)
        elif op in _REPEATS:
            yield from _characters(argument[2])
        elif op is codes.SUBPATTERN:
            yield from _characters(argument[3])
        elif op is codes.BRANCH:
            for branch in argument[1]:
                yield from _characters(branch)


def _members(items: Any) -> Iterator[str]:
    if items[0][0] is codes.NEGATE:
        named = set(_members(items[1:]))
        yield from (each for each in "a 0/\n" if each not in named)
        return
    for op, argument in items:
        if op is codes.LITERAL:
            yield chr(argument)
        elif op is codes.RANGE:
            yield chr(argument[0])
        elif op is codes.CATEGORY:
            yield _CATEGORIES.get(argument, "a")


def _try(subject: Subject) -> str | None:
    """Return which text takes too long, None when none does. May be stopped by the kernel."""
    raw = subject.pattern.encode("latin-1") if subject.is_bytes else subject.pattern
    compiled = re.compile(raw, subject.flags)
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for text in texts(subject.pattern, subject.flags):
        given = text.encode("latin-1", "replace") if subject.is_bytes else text
        for call in subject.calls:
            before = time.process_time()
            resource.setrlimit(resource.RLIMIT_CPU, (int(before) + STOPPED_AFTER, most))
            getattr(compiled, call)(given)
            took = time.process_time() - before
            if took > SECONDS:
                return f"{call} takes {took:.1f} s for {text[:30]!r}…{text[-3:]!r} of {len(text)} characters"
    return None


def _apart(subject: Subject) -> str | None:
    """Try the pattern in a process of its own."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, (_try(subject) or "").encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        line = answer.read()
    _, status = os.waitpid(child, 0)
    return (line or None) if status == 0 else f"was still at one text after {STOPPED_AFTER} s"


if __name__ == "__main__":
    json.dump([_apart(Subject(**each)) for each in json.load(sys.stdin)], sys.stdout)
