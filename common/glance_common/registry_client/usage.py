"""Usage in the registry: what an owner uses, and room for uploads that do not say how much they bring."""

from typing import Any

from glance_common.model.context import RequestContext
from glance_common.model.limits import Limits, Usage
from glance_common.registry_client.http import RegistryHttp, segment


def with_limits(limits: Limits | None) -> dict[str, Any]:
    """Return the field with which a call brings the owner's limits along; nothing without limits."""
    return {} if limits is None else {"limits": limits.document()}


class UsageClient:
    """Reads usage and grows reservations. Every call may be repeated."""

    def __init__(self, http: RegistryHttp) -> None:
        self._http = http

    def of_owner(self, context: RequestContext, owner: str) -> Usage:
        """Return what ``owner`` uses now: bytes and counts."""
        return Usage(**self._http.call(context, "GET", "/v1/usage", query={"owner": owner})["usage"])

    def reserve(
        self, context: RequestContext, attempt: str, *, at_least: int, at_most: int, limits: Limits
    ) -> int:
        """Return how many bytes the attempt may write in all: ``at_most``, or as many as there is room for.

        Raises TooLarge without room for ``at_least``, Gone when the attempt is over, Conflict when the image got
        another owner than the one of ``limits``.
        """
        body = {"at_least": at_least, "at_most": at_most, **with_limits(limits)}
        return int(self._http.call(context, "POST", f"/v1/uploads/{segment(attempt)}/reserve", body)["size"])
