"""Run all tests in shards: a pytest process for each row of the table, as many side by side as there are cores.

usage: shards.py [--quick] [option of pytest …]

Each shard writes into a log of its own. What fails is named at once, the progress now and then; at the end come the
tail of every shard that failed, the slowest tests, what was skipped, the storms and the sum of the results. Ctrl-C and
TERM end all shards. The exit code is 0 only when every shard passed. GLANCE_TEST_SHARDS sets how many run at once.
Needs only the standard library.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

Table = Mapping[str, Sequence[str]]

ALL: Table = {
    "e2e": ["tests/e2e"],
    "integration": ["tests/integration"],
    "conformance": ["tests/conformance"],
    "chaos": ["tests/chaos"],
    "units": ["tests/unit"],
    "rules": ["tests/house", "tests/contract", "tests/model"],
}
"""The longest first, so that the last ones to end are short."""

QUICK: Table = {
    "units": ["tests/unit"],
    "rules": ["tests/house", "tests/contract"],
}
"""The tests that need no server but the embedded PostgreSQL."""

_TAIL = 150
"""Lines of a failed shard that are shown."""

_SLOWEST = 20
"""Tests whose times are shown."""

_REPORT_SECONDS = 60.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
"""What ends a shard: the first lets pytest take down its servers, the next are for one that does not end."""

_COLOR = re.compile(r"\x1b\[[0-9;]*m")
_FAILED = re.compile(r"^tests/.* (?:FAILED|ERROR) +\[ *\d+%\]$")
_PERCENT = re.compile(r"\[ *(\d+)%\]$")
_RESULT = re.compile(r"^=+ (.*\b\d+ (?:passed|failed|errors?|skipped|deselected).*|no tests ran) in [\d.]+s.*=+$")
_DURATION = re.compile(r"^(\d+\.\d+)s (?:call|setup|teardown) +tests/")
_COUNT = re.compile(r"(\d+) (passed|failed|errors?|skipped|xfailed)")


@dataclass
class Shard:
    """One pytest process and what its log says so far."""

    log: Path
    process: subprocess.Popen[bytes]
    seed: str = ""
    """The line of pytest-randomly that tells the order of the tests."""
    percent: int = 0
    result: str = ""
    skipped: list[str] = field(default_factory=list)
    durations: list[tuple[float, str]] = field(default_factory=list)
    """Seconds, and the line of pytest about them."""
    storms: list[str] = field(default_factory=list)
    """What chaos tests say of their storms: the seeds that repeat them, and what came of it."""
    _read: int = 0

    @property
    def name(self) -> str:
        """The name in the table."""
        return self.log.stem

    def news(self) -> list[str]:
        """Read what the log has gained; return the lines about tests that failed."""
        with self.log.open("rb") as file:
            file.seek(self._read)
            gained = file.read()
        complete = gained.rfind(b"\n") + 1
        self._read += complete
        failed = []
        for line in _COLOR.sub("", gained[:complete].decode(errors="replace")).splitlines():
            if match := _PERCENT.search(line):
                self.percent = int(match[1])
                if _FAILED.match(line):
                    failed.append(line)
            elif match := _RESULT.match(line):
                self.result = match[1]
            elif line.startswith("Using --randomly-seed="):
                self.seed = line
            elif line.startswith("storm: "):
                self.storms.append(line)
            elif line.startswith("SKIPPED ["):
                self.skipped.append(line)
            elif match := _DURATION.match(line):
                self.durations.append((float(match[1]), line))
        return failed

    @property
    def verdict(self) -> str:
        """Why the shard failed, or an empty text."""
        code = self.process.returncode
        if code < 0:
            return f"killed by signal {-code}"
        if code:
            return f"exit code {code}"
        return "" if self.result else "no result"


def main(arguments: Sequence[str]) -> int:
    """Run all shards, or with ``--quick`` those of the quick table; return the exit code."""
    table = QUICK if "--quick" in arguments else ALL
    more = [argument for argument in arguments if argument != "--quick"]
    return run(table, [sys.executable, "-m", "pytest", "-v", f"--durations={_SLOWEST}", *more])


def run(table: Table, command: Sequence[str], at_once: int | None = None) -> int:
    """Run the command once for each row of the table, with the row's paths; return the exit code."""
    interrupts: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda given, _frame: interrupts.append(given))
    begin = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="glance-tests-"))
    waiting: list[tuple[Path, Sequence[str]]] = [
        (folder / f"{name}.log", [*command, *paths]) for name, paths in table.items()
    ]
    shards: list[Shard] = []
    try:
        _run_all(waiting, shards, at_once or _at_once(), interrupts)
    finally:
        _end(shards)
    if not interrupts:
        _show_failed(shards)
    code = _report(shards, begin)
    if code or interrupts:
        _say(f"the whole logs: {' '.join(str(shard.log) for shard in shards)}")
    else:
        shutil.rmtree(folder)
    return 128 + interrupts[0] if interrupts else code


def _at_once() -> int:
    return int(os.environ.get("GLANCE_TEST_SHARDS") or max(2, len(os.sched_getaffinity(0))))


def _run_all(
    waiting: list[tuple[Path, Sequence[str]]], shards: list[Shard], at_once: int, interrupts: Sequence[int]
) -> None:
    """Start what waits, ``at_once`` side by side, add it to ``shards``, and return when all have ended.

    After an interrupt nothing more is started; each one sends the next stronger signal.
    """
    begin = reported = time.monotonic()
    sent = 0
    running: list[Shard] = []
    while running or (waiting and not interrupts):
        while sent < len(interrupts):
            for shard in running:
                _signal(shard, _SIGNALS[min(sent, len(_SIGNALS) - 1)])
            sent += 1
        while waiting and not interrupts and len(running) < at_once:
            running.append(_start(*waiting.pop(0)))
            shards.append(running[-1])
        ended = [shard for shard in running if shard.process.poll() is not None]
        for shard in running:
            for line in shard.news():
                _say(f"{shard.name}: {line}")
        for shard in ended:
            running.remove(shard)
            _say(f"shard {shard.name} ended at {_minutes(begin)}: {shard.verdict or 'passed'}")
        if time.monotonic() - reported > _REPORT_SECONDS:
            reported = time.monotonic()
            _say(f"{_minutes(begin)}: " + ", ".join(f"{shard.name} {shard.percent} %" for shard in running))
        time.sleep(0.1)


def _start(log: Path, command: Sequence[str]) -> Shard:
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            # A group of its own: pytest gets one Ctrl-C from here and not a second one from the terminal.
            process_group=0,
        )  # fmt: skip
    _say(f"shard {log.stem} started")
    return Shard(log, process)


def _signal(shard: Shard, number: int) -> None:
    """Signal a shard that is not reaped yet, so that its number still belongs to it."""
    if shard.process.returncode is None:
        os.killpg(shard.process.pid, number)


def _end(shards: Iterable[Shard]) -> None:
    """Kill what still runs, after an error of our own."""
    for shard in shards:
        _signal(shard, signal.SIGKILL)
        shard.process.wait()


def _report(shards: Sequence[Shard], begin: float) -> int:
    """Show the slowest tests, what was skipped, the storms, and the sum; return the exit code."""
    slowest = sorted((one for shard in shards for one in shard.durations), reverse=True)[:_SLOWEST]
    for line in (*(line for _, line in slowest), *sorted(line for shard in shards for line in shard.skipped)):
        _say(line)
    for line in (line for shard in shards for line in shard.storms):
        _say(line)
    total: Counter[str] = Counter()
    for shard in shards:
        _say(f"{shard.name}: {shard.result or 'no result'}{f' ({shard.verdict})' if shard.verdict else ''}")
        for count, word in _COUNT.findall(shard.result):
            total["error" if word == "errors" else word] += int(count)
    results = ", ".join(f"{total[word]} {word}" for word in sorted(total)) or "no tests ran"
    _say(f"{results} in {time.monotonic() - begin:.2f}s")
    return int(any(shard.verdict for shard in shards))


def _show_failed(shards: Iterable[Shard]) -> None:
    """Show the ends of the logs of the shards that failed."""
    for shard in shards:
        if shard.verdict:
            _say(f"\n== shard {shard.name} FAILED ({shard.verdict}) {shard.seed}\nThe end of its log:")
            _say("\n".join(shard.log.read_text(errors="replace").splitlines()[-_TAIL:]) + "\n")


def _minutes(begin: float) -> str:
    seconds = int(time.monotonic() - begin)
    return f"{seconds // 60}:{seconds % 60:02} min"


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
