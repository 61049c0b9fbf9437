"""The policy files: which ones count, and that a broken one never opens a door (S-52).

A deny rule in a file that is silently ignored is a hole. So two candidates, a named file that is missing, a rule that
cannot be understood and a reference to a rule that does not exist are errors and no warnings.
"""

import logging
from collections.abc import Iterator
from pathlib import Path

from oslo_config import cfg
from oslo_policy import _checks, policy

from glance_common.config.loading import ConfigError

LOG = logging.getLogger(__name__)

FileRules = dict[str, str]
Fingerprint = tuple[tuple[str, int, int, int], ...]
_YAML, _JSON, _DIRECTORY = "policy.yaml", "policy.json", "policy.d"


class PolicyFiles:
    """The policy file and the files of the policy directories, as ``[oslo_policy]`` names them."""

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self._conf = conf
        self._warned = False

    def paths(self) -> list[str]:
        """Return the files in the order in which they apply, later ones overriding. Raises ConfigError."""
        main = self._main()
        return [*([main] if main else []), *self._in_directories()]

    def fingerprint(self) -> Fingerprint:
        """Return what differs whenever a file was changed, added or removed. Raises ConfigError."""
        return tuple(_mark(path) for path in self.paths())

    def read(self) -> FileRules:
        """Return the rules of all files. Raises ConfigError for anything that cannot be read or understood."""
        rules: FileRules = {}
        for path in self.paths():
            rules.update(_read(path))
        return rules

    def _main(self) -> str | None:
        named = self._conf.oslo_policy.policy_file
        if self._is_named("policy_file"):
            path = self._conf.find_file(named)
            if path is None:
                raise ConfigError("oslo_policy", "policy_file", named, "there is no such file")
            return str(path)
        as_yaml, as_json = self._conf.find_file(_YAML), self._conf.find_file(_JSON)
        if as_yaml and as_json:
            both = f"{as_yaml}, {as_json}"
            raise ConfigError("oslo_policy", "policy_file", both, "only one of the two may exist: name it, or move one")
        if as_json and not self._warned:
            LOG.warning("%s: the JSON form of the policy file is out of date; rename it to %s", as_json, _YAML)
            self._warned = True
        return as_yaml or as_json

    def _in_directories(self) -> Iterator[str]:
        for name in self._conf.oslo_policy.policy_dirs:
            directory = self._conf.find_file(name)
            if directory is None:
                # Files of the original often repeat its default, and that directory need not exist.
                if name != _DIRECTORY and self._is_named("policy_dirs"):
                    raise ConfigError("oslo_policy", "policy_dirs", name, "there is no such directory")
                continue
            if not Path(directory).is_dir():
                raise ConfigError("oslo_policy", "policy_dirs", name, "is not a directory")
            yield from sorted(str(path) for path in Path(directory).iterdir() if not path.name.startswith("."))

    def _is_named(self, option: str) -> bool:
        found = self._conf.get_location(option, "oslo_policy")
        return found is not None and found.location not in (cfg.Locations.opt_default, cfg.Locations.set_default)


def _mark(path: str) -> tuple[str, int, int, int]:
    try:
        found = Path(path).stat()
    except OSError:
        return path, -1, -1, -1
    return path, found.st_ino, found.st_mtime_ns, found.st_size


def _read(path: str) -> FileRules:
    def refuse(reason: str) -> ConfigError:
        return ConfigError("oslo_policy", "policy_file", path, reason)

    try:
        document = policy.parse_file_contents(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise refuse(f"cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise refuse(f"is not YAML: {error}") from None
    if not isinstance(document, dict):
        raise refuse("must be a mapping of rule names to rules")
    for name, rule in document.items():
        if not isinstance(name, str) or not isinstance(rule, str | list):
            raise refuse(f"rule {name!r} must be text")
        if not _is_understood(rule):
            raise refuse(f"rule {name!r} cannot be understood: {rule!r}")
    return document


def _is_understood(rule: str | list[object]) -> bool:
    """Tell whether every part of the rule was parsed.

    The library turns a part that it cannot parse into "deny", which a "not" before it turns into "allow".
    """
    text = rule if isinstance(rule, str) else " ".join(_words(rule))
    meant = sum(word.strip("()") == "!" for word in text.split())
    parsed = policy.RuleDefault("rule", rule).check  # type: ignore[arg-type]  # lists are the old form of a rule
    return sum(isinstance(node, _checks.FalseCheck) for node in nodes(parsed)) == meant


def _words(rule: list[object]) -> Iterator[str]:
    for part in rule:
        if isinstance(part, list):
            yield from _words(part)
        else:
            yield str(part)


def nodes(check: _checks.BaseCheck) -> Iterator[_checks.BaseCheck]:
    """Yield the check and every check within it; rules that it only names are not followed."""
    yield check
    for child in [*getattr(check, "rules", ()), *filter(None, [getattr(check, "rule", None)])]:
        yield from nodes(child)
