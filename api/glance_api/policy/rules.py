"""How the default of a policy rule is written down: what it allows, to whom, and the calls it guards."""

from oslo_policy import policy

ADMIN = "rule:context_is_admin"
OWNER_WRITES = "rule:context_is_admin or (role:member and project_id:%(project_id)s)"
OWNER_READS = "rule:context_is_admin or (role:reader and project_id:%(project_id)s)"
_VISIBLE = (
    "(project_id:%(project_id)s or project_id:%(member_id)s or 'community':%(visibility)s or "
    "'public':%(visibility)s or 'shared':%(visibility)s)"
)
VIEWER_READS = f"rule:context_is_admin or (role:reader and {_VISIBLE})"
VIEWER_DOWNLOADS = f"rule:context_is_admin or (role:member and {_VISIBLE})"
SHARER_READS = "rule:context_is_admin or role:reader and (project_id:%(project_id)s or project_id:%(member_id)s)"
RECEIVER_WRITES = "rule:context_is_admin or (role:member and project_id:%(member_id)s)"
OWN_PROJECT_WRITES = (
    "rule:context_is_admin or (role:member and project_id:%(project_id)s and project_id:%(owner)s)"
)


def rule(name: str, check: str, description: str, *operations: str) -> policy.DocumentedRuleDefault:
    """Return the default of a rule; each operation is ``"METHOD /path"`` of a call that asks it."""
    calls: list[policy.Operation] = []
    for operation in operations:
        method, path = operation.split(" ")
        calls.append({"method": method, "path": path})
    return policy.DocumentedRuleDefault(name=name, check_str=check, description=description, operations=calls)
