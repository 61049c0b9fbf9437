"""What an administrator may ask of the image cache of this node (API section 14.2). No Flask here.

Every function raises PolicyDenied, NotFound when there is no cache, and Unavailable while its directory cannot be used.
"""

from typing import NoReturn

from glance_api.cache.facade import ImageCache
from glance_api.cache.wanted import CachedImage, Pruned, is_cacheable
from glance_api.services import cached_data
from glance_api.services.collaborators import Services
from glance_common.model.context import RequestContext, system_context
from glance_common.model.errors import BadRequest, Conflict, NotFound
from glance_common.model.image import Image
from glance_common.model.status import ImageStatus

MANAGE = "manage_image_cache"
"""The one rule of the calls that the flavor ``cachemanagement`` adds."""


def _allowed(services: Services, context: RequestContext, rule: str) -> ImageCache:
    services.policy.check(context, rule, {})
    return services.cache or _missing()


def _missing() -> NoReturn:
    raise NotFound("this node has no image cache: its option image_cache_dir is not set")


def cached(services: Services, context: RequestContext, rule: str = "cache_list") -> list[CachedImage]:
    """Return the copies, by image id."""
    return _allowed(services, context, rule).cached()


def queued(services: Services, context: RequestContext, rule: str = "cache_list") -> list[str]:
    """Return the queued images, the oldest first."""
    return _allowed(services, context, rule).queued()


def clear(services: Services, context: RequestContext, rule: str = "cache_delete") -> int:
    """Remove all copies and return how many there were."""
    return _allowed(services, context, rule).clear()


def clear_queue(services: Services, context: RequestContext, rule: str = "cache_delete") -> int:
    """Empty the queue and return how many images were in it."""
    return _allowed(services, context, rule).clear_queue()


def clean(services: Services, context: RequestContext) -> None:
    """Remove damaged copies and what does not grow any more."""
    _allowed(services, context, "cache_clean").clean()


def prune(services: Services, context: RequestContext) -> Pruned:
    """Remove the least recently used copies until ``image_cache_max_size`` holds; return what went."""
    return _allowed(services, context, "cache_prune").prune()


def queue(services: Services, context: RequestContext, image_id: str) -> None:
    """Have an image fetched soon. Raises NotFound for one that the caller may not see, BadRequest for one that the
    cache cannot keep."""
    cache = services.cache
    if cache is None:
        services.policy.check(context, "cache_image", {})
        _missing()
    image = services.registry.images.get(context, image_id, locations=True)
    services.policy.check_image(context, "cache_image", image)
    _check_keepable(services, cache, image)
    cache.queue(image.id)


def _check_keepable(services: Services, cache: ImageCache, image: Image) -> None:
    """Raise BadRequest when the workers could never keep the image."""
    if image.status is not ImageStatus.ACTIVE:
        raise BadRequest(f"only an active image can be queued for the cache, this one is {image.status}")
    if not image.size:
        raise BadRequest("the image has no data to be cached")
    if image.size > cache.settings.max_size:
        raise BadRequest(f"the image has {image.size} bytes, image_cache_max_size is {cache.settings.max_size}")
    if cached_data.wanted(services, image) is None:
        raise BadRequest("the image has neither os_hash_value nor checksum, so that a copy of it cannot be verified")


def delete(services: Services, context: RequestContext, image_id: str) -> None:
    """Remove the copy of an image and take it out of the queue.

    Raises NotFound when there is neither an image that the caller may see, nor anything of it in the cache.
    """
    cache = services.cache
    if cache is None:
        services.policy.check(context, "cache_delete", {})
        _missing()
    try:
        image = services.registry.images.get(context, image_id)
    except NotFound:
        # The image may be gone and its copy still here. Others learn nothing of what is here.
        if not services.policy.allows(context, "cache_delete", {}) or not _drop(cache, image_id):
            raise
    else:
        services.policy.check_image(context, "cache_delete", image)
        _drop(cache, image.id)


def _drop(cache: ImageCache, image_id: str) -> bool:
    was_cached, was_queued = cache.drop(image_id), cache.drop_queued(image_id)
    return was_cached or was_queued


def nodes(services: Services, context: RequestContext, image_id: str) -> list[str]:
    """Return the URLs of the nodes that have a copy. Raises Conflict unless the nodes tell the registry of theirs."""
    settings = _allowed(services, context, "list_cached_nodes").settings
    if settings.driver != "centralized_db" or not settings.is_named:
        raise Conflict(
            "the nodes do not share an index of their caches: that needs image_cache_driver = centralized_db and "
            "worker_self_reference_url"
        )
    image = services.registry.images.get(context, image_id)
    # The policy has decided: the registry tells it to the service alone.
    return services.registry.cached_copies.nodes(system_context(context.request_id), image.id)


# --- the calls of the flavor ``cachemanagement``: the image need not exist ---


def queue_unseen(services: Services, context: RequestContext, image_id: str) -> None:
    """Queue an image without a look at it; the workers drop what cannot be fetched. Raises BadRequest for no UUID."""
    _allowed(services, context, MANAGE).queue(_checked(image_id))


def drop(services: Services, context: RequestContext, image_id: str) -> None:
    """Remove the copy of an image, if there is one. Raises BadRequest for no UUID."""
    _allowed(services, context, MANAGE).drop(_checked(image_id))


def drop_queued(services: Services, context: RequestContext, image_id: str) -> None:
    """Take an image out of the queue, if it is in it. Raises BadRequest for no UUID."""
    _allowed(services, context, MANAGE).drop_queued(_checked(image_id))


def _checked(image_id: str) -> str:
    """Return the id in its usual form (S-66)."""
    lower = image_id.lower()
    if not is_cacheable(lower):
        raise BadRequest("image_id: must be the id of an image, a UUID")
    return lower
