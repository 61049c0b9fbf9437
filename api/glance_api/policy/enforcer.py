"""The one place that is asked who may do what.

Built once per process. The files are looked at again once a second, so that a change counts without a restart; while
they are broken every rule denies (S-52).
"""

import logging
import re
import time
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from operator import attrgetter
from typing import Any

from oslo_config import cfg
from oslo_policy import _checks, policy

from glance_api.policy import RULES, tasks
from glance_api.policy.files import Fingerprint, PolicyFiles, nodes
from glance_api.policy.targets import IMAGE_ATTRIBUTES, image_target
from glance_common.config.loading import ConfigError
from glance_common.model.context import RequestContext
from glance_common.model.errors import NotFound, PolicyDenied
from glance_common.model.image import Image

LOG = logging.getLogger(__name__)

LOOK_AGAIN = 1.0
"""Seconds between two looks at the policy files."""

rules_asked: ContextVar[int] = ContextVar("rules_asked", default=0)
"""How many rules the current request has asked; a route that asked none is reported."""


MOST_ANSWERS = 20_000
"""Answers that are remembered; some megabytes."""


class _RuleSet:
    """The rules of one state of the files, with what they have answered so far.

    Asking the library takes up to 0.3 ms. Its own kinds of check look at nothing but the caller and the attributes
    that they name, so one answer holds for all questions that agree in these. A check of another kind may look at
    anything: rules that hold one are asked each time.
    """

    def __init__(self, engine: policy.Enforcer) -> None:
        self._engine = engine
        self.attributes = {name: _attributes(engine.rules, name) for name in engine.rules}
        self._answers: dict[tuple[Any, ...], bool] = {}

    def answer(self, context: RequestContext, rule: str, target: Mapping[str, Any]) -> bool:
        """Say whether the rule allows it; LookupError for a rule that neither the files nor a default defines."""
        names = self.attributes[rule]
        if names is None:
            return self._ask(context, rule, target)
        caller = (context.user_id, context.project_id, context.roles, context.is_admin, context.service_roles)
        question = (rule, *caller, *[target.get(name) for name in names])
        answer = self._answers.get(question)
        if answer is None:
            if len(self._answers) >= MOST_ANSWERS:
                self._answers.clear()
            answer = self._answers[question] = self._ask(context, rule, target)
        return answer

    def _ask(self, context: RequestContext, rule: str, target: Mapping[str, Any]) -> bool:
        try:
            return bool(self._engine.enforce(rule, target, _credentials(context)))
        except Exception:
            # For example a rule with a broken %-expression.
            LOG.exception("policy rule %s cannot be evaluated and denies", rule)
            return False


class Enforcer:
    """Answers policy questions; shared by all threads of a process."""

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        """Load the rules. Raises ConfigError when the policy files cannot be trusted."""
        self._conf = conf
        self._files = PolicyFiles(conf)
        # The library registers its options with its first enforcer.
        policy.Enforcer(conf, use_conf=False)
        if not conf.oslo_policy.enforce_new_defaults:
            raise ConfigError(
                "oslo_policy", "enforce_new_defaults", False,
                "only true is supported: write the rules that you need into the policy file",
            )
        self._fingerprint: Fingerprint | None = self._files.fingerprint()
        self._rules: _RuleSet | None = self._load()
        self._next_look = time.monotonic() + LOOK_AGAIN

    def check(self, context: RequestContext, rule: str, target: Mapping[str, Any]) -> None:
        """Raise PolicyDenied unless ``rule`` allows the caller to act on ``target``."""
        if not self.allows(context, rule, target):
            raise PolicyDenied(f"policy {rule} does not allow you to do this")

    def check_image(self, context: RequestContext, rule: str, image: Image) -> None:
        """As ``check`` for an image; NotFound for callers whom ``get_image`` hides the image from (S-43)."""
        self.check_about(context, rule, image_target(image), image)

    def check_about(self, context: RequestContext, rule: str, target: Mapping[str, Any], image: Image) -> None:
        """As ``check_image`` for something that belongs to ``image`` and is described by ``target``."""
        if self.allows(context, rule, target):
            return
        if rule == "get_image" or not self.allows(context, "get_image", image_target(image)):
            raise NotFound(f"No image found with ID {image.id}")
        raise PolicyDenied(f"policy {rule} does not allow you to do this with image {image.id}")

    def allows(self, context: RequestContext, rule: str, target: Mapping[str, Any]) -> bool:
        """Say whether ``rule`` allows the caller to act on ``target``."""
        rules_asked.set(rules_asked.get() + 1)
        rules = self._current()
        return rules is not None and rules.answer(context, rule, target)

    def knows(self, rule: str) -> bool:
        """Say whether a file or a default defines ``rule``."""
        rules = self._current()
        return rules is not None and rule in rules.attributes

    def attributes(self, rule: str) -> tuple[str, ...] | None:
        """Return the attributes of a target that ``rule`` looks at, None when that cannot be known."""
        rules = self._current()
        return None if rules is None else rules.attributes.get(rule)

    def is_admin(self, context: RequestContext) -> bool:
        """Say whether the rule ``context_is_admin`` holds for the caller; this alone does not count as asking."""
        rules = self._current()
        return rules is not None and rules.answer(context, "context_is_admin", {})

    def allowed_images(self, context: RequestContext, rule: str, images: Sequence[Image]) -> list[Image]:
        """Return those of ``images`` that ``rule`` allows.

        A thousand images differ in few of the attributes that a rule looks at: each combination is asked once.
        """
        rules_asked.set(rules_asked.get() + 1)
        rules = self._current()
        if rules is None:
            return []
        names = rules.attributes[rule]
        if names is None or not IMAGE_ATTRIBUTES.keys() >= set(names):
            return [image for image in images if rules.answer(context, rule, image_target(image))]
        # The owner besides, as at least one is needed.
        key_of = attrgetter("owner", *(IMAGE_ATTRIBUTES[name] for name in names))
        answers: dict[Any, bool] = {}
        allowed = []
        for image in images:
            key = key_of(image)
            if key not in answers:
                answers[key] = rules.answer(context, rule, image_target(image))
            if answers[key]:
                allowed.append(image)
        return allowed

    def _current(self) -> _RuleSet | None:
        """Return the rules in force, None while the files are broken."""
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + LOOK_AGAIN
            self._look_again()
        return self._rules

    def _look_again(self) -> None:
        try:
            fingerprint = self._files.fingerprint()
            if fingerprint != self._fingerprint:
                self._rules = self._load()
                self._fingerprint = fingerprint
                LOG.info("policy files were read again")
        except ConfigError as error:
            if self._rules is not None:
                LOG.error("every request is denied until the policy files are repaired: %s", error)
            self._rules, self._fingerprint = None, None

    def _load(self) -> _RuleSet:
        rules = self._files.read()
        engine = policy.Enforcer(self._conf, use_conf=False)
        engine.register_defaults(RULES)
        checks = {rule.name: rule.check for rule in RULES} | policy.Rules.from_dict(rules)
        engine.set_rules(policy.Rules(checks, self._conf.oslo_policy.policy_default_rule))
        _check_references(engine)
        if not (self._conf.property_protection_file and self._conf.property_protection_rule_format == "policies"):
            # Otherwise that file may name any of them.
            _warn_of_unknown(rules, engine)
        return _RuleSet(engine)


def _credentials(context: RequestContext) -> dict[str, Any]:
    """Return what rules see of the caller; what is unset is left out, so that it equals nothing."""
    known = {
        "user_id": context.user_id,
        "user": context.user_id,
        "project_id": context.project_id,
        "tenant": context.project_id,
        "tenant_id": context.project_id,
    }
    credentials: dict[str, Any] = {name: value for name, value in known.items() if value is not None}
    credentials["roles"] = list(context.roles)
    credentials["service_roles"] = list(context.service_roles)
    credentials["is_admin"] = context.is_admin
    return credentials


def _check_references(engine: policy.Enforcer) -> None:
    """Raise ConfigError for a rule that refers to a missing rule (the library would use ``default``) or to itself."""
    for name, check in engine.rules.items():
        missing = [match for match in _references(check) if match not in engine.rules]
        if missing:
            raise ConfigError("oslo_policy", "policy_file", name, f"refers to the unknown rule {missing[0]}")
    try:
        engine.check_rules(raise_on_violation=True)
    except policy.InvalidDefinitionError as error:
        raise ConfigError("oslo_policy", "policy_file", "-", f"rules refer to themselves: {error}") from None


def _references(check: _checks.BaseCheck) -> list[str]:
    return [node.match for node in nodes(check) if isinstance(node, _checks.RuleCheck)]


def _warn_of_unknown(file_rules: Mapping[str, Any], engine: policy.Enforcer) -> None:
    used = {match for check in engine.rules.values() for match in _references(check)}
    for name in sorted(file_rules.keys() - engine.registered_rules.keys() - used):
        if name in tasks.UNUSED:
            LOG.info("policy rule %s has no effect: %s", name, tasks.UNUSED[name])
        else:
            LOG.warning("policy rule %s guards nothing in this service", name)


_PLACEHOLDER = re.compile(r"%\(([^()%]*)\)")


def _attributes(rules: policy.Rules, name: str) -> tuple[str, ...] | None:
    """Return the target attributes that the rule looks at, None when that cannot be known."""
    found: set[str] = set()
    for node in nodes(rules[name]):
        if isinstance(node, _checks.RuleCheck):
            inner = _attributes(rules, node.match)
            if inner is None:
                return None
            found.update(inner)
        elif isinstance(node, _checks.Check) and type(node) in (_checks.RoleCheck, _checks.GenericCheck):
            found.update(_PLACEHOLDER.findall(node.match))
        elif not isinstance(node, _PLAIN):
            return None
    return tuple(sorted(found))


_PLAIN = (_checks.AndCheck, _checks.OrCheck, _checks.NotCheck, _checks.TrueCheck, _checks.FalseCheck)
