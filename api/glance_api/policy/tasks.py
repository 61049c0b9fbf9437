"""Default rules of the tasks API (configuration section 10)."""

from glance_api.policy.rules import ADMIN, rule

_TASKS, _TASK = "/v2/tasks", "/v2/tasks/{task_id}"
_EVERYBODY = "rule:default"

RULES = [
    rule("tasks_api_access", ADMIN, "Use the tasks API at all; asked before the rules of the single calls.",
         f"GET {_TASKS}", f"POST {_TASKS}", f"GET {_TASK}"),
    rule("get_task", _EVERYBODY, "See a task.", f"GET {_TASK}"),
    rule("get_tasks", _EVERYBODY, "List tasks.", f"GET {_TASKS}"),
    rule("add_task", _EVERYBODY, "Create a task.", f"POST {_TASKS}"),
]

UNUSED = {"modify_task": "no call changes a task"}
"""Rules of the original that its files may hold, and why no call asks them."""
