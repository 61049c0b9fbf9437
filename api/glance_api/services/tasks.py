"""The tasks API: operations as administrators see them, and the import task (API section 15, lifecycle section 6)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import orjson

from glance_api.clients.key_manager import Credentials
from glance_api.policy.targets import project_target
from glance_api.services import images, keys
from glance_api.services.collaborators import Services
from glance_api.services.events import tasks as task_events
from glance_api.services.locations.check import check_source
from glance_common.model.context import RequestContext
from glance_common.model.operation import OnFail, Operation, OperationKind
from glance_common.registry_client.operations import NewOperation, OperationQuery

ACCESS = "tasks_api_access"


@dataclass(frozen=True, slots=True)
class TaskPage:
    """One page; ``next_marker`` is the id after which the next one begins, None on the last."""

    tasks: list[Operation]
    next_marker: str | None


def check_create(services: Services, context: RequestContext) -> None:
    """Raise PolicyDenied unless the caller may make tasks; views ask it before they look at what a task says (S-59)."""
    _check(services, context, "add_task")


def create(
    services: Services, context: RequestContext, task_input: Mapping[str, Any], credentials: Credentials
) -> Operation:
    """Make a task that imports a new image from a URL.

    The certificate of an image that will be signed is fetched now, while the caller's token is there (S-29). Raises
    PolicyDenied, BadRequest for a URL that is refused and for a bad signature, TooLarge for an image document that is,
    Unavailable without the key manager.
    """
    _check(services, context, "add_task")
    check_source(services, context, "input.import_from", task_input["import_from"])
    # An image that is too large is refused now; the input is kept as long as the task.
    images.check_document(services.settings, None, len(orjson.dumps(task_input["image_properties"])))
    signed = keys.verification(services.keys, credentials, task_input["image_properties"])
    new = NewOperation(
        kind=OperationKind.IMPORT,
        image_id=None,
        input=dict(task_input),
        ttl=services.settings.imports.task_time_to_live,
        on_fail=OnFail.DELETE,
        signature=None if signed is None else signed.to_document(),
    )
    task = services.registry.operations.create(context, str(uuid4()), new)
    services.work.wake()
    task_events.created(services, context, task)
    return task


def show(services: Services, context: RequestContext, task_id: str) -> Operation:
    """Return a task. Raises PolicyDenied, NotFound for one that is expired or another project's (S-50)."""
    _check(services, context, "get_task")
    return services.registry.operations.get(context, task_id)


def list_tasks(services: Services, context: RequestContext, query: OperationQuery) -> TaskPage:
    """Return a page of tasks. Raises PolicyDenied, NotFound for an unknown marker."""
    _check(services, context, "get_tasks")
    if query.limit == 0:
        return TaskPage([], None)
    found = list(services.registry.operations.list(context, query))
    return TaskPage(found, found[-1].id if len(found) == query.limit else None)


def _check(services: Services, context: RequestContext, rule: str) -> None:
    """Raise PolicyDenied unless the caller may use the tasks API at all and make this call."""
    target = project_target(context)
    services.policy.check(context, ACCESS, target)
    services.policy.check(context, rule, target)
