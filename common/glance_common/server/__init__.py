"""How glance-api and glance-registry serve HTTP: gunicorn with limits on what a client may keep busy.

    settings, application = load()
    serve(settings, application, name="glance-api", on_reload=load)

``Command`` does that as a console script.

``application.build(state)`` makes the WSGI application in each worker process, after the fork: threads, sockets and
connection pools belong there. ``application.watch()`` says in the monitor process what the service depends on.
``on_reload`` reads the configuration again after HUP and returns the same pair; when it raises, the running
configuration stays.
"""

from glance_common.server.command import Command
from glance_common.server.intake import RequestHead
from glance_common.server.master import Application, Reload, serve
from glance_common.server.minimum_rate import MinimumRate
from glance_common.server.settings import ServerSettings, list_opts
from glance_common.server.state import ServerState

__all__ = [
    "Application", "Command", "MinimumRate", "Reload", "RequestHead", "ServerSettings", "ServerState", "list_opts",
    "serve",
]
