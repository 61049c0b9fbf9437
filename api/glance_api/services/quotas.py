"""Limits in use: room for uploads of unknown size, and what a project has used so far."""

import time
from typing import Any

from glance_api.services.collaborators import QuotaServices
from glance_common.model.context import RequestContext
from glance_common.model.errors import OutcomeUnknown, TooLarge, Unavailable
from glance_common.model.image import Upload
from glance_common.model.limits import KINDS, Limits, Usage
from glance_common.retry import pauses, retried

LEAST_STEP = 16 * 1024 * 1024
MOST_STEP = 1024 * 1024 * 1024
PATIENCE = 10.0
"""Seconds that an upload waits for others to give room back."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 0.8
"""Seconds between two questions for the same room."""


class Reservation:
    """The bytes that the registry keeps free for one upload of unknown size.

    It grows in steps as large as what came so far, from 16 MiB to 1 GiB, so that few calls are made and little room is
    kept from others. A step that is refused is asked for again until others gave room back, for ten seconds.
    """

    def __init__(
        self, services: QuotaServices, context: RequestContext, begun: Upload, limits: Limits,
        patience: float = PATIENCE,
    ) -> None:
        self._services = services
        self._context = context
        self._attempt = begun.attempt
        self._limits = limits
        self._patience = patience
        self._reserved = 0

    @property
    def reserved(self) -> int:
        """The bytes that the registry keeps free now."""
        return self._reserved

    def cover(self, size: int, *, wait: bool = True) -> None:
        """Reserve room for ``size`` bytes in all. Raises TooLarge, Gone, Conflict, Unavailable.

        Without ``wait`` a step that a limit refuses is not asked for again.
        """
        if size <= self._reserved:
            return
        at_most = size + min(max(size, LEAST_STEP), MOST_STEP)
        until = time.monotonic() + self._patience

        def may_help(error: Exception) -> bool:
            is_refused = isinstance(error, TooLarge) and not wait
            return isinstance(error, TooLarge | Unavailable) and not is_refused and time.monotonic() < until

        waits = pauses(_FIRST_PAUSE, _LONGEST_PAUSE)
        self._reserved = retried(lambda: self._ask(size, at_most), waits, may_help, time.sleep)

    def _ask(self, at_least: int, at_most: int) -> int:
        try:
            return self._services.registry.usage.reserve(
                self._context, self._attempt, at_least=at_least, at_most=at_most, limits=self._limits
            )
        except OutcomeUnknown as error:
            # It does not matter whether the room was reserved: the upload is aborted as after any failure.
            raise Unavailable(error.message) from error


def usage(services: QuotaServices, context: RequestContext) -> dict[str, Any]:
    """Return what the caller's project uses of each limit that Keystone knows, and the limit; -1 = unlimited.

    Sizes are MiB. Empty without a project, and when limits do not come from Keystone (API section 14.1).
    """
    if not services.settings.use_keystone_limits or context.project_id is None:
        return {}
    limits = services.limits.of(context.project_id)
    used = services.registry.usage.of_owner(context, context.project_id)
    values = {} if limits is None else limits.values
    return {
        name: {"usage": _in_units(used, name), "limit": values.get(name, -1)}
        for name in KINDS
        if name != "user_storage_quota"
    }


def _in_units(used: Usage, name: str) -> int:
    kind = KINDS[name]
    number: int = getattr(used, kind.measure)
    return number // kind.factor
