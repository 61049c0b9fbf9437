"""What an operator should know about the configuration files: names that mean nothing, and where values come from."""

import logging
import re
import sys
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import entry_points

from oslo_config import cfg

from glance_common.config import older
from glance_common.config.files import read_files
from glance_common.config.loading import OptionTable, as_written
from glance_common.config.no_effect import reason_of, section_reason
from glance_common.config.paste_findings import paste_findings

LOG = logging.getLogger(__name__)

FOREIGN_GROUPS = frozenset({"keystone_authtoken", "oslo_limit", "oslo_policy", "service_user"})
"""Groups whose options belong to libraries: their names are not checked here."""

_LIKE = 0.8
"""How alike a name must be to be offered in the place of an unknown one; less would send readers to another option."""

_SECRET = re.compile("password|passwd|secret|token|key")
"""What the name of an option says that holds a secret; a URL with one has an @."""

_PROGRAMS = ("glance_api", "glance_registry", "glance_scrubber", "glance_manage")


@dataclass(frozen=True, slots=True)
class ConfigFinding:
    """A name in a configuration file that does nothing: on purpose, or because it is wrong."""

    text: str
    is_wrong: bool


def findings(conf: cfg.ConfigOpts, table: OptionTable) -> list[ConfigFinding]:
    """Return what is to be said about the paste file, and about names in the files that no option of ``table`` has.

    The last file comes first. Raises ConfigError for a paste file that cannot be read.
    """
    return [
        *(ConfigFinding(text, is_wrong) for text, is_wrong in paste_findings(conf)),
        *_of_names(conf, table),
    ]


def _of_names(conf: cfg.ConfigOpts, table: OptionTable) -> list[ConfigFinding]:
    known = _names(older.in_effect(conf, table))
    return [
        _finding(path, group, name, known, _reason(conf, table, group, name))
        for path, sections in read_files(conf)
        for group, entries in sections.items()
        if group not in FOREIGN_GROUPS
        for name in entries
        if name not in known.get(group, ())
    ]


def report(conf: cfg.ConfigOpts, table: OptionTable, *, explains: bool = True) -> bool:
    """Log each finding; return whether nothing is wrong. Raises ConfigError as ``findings``.

    With ``explains`` and ``--explain`` print each option too; a program whose options of stores are registered later
    calls ``explain`` then.
    """
    found = findings(conf, table)
    for finding in found:
        LOG.warning("%s", finding.text)
    if explains and conf.check_config:
        explain(conf, table)
    return not any(finding.is_wrong for finding in found)


def explain(conf: cfg.ConfigOpts, table: OptionTable) -> None:
    """Print each option with ``--explain``. The groups of ``table`` are registered, those of stores too."""
    if conf.explain:
        sys.stdout.writelines(f"{line}\n" for line in explained(conf, table))


def _names(table: OptionTable) -> dict[str, set[str]]:
    known: dict[str, set[str]] = {}
    for group, options in table:
        known.setdefault(group, set())
        for opt in options:
            known[group] |= {opt.name, opt.dest}
            for old in opt.deprecated_opts:
                # oslo.config accepts a name that has no group of its own in the option's group.
                known.setdefault(old.group or group, set()).add(str(old.name or opt.name).replace("-", "_"))
    return known


def _reason(conf: cfg.ConfigOpts, table: OptionTable, group: str, name: str) -> str | None:
    """Return why a name that means nothing to the program is no mistake, None when it is one."""
    reason = reason_of(group, name)
    if reason is not None:
        return reason
    others = _others()
    tables = [*table, *(entry for options in others.values() for entry in options)]
    used = older.superseded(conf, tables).get(name) if group == "DEFAULT" else None
    if used is not None:
        return f"[{used}] is used"
    owners = sorted(program for program, options in others.items() if name in _names(options).get(group, ()))
    if owners:
        return f"{' and '.join(owners)} read it" if len(owners) > 1 else f"{owners[0]} reads it"
    return None if any(group == each for each, _ in table) else section_reason(group)


def _finding(path: str, group: str, name: str, known: dict[str, set[str]], reason: str | None) -> ConfigFinding:
    if reason is not None:
        return ConfigFinding(f"{path}: [{group}] {name} has no effect: {reason}", is_wrong=False)
    if group not in known:
        text = f"[{group}] is not a known group{_offer(group, known, '[{}]')}"
    else:
        text = f"[{group}] {name} is not a known option{_offer(name, known[group], '{}')}"
    return ConfigFinding(f"{path}: {text}", is_wrong=True)


def _others() -> dict[str, OptionTable]:
    """Return each program of the service with its options."""
    return {
        point.name.replace("_", "-"): point.load()()
        for point in entry_points(group="oslo.config.opts") if point.name in _PROGRAMS
    }


def _offer(name: str, known: dict[str, set[str]] | set[str], form: str) -> str:
    near = get_close_matches(name, known, n=1, cutoff=_LIKE)
    return f"; did you mean {form.format(near[0])}?" if near else ""


def explained(conf: cfg.ConfigOpts, table: OptionTable) -> list[str]:
    """Return a line for each option with its value and where that comes from. Secrets are not shown."""
    lines = []
    for group, options in sorted(older.in_effect(conf, table), key=lambda each: each[0]):
        for opt in sorted(options, key=lambda each: each.dest):
            if group != "DEFAULT" and group not in conf:
                # A store that the program does not load.
                continue
            holder = conf if group == "DEFAULT" else conf[group]
            if opt.dest not in holder:
                # A name that a file may have and the program moves to another place.
                continue
            value = "***" if opt.secret and holder[opt.dest] else holder[opt.dest]
            lines.append(f"[{group}] {opt.dest} = {value}  ({_origin(conf, group, opt)})")
    return list(dict.fromkeys(lines)) + _foreign(conf, _names(table))


def _foreign(conf: cfg.ConfigOpts, known: dict[str, set[str]]) -> list[str]:
    """Return lines for what the files hold for libraries, whose options are not known here."""
    return [
        f"[{group}] {name} = {'***' if _SECRET.search(name) or '@' in values[-1] else values[-1]}  ({path})"
        for path, sections in read_files(conf)
        for group, entries in sections.items()
        if group in FOREIGN_GROUPS
        for name, values in entries.items()
        if name not in known.get(group, ())
    ]


def _origin(conf: cfg.ConfigOpts, group: str, opt: cfg.Opt) -> str:
    found = conf.get_location(opt.dest, None if group == "DEFAULT" else group)
    if found is None or not found.location.is_user_controlled:
        return "default"
    if found.location is cfg.Locations.command_line:
        return "command line"
    if found.location is not cfg.Locations.user:
        return str(found.detail)
    # oslo.config names the last file that has the group, even if another one has the option.
    *_, path = as_written(conf, group, opt)
    return path or found.detail
