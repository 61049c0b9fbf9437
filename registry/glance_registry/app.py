"""The registry as a Flask application."""

from flask import Flask
from sqlalchemy import Engine

from glance_common.health_switches import HealthSwitches
from glance_common.model.context import ContextSigner
from glance_common.routing import RestApplication
from glance_registry import hooks
from glance_registry.housekeeping import Ages, Housekeeping
from glance_registry.readiness import Readiness
from glance_registry.records.bounds import Bounds
from glance_registry.views import (
    cached_copies,
    delete,
    deletions,
    health,
    images,
    locations,
    members,
    metadefs,
    operations,
    parsing,
    steps,
    stores,
    tags,
    tasks,
    uploads,
    usage,
    verification,
)

MAX_BODY = 16 * 2**20
"""Bytes of a request body: far above any image document, far below what would hurt."""

BLUEPRINTS = (
    health.blueprint,
    images.blueprint,
    tags.blueprint,
    members.blueprint,
    uploads.blueprint,
    operations.blueprint,
    steps.blueprint,
    tasks.blueprint,
    locations.blueprint,
    delete.blueprint,
    deletions.blueprint,
    verification.blueprint,
    stores.blueprint,
    cached_copies.blueprint,
    usage.blueprint,
    metadefs.blueprint,
)


def create_app(
    engine: Engine, signer: ContextSigner, bounds: Bounds | None = None, ages: Ages | None = None,
    switches: HealthSwitches | None = None,
) -> Flask:
    """Return the application on ``engine``, open to those who hold a secret of ``signer``; None: the defaults."""
    app = RestApplication("glance_registry")
    app.config[parsing.ENGINE] = engine
    app.config[parsing.BOUNDS] = bounds or Bounds()
    app.config[health.SWITCHES] = switches or HealthSwitches()
    app.config[parsing.HOUSEKEEPING] = Housekeeping(engine, ages or Ages())
    app.config[health.READINESS] = readiness = Readiness(engine)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    hooks.install(app, signer, readiness.check)
    for blueprint in BLUEPRINTS:
        app.register_blueprint(blueprint)
    return app
