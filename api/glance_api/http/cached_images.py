"""Views that the flavor ``cachemanagement`` adds, for tools of the time before ``/v2/cache`` (API section 14.2).

They are the same under ``/v1`` and ``/v2``, whose modules give them their paths.
"""

from typing import Any

from flask import Response

from glance_api.cache.wanted import CachedImage
from glance_api.http.request import answer, context, services, without_body
from glance_api.services import cache as service


def document(image: CachedImage) -> dict[str, Any]:
    """Return a copy as clients see it; times are seconds of the epoch, ``last_accessed`` 0 before the first hit."""
    return {
        "image_id": image.image_id,
        "hits": image.hits,
        "last_accessed": image.last_accessed,
        "last_modified": image.last_modified,
        "size": image.size,
        "checksum": image.checksum,
    }


def nothing(status: int) -> Response:
    """Return an answer without a body, which has no type then."""
    response = Response(status=status)
    del response.headers["Content-Type"]
    return response


@without_body
def index() -> Response:
    """List the images in the cache of this node."""
    found = service.cached(services(), context(), service.MANAGE)
    return answer({"cached_images": [document(image) for image in found]})


@without_body
def clear() -> Response:
    """Remove all images from the cache of this node."""
    return answer({"num_deleted": service.clear(services(), context(), service.MANAGE)})


@without_body
def delete(image_id: str) -> Response:
    """Remove an image from the cache of this node."""
    service.drop(services(), context(), image_id)
    return nothing(200)


@without_body
def queued() -> Response:
    """List the images that are queued for the cache of this node."""
    return answer({"queued_images": service.queued(services(), context(), service.MANAGE)})


@without_body
def clear_queue() -> Response:
    """Empty the queue of this node."""
    return answer({"num_deleted": service.clear_queue(services(), context(), service.MANAGE)})


@without_body
def queue(image_id: str) -> Response:
    """Queue an image for the cache of this node, whether it is there or not."""
    service.queue_unseen(services(), context(), image_id)
    return nothing(200)


@without_body
def dequeue(image_id: str) -> Response:
    """Take an image out of the queue of this node."""
    service.drop_queued(services(), context(), image_id)
    return nothing(200)
