"""Rules that other rules are made of."""

from oslo_policy import policy

RULES = [
    policy.RuleDefault("default", "", "Asked for a rule that no other line defines."),
    policy.RuleDefault("context_is_admin", "role:admin", "Who is an administrator."),
    policy.RuleDefault("service_api", "role:service or role:admin", "Who is a service of the cloud."),
]
