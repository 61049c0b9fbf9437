"""The paths in v1 of what the flavor ``cachemanagement`` adds (API section 14.2)."""

from flask import Blueprint

from glance_api.http import cached_images as views

blueprint = Blueprint("v1_cached_images", __name__)

_CACHED, _QUEUED = "/v1/cached_images", "/v1/queued_images"

blueprint.get(_CACHED)(views.index)
blueprint.delete(_CACHED)(views.clear)
blueprint.delete(f"{_CACHED}/<image_id>")(views.delete)
blueprint.get(_QUEUED)(views.queued)
blueprint.delete(_QUEUED)(views.clear_queue)
blueprint.put(f"{_QUEUED}/<image_id>")(views.queue)
blueprint.delete(f"{_QUEUED}/<image_id>")(views.dequeue)
