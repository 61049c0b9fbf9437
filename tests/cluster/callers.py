"""The same few calls by three clients: plain requests, openstacksdk and python-glanceclient. None repeats anything."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

FORMATS = {"disk_format": "raw", "container_format": "bare"}
PAGE = 25
_TIMEOUT = 90


class Failure(Exception):
    """A call failed: ``status`` is the answer's, None without one."""

    def __init__(self, status: int | None, text: str) -> None:
        super().__init__(f"{status}: {text[:200]}")
        self.status = status


class Caller(Protocol):
    """The calls; each raises Failure."""

    def create(self, image: str, name: str) -> None:
        """Create an image with this id."""

    def upload(self, image: str, data: bytes) -> None:
        """Upload its data."""

    def show(self, image: str) -> dict[str, Any]:
        """Return ``status`` and ``os_hash_value``."""

    def download(self, image: str) -> bytes:
        """Return the data."""

    def list(self) -> int:
        """Return how many images are on the first page."""

    def rename(self, image: str, name: str) -> None:
        """Change the name."""

    def delete(self, image: str) -> None:
        """Delete the image."""


class Plain:
    """requests, over a kept connection."""

    def __init__(self, url: str) -> None:
        import requests

        self._url = url
        self._errors = requests.RequestException
        self._session = requests.Session()
        self._session.trust_env = False

    def _send(self, method: str, path: str, **arguments: Any) -> Any:
        try:
            answer = self._session.request(method, self._url + path, timeout=_TIMEOUT, **arguments)
        except self._errors as error:
            raise Failure(None, str(error)) from None
        if answer.status_code >= 300:
            raise Failure(answer.status_code, answer.text)
        return answer

    def create(self, image: str, name: str) -> None:
        """See Caller."""
        self._send("POST", "/v2/images", json={"id": image, "name": name, **FORMATS})

    def upload(self, image: str, data: bytes) -> None:
        """See Caller."""
        headers = {"Content-Type": "application/octet-stream"}
        self._send("PUT", f"/v2/images/{image}/file", data=data, headers=headers)

    def show(self, image: str) -> dict[str, Any]:
        """See Caller."""
        return dict(self._send("GET", f"/v2/images/{image}").json())

    def download(self, image: str) -> bytes:
        """See Caller."""
        return bytes(self._send("GET", f"/v2/images/{image}/file").content)

    def list(self) -> int:
        """See Caller."""
        return len(self._send("GET", f"/v2/images?limit={PAGE}").json()["images"])

    def rename(self, image: str, name: str) -> None:
        """See Caller."""
        change = [{"op": "add", "path": "/name", "value": name}]
        headers = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
        self._send("PATCH", f"/v2/images/{image}", json=change, headers=headers)

    def delete(self, image: str) -> None:
        """See Caller."""
        self._send("DELETE", f"/v2/images/{image}")


class Sdk:
    """openstacksdk; its own repetitions are off, so that each failure is seen."""

    def __init__(self, url: str) -> None:
        import openstack
        from openstack.image.v2.image import Image

        self._image = Image
        self._cloud = openstack.connect(
            load_envvars=False, load_yaml_config=False, auth_type="none", endpoint=url, image_status_code_retries=0,
            image_connect_retries=0, api_timeout=_TIMEOUT,
        ).image

    @contextmanager
    def _failures(self) -> Iterator[None]:
        from keystoneauth1.exceptions import ClientException
        from openstack.exceptions import HttpException, SDKException
        from requests import RequestException

        try:
            yield
        except HttpException as error:
            raise Failure(error.status_code, str(error)) from None
        except (SDKException, ClientException, RequestException) as error:
            raise Failure(getattr(error, "http_status", None) or None, f"{type(error).__name__}: {error}") from None

    def create(self, image: str, name: str) -> None:
        """See Caller."""
        with self._failures():
            self._cloud.create_image(name, id=image, allow_duplicates=True, **FORMATS)

    def upload(self, image: str, data: bytes) -> None:
        """See Caller."""
        with self._failures():
            answer = self._image.existing(id=image).upload(self._cloud, data=data)
        if answer.status_code >= 300:
            raise Failure(answer.status_code, answer.text)

    def show(self, image: str) -> dict[str, Any]:
        """See Caller."""
        with self._failures():
            found = self._cloud.get_image(image)
        return {"status": found.status, "os_hash_value": found.hash_value}

    def download(self, image: str) -> bytes:
        """See Caller."""
        with self._failures():
            return bytes(self._cloud.download_image(image).content)

    def list(self) -> int:
        """See Caller."""
        with self._failures():
            return len(list(self._cloud.images(limit=PAGE, paginated=False)))

    def rename(self, image: str, name: str) -> None:
        """See Caller."""
        with self._failures():
            self._cloud.update_image(image, name=name)

    def delete(self, image: str) -> None:
        """See Caller."""
        with self._failures():
            self._cloud.delete_image(image, ignore_missing=False)


class Glanceclient:
    """python-glanceclient."""

    def __init__(self, url: str) -> None:
        from glanceclient import Client

        self._images = Client("2", endpoint=url, token="x", timeout=_TIMEOUT).images

    @contextmanager
    def _failures(self) -> Iterator[None]:
        from glanceclient import exc
        from requests import RequestException

        try:
            yield
        except exc.HTTPException as error:
            raise Failure(int(error.code), str(error)) from None
        except (exc.BaseException, exc.ClientException, RequestException, OSError) as error:
            raise Failure(None, f"{type(error).__name__}: {error}") from None

    def create(self, image: str, name: str) -> None:
        """See Caller."""
        with self._failures():
            self._images.create(id=image, name=name, **FORMATS)

    def upload(self, image: str, data: bytes) -> None:
        """See Caller."""
        with self._failures():
            self._images.upload(image, io.BytesIO(data), image_size=len(data))

    def show(self, image: str) -> dict[str, Any]:
        """See Caller."""
        with self._failures():
            found = self._images.get(image)
        return {"status": found["status"], "os_hash_value": found["os_hash_value"]}

    def download(self, image: str) -> bytes:
        """See Caller."""
        with self._failures():
            return b"".join(self._images.data(image))

    def list(self) -> int:
        """See Caller."""
        with self._failures():
            return len(list(self._images.list(limit=PAGE, page_size=PAGE)))

    def rename(self, image: str, name: str) -> None:
        """See Caller."""
        with self._failures():
            self._images.update(image, name=name)

    def delete(self, image: str) -> None:
        """See Caller."""
        with self._failures():
            self._images.delete(image)


KINDS: dict[str, Callable[[str], Caller]] = {"requests": Plain, "openstacksdk": Sdk, "glanceclient": Glanceclient}
