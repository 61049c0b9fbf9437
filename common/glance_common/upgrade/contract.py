"""What a package contributes to ``glance-status upgrade check``, through the entry points of ``GROUP``."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from oslo_config import cfg

from glance_common.config.loading import OptionTable

GROUP = "glance_services.upgrade_checks"


class Severity(IntEnum):
    """How bad it is; the worst one is the exit code of the tool (tools section 6)."""

    SUCCESS = 0
    WARNING = 1
    FAILURE = 2


@dataclass(frozen=True, slots=True)
class UpgradeOutcome:
    """What a check came to; ``details`` say what is wrong and what to do."""

    severity: Severity
    details: str = ""


FINE = UpgradeOutcome(Severity.SUCCESS)


@dataclass(frozen=True, slots=True)
class UpgradeCheck:
    """One check. ``run`` may raise ConfigError and GlanceError, which are failures."""

    name: str
    run: Callable[[cfg.ConfigOpts], UpgradeOutcome]


@dataclass(frozen=True, slots=True)
class UpgradeChecks:
    """The checks of one package, and the options that they need: of files, and of the command line as well."""

    checks: Sequence[UpgradeCheck]
    options: Callable[[], OptionTable] = tuple
    command_line: Sequence[cfg.Opt] = field(default=())


def warning(details: str) -> UpgradeOutcome:
    """Return the outcome of what an operator should look at."""
    return UpgradeOutcome(Severity.WARNING, details)


def failure(details: str) -> UpgradeOutcome:
    """Return the outcome of what must be mended first."""
    return UpgradeOutcome(Severity.FAILURE, details)
