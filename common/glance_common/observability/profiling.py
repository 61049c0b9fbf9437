"""Traces of single requests through the services, by OSProfiler (options ``[profiler]``).

Only requests whose trace headers are signed with one of ``hmac_keys`` are traced, so the layer costs other requests one
look at a header; without ``enabled`` it is not there at all.
"""

import logging
import socket
from collections.abc import Callable, Mapping
from typing import Any

from oslo_config import cfg

from glance_common.config.loading import ConfigError

LOG = logging.getLogger(__name__)

OPTS: list[cfg.Opt] = [
    cfg.BoolOpt(
        "enabled", default=False, deprecated_name="profiler_enabled",
        help="Trace requests that carry signed trace headers.",
    ),
    cfg.StrOpt(
        "hmac_keys", default="SECRET_KEY", secret=True,
        help="Keys of trace headers, separated by commas; a caller who has one may have requests traced.",
    ),
    cfg.StrOpt(
        "connection_string", default="messaging://", secret=True,
        help="Where spans go, for example redis://127.0.0.1:6379 or otlp://127.0.0.1:4318.",
    ),
]

_EXTRA = "needs the package osprofiler: install glance-services[profiler]"


def layer(conf: cfg.ConfigOpts, service: str) -> Callable[[Any], Any]:
    """Return what wraps the WSGI application of ``service``, and start its notifier in this process.

    Raises ConfigError when profiling is on and cannot work: the package is missing, or the spans can go nowhere.
    """
    options = conf.profiler
    if not options.enabled:
        return lambda app: app
    try:
        from osprofiler import initializer, notifier, opts, web
    except ImportError:
        raise ConfigError("profiler", "enabled", True, _EXTRA) from None
    own = cfg.ConfigOpts()
    own([], project="glance", default_config_files=[], default_config_dirs=[])
    opts.set_defaults(
        own, enabled=True, hmac_keys=options.hmac_keys, connection_string=options.connection_string
    )
    try:
        initializer.init_from_conf(own, context={}, project="glance", service=service, host=socket.gethostname())
    except Exception as error:
        reason = f"the place for spans cannot be used: {type(error).__name__}"
        raise ConfigError("profiler", "connection_string", "***", reason) from error
    notifier.set(_harmless(notifier.get()))
    return lambda app: web.WsgiMiddleware(app, hmac_keys=options.hmac_keys, enabled=True)


def _harmless(notify: Callable[..., None]) -> Callable[..., None]:
    """Return ``notify`` so that a place for spans that is down costs the span and never the request."""

    def send(info: dict[str, Any]) -> None:
        try:
            notify(info)
        except Exception as error:
            LOG.warning("a span of the profiler was lost: %s", type(error).__name__)

    return send


def trace_headers(conf: cfg.ConfigOpts) -> Callable[[], Mapping[str, str]] | None:
    """Return the function that gives the headers which carry the running trace to the next service; None when off."""
    if not conf.profiler.enabled:
        return None
    from osprofiler import web

    headers: Callable[[], Mapping[str, str]] = web.get_trace_id_headers
    return headers
