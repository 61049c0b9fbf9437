"""Tokens in memcached: what is missing for it stops the start and is named."""

import sys
from collections.abc import Callable
from typing import Any

import pytest
from keystonemiddleware import opts
from oslo_config import cfg
from tests.unit.api.conftest import make_conf

from glance_api.http.auth import choose
from glance_common.config.loading import ConfigError

SERVERS = ["127.0.0.1:11211"]


@pytest.fixture
def conf() -> Callable[..., cfg.ConfigOpts]:
    """A function that makes the options of a service with Keystone, these of its middleware changed."""

    def make(**changed: Any) -> cfg.ConfigOpts:
        made = make_conf({"paste_deploy.flavor": "keystone"})
        for group, options in opts.list_auth_token_opts():
            made.register_opts(options, group)
        for name, value in changed.items():
            made.set_override(name, value, "keystone_authtoken")
        return made

    return make


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A function that hides a module."""

    def hide(module: str) -> None:
        monkeypatch.delitem(sys.modules, module, raising=False)
        monkeypatch.setattr("glance_api.http.auth.token_cache.find_spec", lambda name: None if name == module else name)

    return hide


def test_memcached_with_its_package(conf):
    assert choose(conf(memcached_servers=SERVERS)).authenticates


@pytest.mark.parametrize("secured", [{}, {"memcache_tls_enabled": True}, {"memcache_sasl_enabled": True}])
def test_memcached_without_its_package(conf, without, secured):
    module, package = ("bmemcached", "python-binary-memcached") if secured else ("memcache", "python-memcached")
    without(module)
    with pytest.raises(ConfigError, match=f"memcached_servers = 127.0.0.1:11211: needs the package {package}"):
        choose(conf(memcached_servers=SERVERS, **secured))
    assert choose(conf()).authenticates, "no memcached, no package"


@pytest.mark.parametrize("strategy", ["MAC", "ENCRYPT", "encrypt"])
def test_a_strategy_without_a_key(conf, strategy):
    with pytest.raises(ConfigError, match=r"memcache_security_strategy = .*needs memcache_secret_key"):
        choose(conf(memcache_security_strategy=strategy))
    assert choose(conf(memcache_security_strategy=strategy, memcache_secret_key="k")).authenticates
