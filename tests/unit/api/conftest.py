"""The API with everything behind it replaced, so that its HTTP face can be seen alone."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from oslo_config import cfg
from tests.support.api_calls import Caller
from tests.unit.api.fake_registry import FakeRegistry

from glance_api import config as api_config
from glance_api import policy
from glance_api.app import create_app
from glance_api.cache.facade import ImageCache
from glance_api.cache.settings import CacheSettings
from glance_api.clients.key_manager import KeyManager
from glance_api.http.auth import choose
from glance_api.http.collaborators import HttpServices
from glance_api.imports.signals import WorkSignal
from glance_api.policy import properties
from glance_api.policy.enforcer import Enforcer
from glance_api.services import limits
from glance_api.services.collaborators import Services
from glance_api.settings import Settings
from glance_api.transfers.permits import RemoteChecks
from glance_common.config import loading
from glance_common.fetch.url_filter import UrlFilter
from glance_common.notifications import Notifications, NotificationSettings
from glance_common.stores.contract import Capabilities, UnknownStore

Options = dict[str, Any]


def make_conf(options: Options | None = None, files: list[str] | None = None) -> cfg.ConfigOpts:
    """Return the options of glance-api; names are ``option`` or ``group.option``."""
    conf = cfg.ConfigOpts()
    loading.register(conf, [*api_config.list_opts(), *policy.list_opts()])
    conf([], project="glance", prog="glance-api", default_config_files=files or [])
    for name, value in (options or {}).items():
        group, _, option = name.rpartition(".")
        conf.set_override(option, value, group or None)
    return conf


@dataclass
class Api(Caller):
    """The application and the fakes behind it."""

    registry: FakeRegistry
    published: list[str]


@pytest.fixture
def make_api() -> Callable[..., Api]:
    """Build an API with these options changed."""

    def make(conf: cfg.ConfigOpts | None = None, **options: Any) -> Api:
        conf = conf or make_conf({name.replace("__", "."): value for name, value in options.items()})
        registry: Any = FakeRegistry()
        published: list[str] = []
        fakes: dict[str, Any] = {
            "registry": registry, "stores": FakeStores(),
            "deletes": SimpleNamespace(publish=lambda ids, _request_id: published.extend(ids)),
            "leases": SimpleNamespace(seconds=60), "staging": FakeStore("here"), "task_store": FakeStore("here"),
        }
        enforcer = Enforcer(conf)
        services = Services(
            settings=Settings.from_conf(conf),
            notifications=Notifications(NotificationSettings()),
            keys=KeyManager(conf),
            policy=enforcer,
            protections=properties.load(conf, enforcer),
            remote_checks=RemoteChecks(8, 15.0),
            limits=limits.source(conf),
            url_filter=UrlFilter.from_conf(conf, lambda _host, _port: ["93.184.216.34"]),
            work=WorkSignal(),
            cache=opened_cache(conf),
            **fakes,
        )
        unused: dict[str, Any] = {"permits": None, "readers": None}
        http = HttpServices(**unused, manages_cache=choose(conf).manages_cache)
        app = create_app(services, http, lambda inner: inner)
        app.testing = True
        return Api(app, registry, published)

    return make


def opened_cache(conf: cfg.ConfigOpts) -> ImageCache | None:
    """Return the image cache that the options ask for; it has no workers."""
    settings = CacheSettings.from_conf(conf)
    if settings is None:
        return None
    cache = ImageCache(settings)
    cache.open()
    return cache


class FakeStores:
    """Three stores, as the loader holds them; ``web`` takes no data."""

    ids = ("fast", "slow", "web")

    @property
    def default(self) -> "FakeStore":
        return self.get("fast")

    def get(self, name: str) -> "FakeStore":
        if name not in self.ids:
            raise UnknownStore(name)
        return FakeStore(name)

    def __iter__(self) -> Iterator["FakeStore"]:
        return map(FakeStore, self.ids)


class FakeStore:
    """A store that only knows its own name and what an URL of it looks like."""

    def __init__(self, name: str) -> None:
        self.id = name
        self.weight = {"fast": 10}.get(name, 0)
        schemes = ("http",) if name == "web" else ()
        self.capabilities = Capabilities(schemes, add=name != "web", delete=True, ranges=True)

    def url(self, key: str) -> str:
        return f"{self.id}://{key}"


@pytest.fixture
def api(make_api: Callable[..., Api]) -> Api:
    """The API with the default options."""
    return make_api()
