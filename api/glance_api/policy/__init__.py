"""The only place that says who may do what; asked by the services."""

from oslo_policy import opts, policy

from glance_api.policy import base, cache, images, locations, members, metadefs, stores, tasks
from glance_common.config.loading import OptionTable

RULES: list[policy.RuleDefault] = [
    *base.RULES, *images.RULES, *members.RULES, *locations.RULES, *stores.RULES, *cache.RULES, *tasks.RULES,
    *metadefs.RULES,
]
"""The default of every rule that a call asks."""


def list_opts() -> OptionTable:
    """Return the library's own options, which it registers again with its first enforcer."""
    return [(group, list(options)) for group, options in opts.list_opts()]


def list_rules() -> list[policy.RuleDefault]:
    """Return ``RULES``, for the generator of the sample policy file."""
    return RULES
