"""Layers around the application that operators switch on: a proxy's headers, cross-origin requests.

Each is built only when its option asks for it, so that an unused one costs nothing.
"""

from functools import reduce

from oslo_config import cfg
from oslo_middleware import cors
from werkzeug.middleware.proxy_fix import ProxyFix

from glance_api.http.auth.flavors import Layer

CORS_DEFAULTS = {
    "allow_methods": ["GET", "PUT", "POST", "DELETE", "PATCH"],
    "allow_headers": [
        "Content-MD5", "X-Image-Meta-Checksum", "X-Storage-Token", "Accept-Encoding", "X-Auth-Token",
        "X-Identity-Status", "X-Roles", "X-Service-Catalog", "X-User-Id", "X-Tenant-Id", "X-OpenStack-Request-ID",
    ],
    "expose_headers": [
        "X-Image-Meta-Checksum", "X-Auth-Token", "X-Subject-Token", "X-Service-Token", "X-OpenStack-Request-ID",
    ],
}

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
        layers.append(lambda app: ProxyFix(app, x_for=1, x_proto=1, x_host=1, x_prefix=1))
    return lambda app: reduce(lambda inner, layer: layer(inner), layers, app)
