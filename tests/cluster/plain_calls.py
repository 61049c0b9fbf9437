"""Calls that each client makes as plain requests, whatever it uses for the others: imports, members, and v1."""

from __future__ import annotations

from typing import Any

from tests.cluster.callers import PAGE, Plain

FRIEND = "friend"
"""The project that images are shared with."""


class PlainCalls(Plain):
    """They raise Failure as those of every caller."""

    def import_web(self, image: str, uri: str, request: str) -> None:
        """Have the service download the data; the task is made by the request with this id."""
        body = {"method": {"name": "web-download", "uri": uri}}
        self._send("POST", f"/v2/images/{image}/import", json=body, headers={"X-Openstack-Request-Id": request})

    def share(self, image: str) -> None:
        """Add the other project."""
        self._send("POST", f"/v2/images/{image}/members", json={"member": FRIEND})

    def accept(self, image: str) -> None:
        """Accept the image for the other project."""
        self._send("PUT", f"/v2/images/{image}/members/{FRIEND}", json={"status": "accepted"})

    def unshare(self, image: str) -> None:
        """Remove the other project."""
        self._send("DELETE", f"/v2/images/{image}/members/{FRIEND}")

    def members(self, image: str) -> dict[str, str]:
        """Return the status of each member."""
        found = self._send("GET", f"/v2/images/{image}/members").json()["members"]
        return {member["member_id"]: member["status"] for member in found}

    def v1_show(self, image: str) -> dict[str, Any]:
        """Return the header of the image in v1."""
        return dict(self._send("HEAD", f"/v1/images/{image}").headers)

    def v1_list(self) -> int:
        """Return how many images are on the first page of v1."""
        return len(self._send("GET", f"/v1/images/detail?limit={PAGE}").json()["images"])

    def v1_download(self, image: str) -> bytes:
        """Return the data, by v1."""
        return bytes(self._send("GET", f"/v1/images/{image}").content)

    def v1_rename(self, image: str, name: str) -> None:
        """Change the name, by v1."""
        self._send("PUT", f"/v1/images/{image}", headers={"x-image-meta-name": name})
