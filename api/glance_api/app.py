"""The API as a WSGI application: the routes, and the layers around them."""

from flask import Blueprint, Flask

from glance_api.http import compression, health, hooks
from glance_api.http.access_log import AccessLog
from glance_api.http.auth.flavors import Layer
from glance_api.http.collaborators import HttpServices
from glance_api.http.versions import Versions, current
from glance_api.services.collaborators import Services
from glance_api.v1 import cached_images as v1_cached_images
from glance_api.v1 import images as v1_images
from glance_api.v1 import members as v1_members
from glance_api.v2 import (
    actions,
    cache,
    cached_images,
    data,
    images,
    imports,
    locations,
    members,
    openapi,
    schemas,
    stores,
    tags,
    tasks,
    usage,
)
from glance_api.v2.metadefs import fields as metadef_fields
from glance_api.v2.metadefs import namespaces as metadef_namespaces
from glance_api.v2.metadefs import objects as metadef_objects
from glance_api.v2.metadefs import properties as metadef_properties
from glance_api.v2.metadefs import resource_types as metadef_resource_types
from glance_api.v2.metadefs import schemas as metadef_schemas
from glance_api.v2.metadefs import tags as metadef_tags
from glance_common.routing import RestApplication

BLUEPRINTS = (
    health.blueprint,
    images.blueprint,
    data.blueprint,
    actions.blueprint,
    tags.blueprint,
    members.blueprint,
    locations.blueprint,
    stores.blueprint,
    imports.blueprint,
    tasks.blueprint,
    schemas.blueprint,
    usage.blueprint,
    cache.blueprint,
    metadef_namespaces.blueprint,
    metadef_properties.blueprint,
    metadef_objects.blueprint,
    metadef_tags.blueprint,
    metadef_resource_types.blueprint,
    metadef_schemas.blueprint,
    openapi.blueprint,
)
V1_BLUEPRINTS = (v1_images.blueprint, v1_members.blueprint)
CACHE_MANAGEMENT = (cached_images.blueprint,)
V1_CACHE_MANAGEMENT = (v1_cached_images.blueprint,)


def blueprints(*, with_v1: bool, manages_cache: bool) -> tuple[Blueprint, ...]:
    """Return the routes that the options ask for."""
    v2 = (*BLUEPRINTS, *(CACHE_MANAGEMENT if manages_cache else ()))
    v1 = (*V1_BLUEPRINTS, *(V1_CACHE_MANAGEMENT if manages_cache else ()))
    return (*v2, *(v1 if with_v1 else ()))


def create_app(services: Services, http: HttpServices, authenticate: Layer, outer: Layer = lambda app: app) -> Flask:
    """Return the application that works with these services; ``authenticate`` says who is calling.

    A request passes the layers from the outside in: its id and log line, what ``outer`` adds, the version documents
    (which need no token), authentication, the routes.
    """
    app = RestApplication("glance_api")
    app.extensions["glance"] = services
    app.extensions["glance_http"] = http
    # An OPTIONS that answers by itself would be a route without a policy rule.
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    hooks.install(app)
    schemas.install(app, services.settings, metadef_fields.DOCUMENTS)
    if services.settings.compress_documents:
        app.after_request(compression.compressed)
    settings = services.settings
    for blueprint in blueprints(with_v1=settings.enable_v1_api, manages_cache=http.manages_cache):
        app.register_blueprint(blueprint)
    with_cache = services.cache is not None
    openapi.install(app, settings, current(with_cache))
    behind = authenticate(app.wsgi_app)
    versions = Versions(
        behind, multi_store=settings.multi_store, with_v1=settings.enable_v1_api, with_cache=with_cache,
        public_endpoint=settings.public_endpoint,
    )
    app.wsgi_app = AccessLog(outer(versions), settings.max_request_id_length)  # type: ignore[method-assign]  # as Flask documents it
    return app
