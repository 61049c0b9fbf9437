"""The paths in v2 of what the flavor ``cachemanagement`` adds (API section 14.2)."""

from flask import Blueprint

from glance_api.http import cached_images as views
from glance_api.v2.cache import CACHED, QUEUED, object_of
from glance_api.v2.operations import json_of, operation

blueprint = Blueprint("v2_cached_images", __name__)

_CACHED, _QUEUED = "/v2/cached_images", "/v2/queued_images"
_DELETED = operation(answers={200: json_of(object_of(num_deleted={"type": "integer"}))})
_DONE = operation(answers={200: None})

blueprint.get(_CACHED)(operation(answers={200: json_of(object_of(cached_images=CACHED))})(views.index))
blueprint.delete(_CACHED)(_DELETED(views.clear))
blueprint.delete(f"{_CACHED}/<image_id>")(_DONE(views.delete))
blueprint.get(_QUEUED)(operation(answers={200: json_of(object_of(queued_images=QUEUED))})(views.queued))
blueprint.delete(_QUEUED)(_DELETED(views.clear_queue))
blueprint.put(f"{_QUEUED}/<image_id>")(_DONE(views.queue))
blueprint.delete(f"{_QUEUED}/<image_id>")(_DONE(views.dequeue))
