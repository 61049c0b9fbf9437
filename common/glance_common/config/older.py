"""Options that once stood in ``[DEFAULT]`` and now stand in a group of their own.

oslo.config mixes both places: it looks file by file, and adds up what may be repeated. A line that was forgotten in
``[DEFAULT]`` would then change what the group says. So the older place counts only while no file has a line in the
group; otherwise none of its names has an effect.
"""

from collections.abc import Iterable, Sequence
from copy import copy

from oslo_config import cfg

from glance_common.config.files import read_files

_Table = Sequence[tuple[str, Sequence[cfg.Opt]]]


class OlderPlace(cfg.DeprecatedOpt):
    """The name of an option in ``[DEFAULT]`` that counts while no file has a line in the group of the option."""

    def __init__(self, name: str) -> None:
        super().__init__(name, group="DEFAULT")


def in_effect(conf: cfg.ConfigOpts, table: _Table) -> _Table:
    """Return the table without the older places that do not count for the files in use."""
    written = _written(conf)
    return [(group, [_without(opt) for opt in opts] if group in written else opts) for group, opts in table]


def superseded(conf: cfg.ConfigOpts, table: _Table) -> dict[str, str]:
    """Return name in ``[DEFAULT]`` → group whose lines are used in its place, for older places that do not count."""
    written = _written(conf)
    return {
        str(old.name): group
        for group, opts in table if group in written
        for opt in opts
        for old in _older(opt.deprecated_opts)
    }


def _written(conf: cfg.ConfigOpts) -> set[str]:
    """Return the groups of which a file in use has a line; as for oslo.config, the case of letters does not count."""
    return {group.lower() for _, sections in read_files(conf) for group, entries in sections.items() if entries}


def _without(opt: cfg.Opt) -> cfg.Opt:
    older = _older(opt.deprecated_opts)
    if not older:
        return opt
    found = copy(opt)
    found.deprecated_opts = [old for old in opt.deprecated_opts if old not in older]
    return found


def _older(names: Iterable[cfg.DeprecatedOpt]) -> list[OlderPlace]:
    return [name for name in names if isinstance(name, OlderPlace)]
