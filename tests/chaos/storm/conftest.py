"""The report of storms, also of those that passed: seeds, rounds, violations, and the table of failpoints."""

from __future__ import annotations

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what the storms wrote down."""
    shown = [each for found in terminalreporter.stats.values() for each in found]
    reports = [each for each in shown if isinstance(each, pytest.TestReport) and each.when == "call"]
    written = [each for report in reports for each in report.user_properties]
    for key in ("table", "storm"):
        for text in (value for name, value in written if name == key):
            terminalreporter.write_line(str(text))
