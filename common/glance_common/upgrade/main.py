"""The console script glance-status: whether an installation is ready for an upgrade (tools section 6)."""

import json
import logging
import sys
import textwrap
from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import Any

from oslo_config import cfg

from glance_common.config import findings, loading
from glance_common.config.loading import ConfigError
from glance_common.model.errors import GlanceError
from glance_common.observability import log
from glance_common.upgrade.checks import every_option
from glance_common.upgrade.contract import GROUP, Severity, UpgradeCheck, UpgradeChecks, UpgradeOutcome, failure

LOG = logging.getLogger(__name__)
PROG = "glance-status"
READS_ALSO = ("glance-image-import", "glance-api", "glance-registry", "glance-scrubber")
"""Their files are read, in this order, so that nothing need be written down again."""
UNEXPECTED = 255
_WRONG_USAGE = 2
"""Exit code of argparse, which would say here that a check failed."""
WIDTH = 76

_WORDS = {Severity.SUCCESS: "Success", Severity.WARNING: "Warning", Severity.FAILURE: "Failure"}


def main(argv: Sequence[str] | None = None) -> int:
    """Check; return 0 when all is well, 1 for warnings, 2 for failures, 255 when that cannot be found out."""
    try:
        contributed = [point.load() for point in sorted(entry_points(group=GROUP), key=lambda point: point.name)]
        conf = load(sys.argv[1:] if argv is None else argv, contributed)
        # What libraries and stores say while they are asked is in the outcome; the log is for --debug.
        log.setup(conf, PROG, terminal=conf.check_config)
        if not (conf.debug or conf.check_config):
            logging.getLogger().setLevel(logging.CRITICAL)
        if conf.check_config:
            return _check_files(conf, _options(contributed))
        outcomes = [(check.name, _outcome(check, conf)) for each in contributed for check in each.checks]
    except SystemExit as end:
        return UNEXPECTED if end.code == _WRONG_USAGE else int(end.code or 0)
    except (ConfigError, GlanceError) as error:
        print(f"ERROR: {error}", file=sys.stderr)  # noqa: T201 - the tool's answer to its caller
        return UNEXPECTED
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        # A check that breaks must not look like one that failed.
        LOG.debug("a check broke", exc_info=True)
        print(f"ERROR: {type(error).__name__}: {_one_line(str(error))}", file=sys.stderr)  # noqa: T201 - as above
        return UNEXPECTED
    worst = max((outcome.severity for _, outcome in outcomes), default=Severity.SUCCESS)
    print(_as_json(outcomes, worst) if conf.command.json else table(outcomes))  # noqa: T201 - as above
    return int(worst)


def load(argv: Sequence[str], contributed: Sequence[UpgradeChecks]) -> cfg.ConfigOpts:
    """Read the files of all daemons. Raises ConfigError."""
    command_line = [opt for each in contributed for opt in each.command_line]
    cli = [cfg.SubCommandOpt("command", handler=_add_commands, title="Commands"), *command_line]
    return loading.load(PROG, argv, _options(contributed), cli, others=READS_ALSO)


def _options(contributed: Sequence[UpgradeChecks]) -> loading.OptionTable:
    return [
        *(entry for each in contributed for entry in each.options()),
        *(("DEFAULT", each.command_line) for each in contributed),
    ]


def _check_files(conf: cfg.ConfigOpts, table: loading.OptionTable) -> int:
    """Log what is to be said of the files, print their values when asked to; return 1 when something is wrong."""
    found = findings.findings(conf, every_option(conf))
    for finding in found:
        LOG.warning("%s", finding.text)
    if conf.explain:
        print("\n".join(findings.explained(conf, table)))  # noqa: T201 - the tool's answer to its caller
    return int(any(finding.is_wrong for finding in found))


def _add_commands(parsers: Any) -> None:
    text = "what stands between this installation and an upgrade"
    commands = parsers.add_parser("upgrade", help=text, description=text).add_subparsers(required=True)
    text = "check it; exit code 0: all is well, 1: warnings, 2: failures, 255: it cannot be found out"
    check = commands.add_parser("check", help=text, description=text)
    check.add_argument("--json", action="store_true", help="print a JSON document instead of a table")


def _outcome(check: UpgradeCheck, conf: cfg.ConfigOpts) -> UpgradeOutcome:
    try:
        found = check.run(conf)
    except (ConfigError, GlanceError) as error:
        found = failure(str(error))
    return UpgradeOutcome(found.severity, _one_line(found.details))


def table(outcomes: Sequence[tuple[str, UpgradeOutcome]]) -> str:
    """Return the checks in frames, as the tools of other OpenStack services show theirs."""
    edge = f"+{'-' * (WIDTH + 2)}+"
    lines = [edge, _row("Upgrade Check Results")]
    for name, outcome in outcomes:
        lines += [edge, _row(f"Check: {name}"), _row(f"Result: {_WORDS[outcome.severity]}")]
        lines += [_row(line) for line in textwrap.wrap(f"Details: {outcome.details or 'None'}", WIDTH)]
    return "\n".join([*lines, edge])


def _row(text: str) -> str:
    return f"| {text:<{WIDTH}} |"


def _as_json(outcomes: Sequence[tuple[str, UpgradeOutcome]], worst: Severity) -> str:
    checks = [
        {"check": name, "result": outcome.severity.name.lower(), "details": outcome.details}
        for name, outcome in outcomes
    ]
    return json.dumps({"result": worst.name.lower(), "checks": checks}, indent=2, ensure_ascii=False)


def _one_line(text: str) -> str:
    return " ".join(text.split())
