"""A client of the API v1 that never repeats anything and writes every answer into a ledger."""

from __future__ import annotations

from uuid import uuid4

from tests.support.image_client import OCTETS, Answer, ImageClient
from tests.support.ledger import Content, Outcome


class OldImageClient(ImageClient):
    """As ``ImageClient``, with the calls that v1 has; all others are those of v2."""

    def add(self, name: str, data: bytes) -> tuple[str, Answer]:
        """Create an image with data in one request; return its id and the answer."""
        image, content = str(uuid4()), Content.of(data)
        self.ledger.sending(image, content)
        headers = {**OCTETS, **_meta(id=image, name=name, disk_format="raw", container_format="bare")}
        answer = self._send("POST", "/v1/images", data=data, headers=headers)
        # A refusal may come after the image was made, and what was made may be gone again.
        outcome = Outcome.DONE if answer.outcome is Outcome.DONE else Outcome.UNCLEAR
        self.ledger.created(image, outcome, name)
        self.ledger.uploaded(image, outcome, content)
        if outcome is not Outcome.DONE:
            self.ledger.deleted(image, outcome)
        return image, answer

    def rename(self, image: str, name: str) -> Answer:
        """Change the name and nothing else."""
        headers = {**_meta(name=name), "x-glance-registry-purge-props": "false"}
        answer = self._send("PUT", f"/v1/images/{image}", headers=headers)
        self.ledger.renamed(image, answer.outcome, name)
        return answer

    def download(self, image: str) -> Answer:
        """Download all data."""
        answer = self._send("GET", f"/v1/images/{image}")
        if answer.status == 200:
            self.ledger.downloaded(image, Content.of(answer.body))
        return answer

    def delete(self, image: str) -> Answer:
        """Delete the image."""
        answer = self._send("DELETE", f"/v1/images/{image}")
        self.ledger.deleted(image, answer.outcome)
        return answer


def _meta(**fields: str) -> dict[str, str]:
    return {f"x-image-meta-{name}": value for name, value in fields.items()}
