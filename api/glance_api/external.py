"""The API for a WSGI server of the operator's own choice, where ``glance-api`` itself does not run.

    gunicorn --threads 32 'glance_api.external:application()'

Each worker process must make its own application, after the fork: a server that loads it once and forks then would
share connections and lose the background threads. What only our own server does is missing: sockets are not watched for
slow clients, a stop does not wait for transfers, files are sent by the kernel only where the server has a file wrapper,
and no monitor runs beside the workers: no metrics, and ``/healthcheck`` does not know whether the registry works.
"""

import atexit
import logging
from wsgiref.types import WSGIApplication

from glance_api import wsgi
from glance_api.cli import PROG, load, option_table
from glance_api.http.auth import choose
from glance_common.config.findings import findings
from glance_common.config.loading import ConfigError
from glance_common.observability import log
from glance_common.server import ServerState

LOG = logging.getLogger(__name__)


def application() -> WSGIApplication:
    """Return the application for the configuration in its usual places (``OS_GLANCE_CONFIG_DIR``, ``/etc/glance``).

    Raises ConfigError as ``glance-api`` does. Without authentication ``allow_insecure_bind`` must be set,
    because the address is the server's choice and cannot be checked here.
    """
    conf = load([])
    log.setup(conf, PROG)
    flavor = choose(conf)
    if not (flavor.authenticates or conf.allow_insecure_bind):
        raise ConfigError(
            "DEFAULT", "allow_insecure_bind", False,
            f"must be true under flavor {flavor.name or 'none'} and a foreign server, whose address is not checked",
        )
    for line in [*flavor.warnings(), *(each.text for each in findings(conf, option_table(conf)))]:
        LOG.warning("%s", line)
    state = ServerState()
    app = wsgi.application(conf).build(state)
    atexit.register(state.close)
    return app
