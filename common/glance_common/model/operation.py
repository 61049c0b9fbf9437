"""Background operations as they travel between the daemons: imports, copies and hashing, which the API calls tasks."""

from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Self

from glance_common.model.context import RequestContext
from glance_common.model.status import OperationStatus

TASK_PROPERTY = "os_glance_import_task"
"""The import lock as clients see it: the id of the operation that works on the image."""
IMPORTING_PROPERTY = "os_glance_importing_to_stores"
FAILED_PROPERTY = "os_glance_failed_import"
STAGE_HOST_PROPERTY = "os_glance_stage_host"
REFUSED_PROPERTY = "os_glance_data_refused"
"""Why the service deactivated the image: what it found in data that were registered."""

HIDDEN_PROPERTIES = frozenset({STAGE_HOST_PROPERTY, "os_glance_hash_op_host"})
"""Properties that the services keep for themselves: addresses of the inside, which no client reads or searches."""

PATIENCE = 7200.0
"""Seconds without a sign of life of its worker or its host, after which an operation is given up: long enough for a
host that holds staged data to be repaired (lifecycle section 7)."""


class OperationKind(StrEnum):
    """What an operation does; the names are the task types of the API (API section 15)."""

    IMPORT = "import"
    API_IMAGE_IMPORT = "api_image_import"
    LOCATION_IMPORT = "location_import"


class OnFail(StrEnum):
    """What becomes of the image when its operation fails."""

    QUEUED = "queued"
    KILLED = "killed"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Held:
    """An operation that one worker holds: every write names both, and counts only while the hold lasts."""

    operation: str
    token: str


@dataclass(frozen=True, slots=True)
class StagedData:
    """Complete data in a staging store, ready to be read; ``size`` is bytes."""

    location: str
    store: str
    key: str
    size: int


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation. Times are text, ``YYYY-MM-DDThh:mm:ss.ffffff`` in UTC, ``expires_at`` None until it ended.

    ``signature`` is what the data of a signed image are verified with: it is never shown, and holds no secret.
    ``owner``, ``user_id``, ``roles`` and ``is_admin`` are who asked for it. ``staged`` is filled only for the worker
    that claimed it: what is staged of its image.
    """

    id: str
    kind: OperationKind
    image_id: str | None
    owner: str | None
    user_id: str | None
    request_id: str | None
    roles: tuple[str, ...]
    is_admin: bool
    status: OperationStatus
    input: dict[str, Any]
    signature: dict[str, str] | None
    result: dict[str, Any] | None
    message: str
    host: str | None
    attempts: int
    cancelled: bool
    created_at: str
    updated_at: str
    expires_at: str | None
    staged: tuple[StagedData, ...] = ()

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Self:
        """Build an operation from the registry's JSON object; unknown keys are ignored."""
        values = {field.name: document[field.name] for field in fields(cls) if field.name != "staged"}
        values |= {
            "kind": OperationKind(document["kind"]),
            "status": OperationStatus(document["status"]),
            "roles": tuple(document["roles"]),
        }
        return cls(**values, staged=tuple(StagedData(**row) for row in document.get("staged", ())))

    def context(self) -> RequestContext:
        """Return the caller in whose name the work is done, without a token."""
        return RequestContext(
            request_id=self.request_id or "-",
            user_id=self.user_id,
            project_id=self.owner,
            roles=self.roles,
            is_admin=self.is_admin,
        )
