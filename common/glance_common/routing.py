"""What the Flask applications of API and registry have in common."""

from typing import Any

from flask import Flask, Request
from flask.sessions import NullSession, SessionInterface
from werkzeug.routing import BaseConverter, MapAdapter


class RestConverter(BaseConverter):
    """The rest of a path as one text, slashes included: tags and projects may hold any character."""

    regex = r"(?s:.+)"
    part_isolating = False


class RestApplication(Flask):
    """A Flask application of plain views: no sessions, no coroutines, any host name, paths as they were sent.

    Flask's support for the rest would cost a tenth of its own time of a small request.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name, static_folder=None)
        self.session_interface = _NoSessions()
        self.url_map.merge_slashes = False
        self.url_map.converters["rest"] = RestConverter

    def ensure_sync(self, func: Any) -> Any:
        """Return ``func``: no view or hook is a coroutine."""
        return func

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """Return the adapter that finds the route of a request. No route depends on the host, so its name is not
        read."""
        if request is None:
            return None
        environ = request.environ
        return MapAdapter(
            self.url_map,
            server_name="",
            script_name="/",
            subdomain="",
            url_scheme=environ["wsgi.url_scheme"],
            path_info=environ["PATH_INFO"].encode("latin-1").decode(errors="replace"),
            default_method=environ["REQUEST_METHOD"],
            query_args=environ.get("QUERY_STRING", ""),
        )


class _NoSessions(SessionInterface):
    def __init__(self) -> None:
        self._none = NullSession()

    def open_session(self, app: Flask, request: Request) -> NullSession:  # noqa: ARG002 - Flask's signature
        return self._none

    def save_session(self, *_args: Any) -> None:
        """Keep nothing. Flask calls this only for sessions that this class does not make."""
