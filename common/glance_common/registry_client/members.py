"""Members in the registry: the projects that an image is shared with."""

from collections.abc import Mapping, Sequence
from urllib.parse import urlencode

from glance_common.model.context import RequestContext
from glance_common.model.image import Member
from glance_common.registry_client.http import RegistryHttp, segment


class MembersClient:
    """Reads and writes memberships; a member sees only its own. Every write may be repeated with its attempt id."""

    def __init__(self, http: RegistryHttp) -> None:
        self._http = http

    def list(self, context: RequestContext, image_id: str) -> list[Member]:
        """Return the members that the caller may see; raise NotFound."""
        answer = self._http.call(context, "GET", _path(image_id))
        return [Member.from_document(document) for document in answer["members"]]

    def get(self, context: RequestContext, image_id: str, member: str) -> Member:
        """Return one member; raise NotFound also for those that the caller may not see."""
        return Member.from_document(self._http.call(context, "GET", _path(image_id, member))["member"])

    def add(self, context: RequestContext, image_id: str, member: str, attempt: str, *, quota: int) -> Member:
        """Share the image with a project, pending; raise Duplicate, TooLarge above ``quota`` (negative = no limit)."""
        body = {"attempt": attempt, "member": member, "quota": quota}
        return Member.from_document(self._http.call(context, "POST", _path(image_id), body)["member"])

    def set_status(self, context: RequestContext, image_id: str, member: str, attempt: str, status: str) -> Member:
        """Change the status of a membership; raise NotFound."""
        body = {"attempt": attempt, "status": status}
        return Member.from_document(self._http.call(context, "PUT", _path(image_id, member), body)["member"])

    def share(
        self,
        context: RequestContext,
        image_id: str,
        members: Mapping[str, bool | None],
        *,
        only: bool,
        quota: int,
    ) -> Sequence[Member]:
        """Share the image with these projects, each with its ``can_share`` (None: as it is, false for a new one).

        With ``only`` all other memberships end. Returns the members that there are then; raises NotFound, TooLarge.
        """
        body = {
            "members": [{"member": name, "can_share": can_share} for name, can_share in members.items()],
            "only": only, "quota": quota,
        }
        answer = self._http.call(context, "PUT", _path(image_id), body)
        return [Member.from_document(document) for document in answer["members"]]

    def shared_with(
        self, context: RequestContext, member: str, *, limit: int | None = None, marker: str | None = None
    ) -> Sequence[Member]:
        """Return the memberships of a project that the caller may see, the oldest first.

        With ``limit`` or ``marker``, an image, it is a page; without, it is the newest of very many. Raises BadRequest
        for an unknown marker.
        """
        query = urlencode({name: value for name, value in (("limit", limit), ("marker", marker)) if value is not None})
        path = f"/v1/memberships/{segment(member)}"
        answer = self._http.call(context, "GET", f"{path}?{query}" if query else path)
        return [Member.from_document(document) for document in answer["members"]]

    def remove(self, context: RequestContext, image_id: str, member: str, attempt: str) -> None:
        """Stop sharing the image with a project; raise NotFound."""
        self._http.call(context, "DELETE", _path(image_id, member), {"attempt": attempt})


def _path(image_id: str, member: str | None = None) -> str:
    path = f"/v1/images/{segment(image_id)}/members"
    return path if member is None else f"{path}/{segment(member)}"
