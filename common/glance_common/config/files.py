"""Which configuration files a program reads, in which order, and each of them once.

oslo.config reads what ``--config-file`` and ``--config-dir`` name as often as they name it. With ``--config-dir
/etc/glance --config-file /etc/glance/glance-api.conf`` each option that may be repeated would have its values twice.
Here a file counts at the last place that names it, so the values that win are the same.
"""

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from oslo_config import cfg

_FILE, _DIRECTORY = "--config-file", "--config-dir"
_SHORTEST = len("--config-f")
"""From this length on the parser of the command line understands the beginning of a name."""


@dataclass
class Chosen:
    """What the command line says about files, and the arguments that are left for its parser."""

    rest: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    """What is read; the file that wins comes last."""
    directories: list[str] = field(default_factory=list)
    """The named directories, in which policies and the like are looked for as well."""


class SiteConfig(cfg.ConfigOpts):
    """The configuration of a program that reads the files of ``Chosen``."""

    directories: Sequence[str] = ()
    """Where ``find_file`` looks first, as oslo.config does with the directories of the command line."""

    def find_file(self, name: str) -> str | None:
        """Return the path of a file beside the configuration; None if there is none."""
        paths = (os.path.abspath(os.path.join(directory, name)) for directory in self.directories)
        return next(filter(os.path.exists, paths), None) or super().find_file(name)


def chosen(argv: Sequence[str], files: Sequence[str], directories: Iterable[str]) -> Chosen:
    """Return what the command line names; ``files`` and ``directories`` are read where it names none of their kind.

    Raises ConfigDirNotFoundError for a directory that is named and does not exist.
    """
    found, named = Chosen(), list[tuple[str, str]]()
    arguments = iter(argv)
    for argument in arguments:
        name, has_value, value = argument.partition("=")
        option = _option(name)
        if option is None:
            found.rest.append(argument)
            continue
        given = value if has_value else next(arguments, None)
        if given is None:
            found.rest.append(argument)  # the parser says what is missing
        else:
            named.append((option, given))
    options = {option for option, _ in named}
    read = [] if _FILE in options else list(files)
    if _DIRECTORY not in options:
        read += [path for directory in directories for path in _files_of(directory)]
    for option, given in named:
        if option == _DIRECTORY:
            found.directories.append(_existing(given))
            read += _files_of(found.directories[-1])
        else:
            read.append(given)
    found.files = _each_once(read)
    return found


def read_files(conf: cfg.ConfigOpts) -> Iterator[tuple[str, dict[str, dict[str, list[str]]]]]:
    """Yield each configuration file in use with its sections, the file that wins first."""
    for path in reversed(conf.config_file):
        sections: dict[str, dict[str, list[str]]] = {}
        cfg.ConfigParser(path, sections).parse()
        yield path, sections


def _option(name: str) -> str | None:
    is_known = len(name) >= _SHORTEST
    return next((option for option in (_FILE, _DIRECTORY) if is_known and option.startswith(name)), None)


def _existing(directory: str) -> str:
    path = os.path.expanduser(directory)
    if not os.path.exists(path):
        raise cfg.ConfigDirNotFoundError(path)
    return path


def _files_of(directory: str) -> list[str]:
    return sorted(glob.glob(os.path.join(glob.escape(directory), "*.conf")))


def _each_once(paths: Sequence[str]) -> list[str]:
    """Return each file at its last place, whatever links and relative paths call it."""
    last = {os.path.realpath(os.path.expanduser(path)): number for number, path in enumerate(paths)}
    return [paths[number] for number in sorted(last.values())]
