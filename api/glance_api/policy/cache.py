"""Default rules about the image cache (configuration section 10)."""

from glance_api.policy.rules import ADMIN, rule

_CACHE, _IMAGE = "/v2/cache", "/v2/cache/{image_id}"
_CACHED, _QUEUED = "/v2/cached_images", "/v2/queued_images"

RULES = [
    rule("cache_list", ADMIN, "List the images in the cache of a node, and those queued for it.", f"GET {_CACHE}"),
    rule("cache_image", ADMIN, "Queue an image for the cache of a node.", f"PUT {_IMAGE}"),
    rule("cache_delete", ADMIN, "Remove images from the cache of a node and from its queue.", f"DELETE {_CACHE}",
         f"DELETE {_IMAGE}"),
    rule("cache_clean", ADMIN, "Remove damaged and unfinished copies.", "POST /v2/cache/clean"),
    rule("cache_prune", ADMIN, "Remove copies until image_cache_max_size holds.", "POST /v2/cache/prune"),
    rule("list_cached_nodes", ADMIN, "List the nodes that have an image in their caches.",
         "GET /v2/cache/nodes/{image_id}"),
    rule("manage_image_cache", ADMIN, "Use the calls that [paste_deploy] flavor = …+cachemanagement adds.",
         f"GET {_CACHED}", f"DELETE {_CACHED}", f"DELETE {_CACHED}/{{image_id}}", f"GET {_QUEUED}",
         f"DELETE {_QUEUED}", f"PUT {_QUEUED}/{{image_id}}", f"DELETE {_QUEUED}/{{image_id}}"),
]
