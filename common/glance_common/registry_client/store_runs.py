"""Runs over whole stores in the registry: one process at a time, and how far it has come."""

from glance_common.model.context import RequestContext
from glance_common.registry_client.http import RegistryHttp, segment


class StoreRunsClient:
    """Starts, renews and ends the runs ``verify`` and ``reconcile``. Every call may be repeated with its token."""

    def __init__(self, http: RegistryHttp) -> None:
        self._http = http

    def start(
        self, context: RequestContext, kind: str, store: str, token: str, *, lease: int, rest: float = 0
    ) -> str | None:
        """Take the run for ``lease`` seconds; return the key behind which it goes on, None for the start.

        Raises Conflict with the reason ``running`` while another process is at it, and ``not_due`` when the last one
        came to its end less than ``rest`` seconds ago.
        """
        body = {"token": token, "lease": lease, "rest": rest}
        answer = self._http.call(context, "POST", f"{_path(kind, store)}/start", body)
        cursor: str | None = answer["cursor"]
        return cursor

    def renew(
        self, context: RequestContext, kind: str, store: str, token: str, *, lease: int, cursor: str | None = None
    ) -> None:
        """Hold the run for ``lease`` seconds from now, and note how far it is. Raises Gone when it is another's."""
        body = {"token": token, "lease": lease, "cursor": cursor}
        self._http.call(context, "POST", f"{_path(kind, store)}/renew", body)

    def end(self, context: RequestContext, kind: str, store: str, token: str, *, finished: bool) -> None:
        """Give the run back; a ``finished`` one begins anew next time. Raises Gone when it is another's."""
        self._http.call(context, "POST", f"{_path(kind, store)}/end", {"token": token, "finished": finished})


def _path(kind: str, store: str) -> str:
    return f"/v1/stores/{segment(store)}/runs/{segment(kind)}"
