"""The three daemons as processes, images made through the API, and a look into the rows."""

from collections.abc import Callable
from typing import Any

import pytest
import requests
import sqlalchemy as sa
from tests.support.daemons import Services
from tests.support.waiting import wait_for

LEASE = 3
"""Seconds of a claim: the shortest that the option allows."""


class Cloud:
    """Images of one running service."""

    def __init__(self, services: Services, database: str) -> None:
        self.services = services
        self._engine = sa.create_engine(database, poolclass=sa.NullPool)
        self._session = requests.Session()

    def call(self, method: str, path: str, **kwargs: Any) -> requests.Response:
        """Ask the API."""
        return self._session.request(method, f"{self.services.api.url}{path}", timeout=60, **kwargs)

    def image(self, data: bytes = b"data", **document: Any) -> str:
        """Create an image with data and return its id."""
        document = {"name": "one", "disk_format": "raw", "container_format": "bare", **document}
        image_id = self.call("POST", "/v2/images", json=document).json()["id"]
        answer = self.call(
            "PUT", f"/v2/images/{image_id}/file", data=data, headers={"Content-Type": "application/octet-stream"}
        )
        assert answer.status_code == 204, answer.text
        return str(image_id)

    def delete(self, image_id: str, **headers: str) -> None:
        """Delete an image."""
        answer = self.call("DELETE", f"/v2/images/{image_id}", headers=headers)
        assert answer.status_code == 204, answer.text

    def rows(self, sql: str, **values: Any) -> list[Any]:
        """Ask the database."""
        with self._engine.begin() as connection:
            result = connection.execute(sa.text(sql), values)
            return list(result) if result.returns_rows else []

    def states(self, image_id: str) -> tuple[str, str]:
        """Return the status of the image and of its only location."""
        (row,) = self.rows(
            "SELECT i.status, l.status FROM images i JOIN locations l ON l.image_id = i.id WHERE i.id = :id",
            id=image_id,
        )
        return row[0], row[1]

    def is_purged(self, image_id: str) -> bool:
        """Return whether bytes and rows agree that the image is gone."""
        return self.states(image_id) == ("deleted", "deleted") and image_id not in self.services.files()

    def wait_purged(self, *image_ids: str, seconds: float = 60) -> None:
        """Wait until all these images are gone from store and rows."""
        wait_for(lambda: all(self.is_purged(image_id) for image_id in image_ids), seconds=seconds)

    def make_due(self, image_id: str) -> None:
        """Make what was written down about the image's deletion an hour older."""
        for column in ("images.deleted_at", "locations.deleted_at", "locations.not_before"):
            table, _, name = column.partition(".")
            which = "id" if table == "images" else "image_id"
            self.rows(f"UPDATE {table} SET {name} = {name} - interval '1 hour' WHERE {which} = :id", id=image_id)

    def is_whole(self, image_id: str, data: bytes = b"data") -> bool:
        """Return whether the image can be downloaded."""
        answer = self.call("GET", f"/v2/images/{image_id}/file")
        return answer.status_code == 200 and answer.content == data


@pytest.fixture
def make_cloud(make_services: Callable[..., Services], database: str) -> Callable[..., Cloud]:
    """A function that starts registry and API (and the scrubber when ``scrubber`` is true) and returns the cloud."""

    def make(*, scrubber: bool = True, lease: int = LEASE, **options: Any) -> Cloud:
        own = {"DEFAULT": {"wakeup_time": 1}, "scrubber": {"claim_lease": lease}}
        services = make_services(scrubber=own, **options)
        services.start(services.registry, services.api)
        if scrubber:
            services.start(services.scrubber)
        return Cloud(services, database)

    return make
