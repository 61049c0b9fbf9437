"""Property protections: which additional properties a caller may create, read, update and delete (configuration
section 8, S-47).

Only services ask here. Without ``property_protection_file`` there are no protections and nothing is looked at.

The operator writes the names of sections as regular expressions, which may backtrack. A caller cannot exploit that: a
name of more than ``MAX_NAME`` characters is no property name and is not matched.
"""

import re
from collections.abc import Callable, Collection, Mapping
from configparser import Error as IniError
from configparser import RawConfigParser
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from oslo_config import cfg

from glance_api.policy.enforcer import Enforcer
from glance_common.config.loading import ConfigError
from glance_common.model.context import RequestContext
from glance_common.model.errors import Forbidden
from glance_common.model.image import Image
from glance_common.model.property_names import MAX_NAME, OWN

Operation = Literal["create", "read", "update", "delete"]
OPERATIONS: tuple[Operation, ...] = ("create", "read", "update", "delete")
ROLES, POLICIES = "roles", "policies"
"""The two formats: a value is a list of roles, or the name of one policy rule."""

EVERYONE, NOBODY = "@", "!"

_OWN = re.compile(rf"\A(?:{'|'.join(map(re.escape, sorted(OWN)))})\Z")

Check = Callable[[RequestContext], bool]
Properties = Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Section:
    """One section of the file: the names that it is about, and who may do what with these properties."""

    names: re.Pattern[str]
    checks: Mapping[Operation, Check]

    def is_about(self, header: str) -> bool:
        """Say whether a name fits that a header may stand for: one of any case, and with ``-`` for ``_``."""
        spelled = re.compile(self.names.pattern, re.IGNORECASE)
        return any(spelled.search(name) for name in (header, header.replace("_", "-")))


class PropertyProtections:
    """The rules of the file; shared by all threads of a process."""

    def __init__(self, sections: Collection[Section]) -> None:
        self._sections = tuple(sections)
        # Names come from clients, so what is remembered of them has a bound.
        self._section = lru_cache(maxsize=10_000)(self._find)
        self._meant = lru_cache(maxsize=10_000)(self._find_spelled)

    def _find(self, name: str) -> Section | None:
        if len(name) > MAX_NAME:
            return None
        return next((section for section in self._sections if section.names.search(name)), None)

    def _find_spelled(self, header: str) -> Section | None:
        if len(header) > MAX_NAME:
            return None
        return next((section for section in self._sections if section.is_about(header)), None)

    def allows(self, context: RequestContext, operation: Operation, name: str) -> bool:
        """Say whether the caller may do this; the first section that fits decides; without one no caller may."""
        section = self._section(name)
        return section is not None and section.checks[operation](context)

    def check_spelling(self, context: RequestContext, header: str) -> None:
        """Raise Forbidden unless the caller may write what a header of v1 may stand for (S-47).

        That is decided by the first section that fits any spelling of the name.
        """
        meant = self._meant(header)
        if meant is not None and meant is not self._section(header):
            for operation in ("create", "update"):
                if not meant.checks[operation](context):
                    raise Forbidden(f"Property {header} is protected in another spelling: you may not write it.")

    def readable(self, context: RequestContext, image: Image) -> Image:
        """Return the image without the properties that the caller may not read: these do not exist for it."""
        kept = {name: value for name, value in image.properties.items() if self.allows(context, "read", name)}
        if len(kept) == len(image.properties):
            return image
        unseen = [(name, value) for name, value in image.properties.items() if name not in kept]
        return image._replace(properties=kept, unseen=(*image.unseen, *unseen))

    def check_new(self, context: RequestContext, properties: Properties) -> None:
        """Raise Forbidden unless the caller may create all of ``properties``."""
        for name in properties:
            self._check(context, "create", name)

    def checked(
        self, context: RequestContext, stored: Properties, wanted: Properties, named: Collection[str]
    ) -> dict[str, str | None]:
        """Return what becomes of ``stored`` when the caller, who sees only a part of it, wants that part as ``wanted``.

        ``named`` are properties that the request sets or removes; they count also when nothing about them differs.
        Raises Forbidden unless the caller may create, update and delete what that needs.
        """
        seen = {name: value for name, value in stored.items() if self.allows(context, "read", name)}
        touched = {name for name in seen.keys() | wanted.keys() if seen.get(name, ...) != wanted.get(name, ...)}
        for name in sorted(touched | set(named)):
            if name not in seen:
                self._check(context, "create", name)
            if name in stored and name in wanted:
                # That includes a property that the caller does not see: the right to create is no right to overwrite.
                self._check(context, "update", name)
            if name in seen and name not in wanted:
                self._check(context, "delete", name)
        hidden = {name: value for name, value in stored.items() if name not in seen}
        return {**hidden, **wanted}

    def _check(self, context: RequestContext, operation: Operation, name: str) -> None:
        if not self.allows(context, operation, name):
            raise Forbidden(f"Property {name} is protected: you may not {operation} it.")


def load(conf: cfg.ConfigOpts, enforcer: Enforcer) -> PropertyProtections | None:
    """Return the protections that the options name, None for none.

    Raises ConfigError, with file, section and key, for a file that cannot be trusted in every line.
    """
    named: str | None = conf.property_protection_file
    if not named:
        return None
    path = conf.find_file(named)
    if path is None:
        raise ConfigError("DEFAULT", "property_protection_file", named, "there is no such file")
    reader = _Reader(path, conf.property_protection_rule_format, enforcer)
    return PropertyProtections(reader.sections())


def _internal() -> Section:
    """Return the section for what the service itself writes; clients are kept from it before protections are asked."""
    return Section(_OWN, dict.fromkeys(OPERATIONS, _everyone))


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads one file; every error names it, with section and key."""

    path: str
    form: str
    enforcer: Enforcer

    def sections(self) -> list[Section]:
        """Return the sections in the order of the file, after the one for the service's own properties."""
        parser = RawConfigParser()
        try:
            parser.read_string(Path(self.path).read_text(encoding="utf-8"))
        except OSError as error:
            raise self._refusal("-", "-", "-", f"the file cannot be read: {error.strerror}") from None
        except (IniError, UnicodeDecodeError) as error:
            reason = str(error).replace("\n", " ")
            raise self._refusal("-", "-", "-", f"the file is not in INI format: {reason}") from None
        return [_internal(), *(self._one(name, dict(parser[name])) for name in parser.sections())]

    def _one(self, name: str, values: Mapping[str, str]) -> Section:
        try:
            pattern = re.compile(name)
        except re.error as error:
            reason = f"the name of a section must be a regular expression: {error}"
            raise self._refusal(name, "-", "-", reason) from None
        for key in values:
            if key not in OPERATIONS:
                raise self._refusal(name, key, values[key], f"the keys are {', '.join(OPERATIONS)}")
        return Section(pattern, {operation: self._check(name, operation, values) for operation in OPERATIONS})

    def _check(self, section: str, operation: Operation, values: Mapping[str, str]) -> Check:
        if operation not in values:
            raise self._refusal(section, operation, "", f"is missing; the keys {', '.join(OPERATIONS)} are all needed")
        text = values[operation]
        words = [word for part in text.split(",") if (word := part.strip())]
        if EVERYONE in words and NOBODY in words:
            raise self._refusal(section, operation, text, "@ (everyone) and ! (nobody) exclude each other")
        if EVERYONE in words:
            return _everyone
        if NOBODY in words or not words:
            return _nobody
        if self.form == ROLES:
            return _HasRole(frozenset(word.lower() for word in words))
        if len(words) > 1:
            raise self._refusal(section, operation, text, "must be the name of one policy rule, @ or !")
        if not self.enforcer.knows(words[0]):
            raise self._refusal(section, operation, text, "there is no such policy rule")
        return _MeetsRule(self.enforcer, words[0])

    def _refusal(self, section: str, key: str, value: str, allowed: str) -> ConfigError:
        return ConfigError(section, key, value, allowed, self.path)


def _everyone(_context: RequestContext) -> bool:
    return True


def _nobody(_context: RequestContext) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class _HasRole:
    """Allows callers with one of these roles (in lower case, as those of a caller are), or services that have one."""

    roles: frozenset[str]

    def __call__(self, context: RequestContext) -> bool:
        return not self.roles.isdisjoint(context.all_roles)


@dataclass(frozen=True, slots=True)
class _MeetsRule:
    """Allows callers whom a policy rule allows; the rule sees the caller only, as with the original."""

    enforcer: Enforcer
    rule: str

    def __call__(self, context: RequestContext) -> bool:
        try:
            return self.enforcer.allows(context, self.rule, {})
        except LookupError:
            # It was taken out of the policy file since the start: a rule without definition allows no caller.
            return False
