"""Which drivers get which notifications: the file of the driver ``routing``, in oslo.messaging's form.

    group:                                    # any name
      messagingv2:                            # a driver
        accepted_events: ["image.*"]          # patterns as of a shell; without the key every event
        accepted_priorities: ["error"]        # likewise
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

from glance_common.config.loading import ConfigError
from glance_common.notifications.wire import Priority

GROUP = "oslo_messaging_notifications"
DRIVERS = ("messagingv2", "messaging", "log", "noop", "test")
"""Drivers that send, or do not; ``routing`` chooses among them."""

_KEYS = ("accepted_events", "accepted_priorities")


@dataclass(frozen=True, slots=True)
class NotificationRoute:
    """A driver with what it accepts: patterns of event types and of priorities in small letters; None accepts all."""

    driver: str
    events: tuple[str, ...] | None
    priorities: tuple[str, ...] | None

    def accepts(self, event_type: str, priority: Priority) -> bool:
        """Say whether the driver gets a notification."""
        return _fits(event_type, self.events) and _fits(priority.lower(), self.priorities)


def read_routes(path: str) -> tuple[NotificationRoute, ...]:
    """Return the routes in the file ``[oslo_messaging_notifications] routing_config``.

    Raises ConfigError, with the line where the file is not YAML, otherwise with the group and the rule.
    """
    if not path:
        raise ConfigError(GROUP, "routing_config", "", "the driver routing needs a file with its rules")
    try:
        document = yaml.safe_load(Path(path).read_text())
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(GROUP, "routing_config", path, f"cannot be read: {said}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        raise ConfigError(GROUP, "routing_config", path, f"is not YAML{where}") from None
    groups = _mapping(path, "the file", document or {})
    return tuple(
        _route(path, f"{group}: {driver}", driver, rules)
        for group, drivers in groups.items()
        for driver, rules in _mapping(path, group, drivers or {}).items()
    )


def _route(path: str, where: str, driver: str, rules: Any) -> NotificationRoute:
    if driver not in DRIVERS:
        raise _error(path, f"{where} is no driver; there are {', '.join(DRIVERS)}")
    known = _mapping(path, where, rules or {})
    unknown = [key for key in known if key not in _KEYS]
    if unknown:
        raise _error(path, f"{where}: {unknown[0]} is no rule; there are {' and '.join(_KEYS)}")
    events, priorities = (_patterns(path, where, known, key) for key in _KEYS)
    return NotificationRoute(driver, events, None if priorities is None else tuple(each.lower() for each in priorities))


def _patterns(path: str, where: str, rules: Mapping[str, Any], key: str) -> tuple[str, ...] | None:
    if key not in rules:
        return None
    patterns = rules[key]
    if not isinstance(patterns, list) or not all(isinstance(each, str) for each in patterns):
        raise _error(path, f"{where}: {key} must be a list of patterns")
    return tuple(patterns)


def _mapping(path: str, where: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _error(path, f"{where} must be a mapping")
    return {str(key): each for key, each in value.items()}


def _error(path: str, text: str) -> ConfigError:
    return ConfigError(GROUP, "routing_config", path, text)


def _fits(text: str, patterns: Sequence[str] | None) -> bool:
    return patterns is None or any(fnmatchcase(text, pattern) for pattern in patterns)
