"""Layers around the application that operators switch on: a proxy's headers, cross-origin requests.

Each is built only when its option asks for it, so that an unused one costs nothing.
"""

from functools import reduce

from oslo_config import cfg
from oslo_middleware import cors

from glance_api.http.auth.flavors import Layer
from glance_api.http.proxy import ProxyHeaders

CORS_DEFAULTS = {
    "allow_methods": ["GET", "PUT", "POST", "DELETE", "PATCH", "HEAD"],
    "allow_headers": [
        "Content-MD5", "X-Image-Meta-Checksum", "X-Storage-Token", "Accept-Encoding", "X-Auth-Token",
        "X-Identity-Status", "X-Roles", "X-Service-Catalog", "X-User-Id", "X-Tenant-Id", "X-OpenStack-Request-ID",
        "X-OpenStack-Image-Size", "X-Image-Meta-Store", "X-OpenStack-Append", "Range", "If-Range", "If-None-Match",
    ],
    "expose_headers": [
        "X-Image-Meta-Checksum", "X-Auth-Token", "X-Subject-Token", "X-Service-Token", "X-OpenStack-Request-ID",
        "Location", "OpenStack-image-import-methods", "OpenStack-image-store-ids", "Accept-Ranges", "Content-Range",
        "Content-MD5", "ETag", "Retry-After",
    ],
}
"""Those of the original, and then what else the API v2 reads and answers."""


def cors_opts() -> list[cfg.Opt]:
    """Return the options of cross-origin requests with the defaults of an image service."""
    cors.set_defaults(**CORS_DEFAULTS)
    options: list[cfg.Opt] = cors.OPTS
    return options


def outer(conf: cfg.ConfigOpts) -> Layer:
    """Return the layers that come before everything else, as one."""
    layers: list[Layer] = []
    if conf.cors.allowed_origin:
        layers.append(lambda app: cors.CORS(app, conf))
    if conf.oslo_middleware.enable_proxy_headers_parsing:
        layers.append(ProxyHeaders)
    return lambda app: reduce(lambda inner, layer: layer(inner), layers, app)
