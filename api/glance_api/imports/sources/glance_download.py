"""glance-download: an image of the same project in another region (API section 11.2).

The endpoint comes from the service catalog that Keystone put beside the caller's token, never from the caller. The
token goes to that endpoint only, and redirects are refused (security section 3, S-22).
"""

import hashlib
import logging
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import orjson

from glance_api.content.streams import DamagedData, verified
from glance_api.imports.contract import ImportChanges, ImportFailed, ImportSource
from glance_api.imports.sources.body import announced_size, pieces_of, refuse_encoded
from glance_common.fetch.guards import ExchangeLimits
from glance_common.fetch.url_filter import UrlFilter, UrlRefused, parse
from glance_common.fetch.url_session import FetchFailed, Response, UrlSession
from glance_common.model import service_catalog as catalogs
from glance_common.model.errors import TooLarge
from glance_common.model.property_names import is_allowed

LOG = logging.getLogger(__name__)

INTERFACES = ("public", "internal", "admin")


@dataclass(frozen=True, slots=True)
class Remote:
    """The image service of another region, and the caller's token for it."""

    endpoint: str
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class DownloadRules:
    """``cap``: the largest image in bytes; ``prefixes``: of the properties that are copied; ``verify``: false, true or
    a file of CA certificates; ``limits``: of each exchange."""

    cap: int
    prefixes: tuple[str, ...]
    verify: bool | str = True
    limits: ExchangeLimits = field(default_factory=ExchangeLimits)


def find_endpoint(catalog: str | None, region: str, interface: str = "public") -> str:
    """Return the URL of the image service in ``region`` from an ``X-Service-Catalog`` header.

    Raises ImportFailed naming the field for an unknown interface, and for a region or interface that the catalog lacks.
    """
    if interface not in INTERFACES:
        raise ImportFailed(f"glance_service_interface must be one of {', '.join(INTERFACES)}")
    url = catalogs.find_endpoint(catalog, "image", interface, region)
    if url is None:
        raise ImportFailed(f"glance_region: the service catalog has no {interface} endpoint of an image service there")
    return url


@contextmanager
def open_source(remote: Remote, image_id: str, rules: DownloadRules) -> Iterator[ImportSource]:
    """Open the image ``image_id`` of ``remote`` within the block.

    The facts have formats and the properties that may be copied. Raises ImportFailed when the remote has no such active
    image, gives no answer or sends other bytes than its record promises, TooLarge when it is larger than the cap.
    """
    service = _Service(remote, rules)
    with service.get(f"/v2/images/{image_id}", document=True) as response:
        image = _document(response)
    size = _checked_size(image, rules.cap)
    with service.get(f"/v2/images/{image_id}/file") as response:
        refuse_encoded(response)
        announced = announced_size(response)
        if announced is not None and announced != size:
            raise ImportFailed(f"the remote image has {size} bytes, but its data have {announced}")
        pieces = _checked(pieces_of(response, size), size, image)
        yield ImportSource(pieces, size, _facts(image, rules.prefixes))


class _Service:
    """Asks one endpoint. The filter lets through the host of the endpoint and no other."""

    def __init__(self, remote: Remote, rules: DownloadRules) -> None:
        base = remote.endpoint.rstrip("/")
        self._base = base.removesuffix("/v2") if base.endswith("/v2") else base
        self._token = remote.token
        self._session = UrlSession(_only(self._base), verify=rules.verify, limits=rules.limits, follow=())

    def get(self, path: str, *, document: bool = False) -> Response:
        """Return the answer with status 200, its body unread; ``document`` as the session's. Raises ImportFailed."""
        sent = {"X-Auth-Token": self._token}
        try:
            response = self._session.request("GET", self._base + path, sent, document=document)
        except (FetchFailed, UrlRefused) as error:
            LOG.warning("glance-download: %s", error)
            raise ImportFailed("the remote image service does not answer") from None
        if response.status_code != 200:
            response.close()
            raise ImportFailed(f"the remote image service answered {response.status_code}{_meaning(response)}")
        return response


def _only(url: str) -> UrlFilter:
    """Return a filter that lets through the host of ``url`` alone, whatever its port and address: the operator named
    it in the catalog. Raises ImportFailed for something that is no http or https URL."""
    try:
        host = parse(url).host
    except UrlRefused as error:
        LOG.warning("glance-download: the endpoint in the service catalog: %s", error)
        raise ImportFailed("the endpoint of the remote image service is not a usable URL") from None
    rules = SimpleNamespace(
        allowed_schemes=[], disallowed_schemes=[], allowed_ports=[], disallowed_ports=[],
        allowed_hosts=[host], disallowed_hosts=[], allow_private_networks=True,
    )
    return UrlFilter(rules)


def _meaning(response: Response) -> str:
    if response.is_redirect:
        return " (a redirect, which is not followed)"
    return {401: " (it does not accept the token)", 403: " (the caller may not)", 404: " (it has no such image)",
            204: " (the image has no data)"}.get(response.status_code, "")


def _document(response: Response) -> dict[str, Any]:
    text = b"".join(pieces_of(response, announced_size(response)))
    try:
        document = orjson.loads(text)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise ImportFailed("the remote image service sent no image document")
    return document


def _checked_size(image: Mapping[str, Any], cap: int) -> int:
    if image.get("status") != "active":
        raise ImportFailed("the remote image is not active")
    size = image.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise ImportFailed("the remote image has no size")
    if size > cap:
        raise TooLarge(f"the remote image has {size} bytes; image_size_cap is {cap} bytes")
    return size


def _checked(pieces: Iterator[bytes], size: int, image: Mapping[str, Any]) -> Iterator[bytes]:
    """Yield the pieces; the last one only when the whole has the digest that the remote recorded, where we know it."""
    algorithm, digest = image.get("os_hash_algo"), image.get("os_hash_value")
    known = isinstance(algorithm, str) and algorithm in hashlib.algorithms_guaranteed and isinstance(digest, str)
    if not known or str(algorithm).startswith("shake"):
        yield from pieces
        return
    try:
        yield from verified(pieces, size, str(algorithm), str(digest))
    except DamagedData:
        raise ImportFailed("the data are not those that the remote image service recorded") from None


def _facts(image: Mapping[str, Any], prefixes: Collection[str]) -> ImportChanges:
    formats = {name: image.get(name) for name in ("disk_format", "container_format")}
    if not all(isinstance(value, str) and value for value in formats.values()):
        raise ImportFailed("the remote image has no disk_format or container_format")
    return ImportChanges(
        disk_format=str(formats["disk_format"]),
        container_format=str(formats["container_format"]),
        properties={
            name: value
            for name, value in image.items()
            if name.startswith(tuple(prefixes)) and isinstance(value, str) and is_allowed(name)
        },
    )
