"""The Flask application of the API."""

from flask import Flask

from glance_api.collaborators import Glance


def create_app(glance: Glance) -> Flask:
    """Return the application that answers with the help of ``glance``."""
    app = Flask("glance_api", static_folder=None)
    app.extensions["glance"] = glance
    return app
