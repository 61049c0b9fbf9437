"""What other services are told about tasks (configuration section 11). Input, result and message are never told.

As with all events: after the commit, never waiting, never raising. There is no ``task.delete``: a task is not deleted
by a caller, the registry removes it when its time is over.
"""

import logging
from collections.abc import Callable
from typing import Any

from glance_api.services.collaborators import EventServices
from glance_common.model.context import RequestContext
from glance_common.model.errors import GlanceError
from glance_common.model.operation import Operation
from glance_common.model.status import OperationStatus

LOG = logging.getLogger(__name__)

CREATE, RUN, PROCESSING = "task.create", "task.run", "task.processing"
_ENDS = {OperationStatus.SUCCESS: "task.success", OperationStatus.FAILURE: "task.failure"}


def created(services: EventServices, context: RequestContext, task: Operation) -> None:
    """Tell that a task was made, and that it was handed to the workers."""
    _tell(services, context, CREATE, task)
    _tell(services, context, RUN, task)


def begun(services: EventServices, context: RequestContext, task: Operation) -> None:
    """Tell that a worker has taken the task up."""
    _tell(services, context, PROCESSING, task)


def ended(services: EventServices, context: RequestContext, task: Operation) -> None:
    """Tell how the task ended; nothing while it has not."""
    if task.status in _ENDS:
        _tell(services, context, _ENDS[task.status], task)


def look_up(
    services: EventServices,
    context: RequestContext,
    task_id: str,
    tell: Callable[[EventServices, RequestContext, Operation], None],
) -> None:
    """Tell about a task that a call to the registry changed without showing it."""
    if not any(services.notifications.wants(event) for event in (CREATE, RUN, *_ENDS.values())):
        return
    try:
        tell(services, context, services.registry.operations.get(context, task_id))
    except GlanceError as error:
        LOG.info("no notification about the task %s: %s", task_id, error.message)


def _tell(services: EventServices, context: RequestContext, event_type: str, task: Operation) -> None:
    if services.notifications.wants(event_type):
        services.notifications.send(context, event_type, _payload(task))


def _payload(task: Operation) -> dict[str, Any]:
    return {
        "id": task.id,
        "type": task.kind,
        "status": task.status,
        "result": None,
        "owner": task.owner,
        "message": None,
        "expires_at": task.expires_at,
        "created_at": task.created_at,
        "updated_at": task.updated_at,
        "deleted": False,
        "deleted_at": None,
    }
