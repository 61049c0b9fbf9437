"""The only place that says who may do what; asked by the services."""

from oslo_policy import policy

from glance_api.policy import base, images, members

RULES: list[policy.RuleDefault] = [*base.RULES, *images.RULES, *members.RULES]
"""The default of every rule that a call asks."""


def list_rules() -> list[policy.RuleDefault]:
    """Return ``RULES``, for the generator of the sample policy file."""
    return RULES
