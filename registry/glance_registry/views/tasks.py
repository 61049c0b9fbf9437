"""Operations as tasks, over HTTP."""

from flask import Blueprint, Response, request

from glance_common.model.operation import OperationKind
from glance_common.model.pages import MAX_PAGE_ROWS
from glance_common.model.status import OperationStatus
from glance_registry.operations import tasks, use_cases
from glance_registry.views import parsing

blueprint = Blueprint("tasks", __name__)


@blueprint.get("/v1/operations")
def index() -> Response:
    """Answer a page of tasks."""
    q = parsing.Fields.parse(request.args.get("q", "{}"), "q")
    q.only("limit", "marker", "sort_key", "sort_dir", "kind", "status")
    chosen = {
        name: q.choice(name, allowed)
        for name, allowed in (("kind", tuple(OperationKind)), ("status", tuple(OperationStatus)))
        if q.values.get(name) is not None
    }
    query = tasks.TaskQuery(
        limit=q.integer("limit", maximum=MAX_PAGE_ROWS),
        marker=None if q.values.get("marker") is None else q.uuid("marker"),
        sort_key=q.choice("sort_key", tasks.SORT_KEYS),
        is_descending=q.choice("sort_dir", ("asc", "desc")) == "desc",
        **chosen,
    )
    return parsing.answer({"operations": use_cases.list_tasks(parsing.engine(), parsing.caller(), query)})


@blueprint.get("/v1/operations/<operation>")
def show(operation: str) -> Response:
    """Answer one task."""
    wanted = parsing.path_id(operation, "task")
    return parsing.answer({"operation": use_cases.show_task(parsing.engine(), parsing.caller(), wanted)})


@blueprint.get("/v1/images/<image_id>/operations")
def of_image(image_id: str) -> Response:
    """Answer the tasks of one image."""
    largest = parsing.bounds().page
    found = use_cases.tasks_of_image(parsing.engine(), parsing.caller(), parsing.path_id(image_id), largest)
    return parsing.answer({"operations": found})
