"""A URL that a caller wants to be the data of an image: whose it is, whether it can be read, and its digests.

A location is refused when a store of ours would delete foreign data with it, or when it leads to the inner network:
S-08, S-09, S-10, S-32; API sections 7.1 and 16.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from glance_api.content.formats import Inspection
from glance_api.imports.sources.web_download import check_uri
from glance_api.services.collaborators import CheckServices
from glance_api.services.locations import in_place
from glance_api.services.store_errors import as_api_error
from glance_common.model.context import RequestContext
from glance_common.model.errors import BadRequest, Conflict, Forbidden, TooLarge
from glance_common.model.image import Image
from glance_common.model.status import ImageStatus
from glance_common.stores.contract import (
    BadLocation,
    LocationRefused,
    Store,
    StoreError,
    StoreUnavailable,
    UnknownStore,
)

SERVICE_ROLE = "service"

_MD5_LENGTH = 32
_HEXADECIMAL = re.compile(r"[0-9a-fA-F]+")


@dataclass(frozen=True, slots=True)
class ValidationData:
    """What the caller says about the data: an algorithm and its digest, and the MD5 digest, all in hexadecimal."""

    os_hash_algo: str
    os_hash_value: str
    checksum: str | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """Data that were found under a URL: ``size`` in bytes; ``key`` is what the store calls them."""

    store: Store
    key: str
    size: int

    @property
    def is_external(self) -> bool:
        """Whether the service never deletes the data, so that several images may point at them."""
        return not self.store.capabilities.delete


def check_source(services: CheckServices, context: RequestContext, field: str, url: str) -> None:
    """Raise BadRequest, which names ``field``, for a URL from which nothing may be imported.

    The name of the host is looked up: Unavailable when too many requests wait for other servers.
    """
    with services.remote_checks.permit(context.project_id):
        check_uri(services.url_filter, field, url)


def find(services: CheckServices, context: RequestContext, image: Image, url: str) -> Found:
    """Return the data under ``url``, which may become those of ``image`` at once.

    Raises as ``locate``; BadRequest while the image has no formats, UnsupportedMediaType when the data are unsafe or
    are not of these formats, as an upload of them would (S-34, S-36).
    """
    for name in ("disk_format", "container_format"):
        if getattr(image, name) is None:
            raise BadRequest(f"{name} must be set before the image can have data")
    with services.remote_checks.permit(context.project_id):
        found = locate(services, context, image, url)
        inspection = Inspection(image.disk_format or "", image.container_format or "", services.settings.format_rules)
        with _asking(found.store):
            in_place.inspect(found.store, found.key, found.size, inspection)
    return found


def locate(services: CheckServices, context: RequestContext, image: Image, url: str) -> Found:
    """Return the data under ``url``, of which nothing but the size is looked at.

    Raises BadRequest for a scheme or URL that users may not register, and for data that cannot be read, are empty or
    not as long as the image; Forbidden for foreign data in a store that would delete them with this image; TooLarge
    above ``image_size_cap``; Unavailable when too many requests wait for such servers. No text tells whether anything
    answered at a port (S-27).
    """
    try:
        store, key = services.stores.user_location(url)
    except (BadLocation, UnknownStore) as error:
        raise BadRequest(f"url: {error}") from None
    _check_owner(context, image, store, key)
    with services.remote_checks.permit(context.project_id):
        return _look(services, image, store, key)


def _look(services: CheckServices, image: Image, store: Store, key: str) -> Found:
    """Ask the store how many bytes there are."""
    with _asking(store):
        size = store.size(key)
    if size <= 0:
        raise BadRequest("url: the store does not say how many bytes there are, or there are none")
    if size > services.settings.image_size_cap:
        raise TooLarge(f"the image is larger than image_size_cap, {services.settings.image_size_cap} bytes")
    if image.size not in (None, size):
        raise BadRequest(f"url: there are {size} bytes, but the image has {image.size}")
    return Found(store, key, size)


def _check_owner(context: RequestContext, image: Image, store: Store, key: str) -> None:
    """Raise Forbidden unless the data may be deleted together with this image.

    The registry's unique key keeps bytes from getting a second owner. It cannot know of data that never were ours,
    so other callers than services and administrators can name only data that were made for this image.
    """
    if not store.capabilities.delete or context.is_admin or SERVICE_ROLE in context.all_roles:
        return
    if key.partition(".")[0].lower() != image.id:
        raise Forbidden(f"url: in the store {store.id} you may register only data with the id of this image")


@contextmanager
def _asking(store: Store) -> Iterator[None]:
    """Answer 503 when an own store is down, and the same 400 for every other error of the block (S-27).

    What the rules forbid is known before any server is asked, so the answer may name the rule.
    """
    refused = BadRequest(f"url: the store {store.id} finds no data that it may read there")
    try:
        yield
    except StoreUnavailable as error:
        if store.capabilities.delete:
            raise as_api_error(error, store.id) from error
        raise refused from None
    except LocationRefused as error:
        raise BadRequest(f"url: {error}") from None
    except StoreError:
        raise refused from None


def digests(image: Image, given: Iterable[ValidationData], algorithm: str) -> dict[str, Any]:
    """Return which digests of ``image`` the validation data set, none when it has the same already.

    Raises Conflict for malformed digests, another algorithm than the configured one, contradictions, and for new
    digests of an image that has data already.
    """
    wanted: dict[str, Any] = {}
    for data in given:
        if data.os_hash_algo != algorithm:
            raise Conflict(f"validation_data: os_hash_algo must be {algorithm}")
        for problem in problems(data):
            raise Conflict(f"validation_data: {problem}")
        for name in ("os_hash_algo", "os_hash_value", "checksum"):
            value = getattr(data, name)
            if value is not None and wanted.setdefault(name, value.lower()) != value.lower():
                raise Conflict(f"validation_data: two values of {name} in one request")
    for name, value in wanted.items():
        known = getattr(image, name)
        if known is not None and known != value:
            raise Conflict(f"validation_data: {name} differs from the image's")
        if known is None and image.status is not ImageStatus.QUEUED:
            raise Conflict(f"validation_data: {name} can only be set while the image is queued")
    return wanted


def problems(data: ValidationData) -> list[str]:
    """Return what is malformed in ``data``."""
    try:
        length = hashlib.new(data.os_hash_algo).digest_size * 2
    except ValueError:
        return [f"there is no algorithm {data.os_hash_algo!r}"]
    found = []
    if not _is_hex(data.os_hash_value, length):
        found.append(f"os_hash_value must have {length} hexadecimal digits for {data.os_hash_algo}")
    if data.checksum is not None and not _is_hex(data.checksum, _MD5_LENGTH):
        found.append(f"checksum must have {_MD5_LENGTH} hexadecimal digits")
    return found


def _is_hex(text: str, length: int) -> bool:
    return len(text) == length and _HEXADECIMAL.fullmatch(text) is not None
