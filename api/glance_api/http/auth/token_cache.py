"""Where Keystone's middleware keeps tokens: what ``[keystone_authtoken]`` asks for must be there at the start.

The middleware looks for it with the first request only, and each request would fail.
"""

from importlib.util import find_spec

from keystonemiddleware import opts
from oslo_config import cfg

from glance_common.config.loading import ConfigError

_GROUP = "keystone_authtoken"


def check(conf: cfg.ConfigOpts) -> None:
    """Raise ConfigError when tokens cannot be kept in memcached as configured."""
    for group, options in opts.list_auth_token_opts():
        conf.register_opts(options, group)
    chosen = conf[_GROUP]
    if chosen.memcache_security_strategy.lower() != "none" and not chosen.memcache_secret_key:
        strategy = chosen.memcache_security_strategy
        raise ConfigError(_GROUP, "memcache_security_strategy", strategy, "needs memcache_secret_key")
    if not chosen.memcached_servers:
        return
    module, package = "memcache", "python-memcached"
    if chosen.memcache_tls_enabled or chosen.memcache_sasl_enabled:
        module, package = "bmemcached", "python-binary-memcached"
    if find_spec(module) is None:
        reason = f"needs the package {package}: pip install {package}"
        raise ConfigError(_GROUP, "memcached_servers", ",".join(chosen.memcached_servers), reason)
