"""From options to the running application: the one place that chooses the collaborators."""

import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from flask import Flask
from oslo_config import cfg

from glance_api.app import create_app
from glance_api.background.bootstrap import build_pool
from glance_api.background.cache_work import build_cache_pool
from glance_api.cache import monitoring
from glance_api.cache.facade import ImageCache
from glance_api.cache.settings import CacheSettings
from glance_api.clients.key_manager import KeyManager
from glance_api.http.auth import choose
from glance_api.http.bodies import is_transfer
from glance_api.http.collaborators import HttpServices
from glance_api.http.middleware import outer
from glance_api.imports.signals import WorkSignal
from glance_api.policy import properties
from glance_api.policy.enforcer import Enforcer
from glance_api.services import limits
from glance_api.services.collaborators import Services, Staging
from glance_api.settings import Settings
from glance_api.transfers import accel
from glance_api.transfers.permits import RemoteChecks, TransferPermits
from glance_common.config.loading import read_secrets
from glance_common.delete_queue import DeletePublisher
from glance_common.delete_queue.depth import QueueDepth
from glance_common.fetch.url_filter import UrlFilter
from glance_common.leases import LeaseKeeper
from glance_common.messaging.connection import parse_broker
from glance_common.monitor import dependencies
from glance_common.monitor.monitor import Watched
from glance_common.monitor.probes import Probe
from glance_common.notifications import Notifications
from glance_common.notifications import options as notifications
from glance_common.observability import profiling
from glance_common.observability.metrics.catalog import REMOTE_CHECKS, TRANSFERS
from glance_common.registry_client import RegistryClient, connect
from glance_common.server import Application, ServerState
from glance_common.stores.loader import load_stores, places
from glance_common.stores.reserved import load_staging, load_tasks

LOG = logging.getLogger(__name__)

SPARE_THREADS = 4
"""Threads that transfers never take, so that metadata calls are always answered."""

LEFT_THREADS = 2
"""Threads that are left for them when all transfers and all requests that wait for other servers are under way."""

CACHE_SECONDS = 5.0
"""Seconds between two looks at the directory of the image cache."""


def application(conf: cfg.ConfigOpts) -> Application:
    """Return what builds the application in each worker process, after the fork, and what is watched.

    Raises ConfigError for every setting that would keep a worker from starting: all is built once here and thrown away.
    """
    secrets = read_secrets(conf.registry.context_secret_file)
    layer = choose(conf).layer
    services = build(conf, secrets)
    create_app(services, build_http(conf, ServerState()), layer, outer(conf))
    build_pool(conf, services, lambda: False)
    profiling.layer(conf, "api")

    def make(state: ServerState) -> Flask:
        services, http = build(conf, secrets), build_http(conf, state)
        services.deletes.start()
        services.notifications.start()
        TRANSFERS.labels("limit").set(http.permits.limit)
        REMOTE_CHECKS.labels("limit").set(services.remote_checks.limit)
        state.at_stop(services.registry.close)
        state.at_stop(http.readers.shutdown)
        state.at_stop(services.deletes.stop)
        state.at_stop(services.notifications.stop)
        if services.cache is not None:
            start_cache(services, services.cache, state)
        workers = build_pool(conf, services, state.stopping.is_set)
        workers.start()
        state.at_stop(workers.stop)
        profiled = profiling.layer(conf, "api")
        return create_app(services, http, lambda app: profiled(layer(app)), outer(conf))

    def watch() -> Watched:
        registry = connect(conf, secrets)
        queue = QueueDepth(parse_broker(conf.transport_url))
        watched = dependencies.watched(registry, load_stores(conf, registry.stores), queue)
        settings = CacheSettings.from_conf(conf)
        return watched if settings is None else with_cache(watched, settings)

    return Application(make, watch, is_transfer)


def cache_directories(conf: cfg.ConfigOpts) -> Sequence[str]:
    """Return the directory of the image cache, from which a proxy may send too, or nothing."""
    settings = CacheSettings.from_conf(conf)
    return [] if settings is None else [settings.directory]


def image_cache(conf: cfg.ConfigOpts, registry: RegistryClient, staging: Iterable[Staging]) -> ImageCache | None:
    """Return the image cache, which is not open yet; None when it is off. Raises ConfigError."""
    settings = CacheSettings.from_conf(conf)
    if settings is None:
        return None
    settings.check_apart((*(place for place, _ in places(conf)), *(str(store.directory) for store in staging)))
    return ImageCache(settings, registry.cached_copies)


def start_cache(services: Services, cache: ImageCache, state: ServerState) -> None:
    """Use the cache in this process, and work for it; it says when it cannot be used, and is tried again."""
    cache.open()
    state.at_stop(cache.close)
    workers = build_cache_pool(services, cache, state.stopping.is_set)
    workers.start()
    state.at_stop(workers.stop)
    # Called first: what the workers do ends by it.
    state.at_stop(cache.interrupt)


def with_cache(watched: Watched, settings: CacheSettings) -> Watched:
    """Return what is watched, with the directory of the image cache."""
    probe = Probe("image cache", settings.directory, lambda: monitoring.check(settings), interval=CACHE_SECONDS)
    return replace(
        watched, probes=(*watched.probes, probe),
        collectors=(*watched.collectors, monitoring.CacheNumbers(settings)),
    )


def build_http(conf: cfg.ConfigOpts, state: ServerState) -> HttpServices:
    """Return what only the HTTP side of one process works with; no thread runs yet. Raises ConfigError."""
    permits = transfer_permits(conf, state.stopping.is_set)
    return HttpServices(
        permits=permits,
        readers=ThreadPoolExecutor(permits.limit, thread_name_prefix="read-ahead"),
        cache_permits=cache_permits(conf, permits, state.stopping.is_set),
        accel=accel.parse(conf, (*(place for place, _ in places(conf)), *cache_directories(conf))),
        is_down=state.is_down,
        manages_cache=choose(conf).manages_cache,
    )


def build(conf: cfg.ConfigOpts, secrets: Sequence[bytes]) -> Services:
    """Return the collaborators of one process; nothing runs or is connected yet. Raises ConfigError."""
    registry = connect_registry(conf, secrets)
    policy = Enforcer(conf)
    staging = load_staging(conf, registry.stores)
    task_store = load_tasks(conf, registry.stores) or staging
    return Services(
        settings=Settings.from_conf(conf),
        registry=registry,
        stores=load_stores(conf, registry.stores),
        deletes=DeletePublisher(conf.transport_url),
        notifications=Notifications(notifications.read(conf)),
        keys=KeyManager(conf),
        policy=policy,
        protections=properties.load(conf, policy),
        remote_checks=remote_checks(conf),
        leases=LeaseKeeper(conf.upload.lease),
        limits=limits.source(conf),
        staging=staging,
        task_store=task_store,
        url_filter=UrlFilter.from_conf(conf),
        work=WorkSignal(),
        cache=image_cache(conf, registry, (staging, task_store)),
    )


def remote_checks(conf: cfg.ConfigOpts) -> RemoteChecks:
    """Return the permits of requests that wait for other servers; with a flavor, half of them for one project."""
    limit = conf.max_remote_checks or max(conf.threads // 4, 1)
    return RemoteChecks(limit, conf.remote_check_timeout, max(limit // 2, 1) if choose(conf).name else 0)


def transfer_permits(conf: cfg.ConfigOpts, stopping: Callable[[], bool]) -> TransferPermits:
    """Return the permits of one process. Without a flavor all callers are one, and that one may have them all.

    Transfers leave ``SPARE_THREADS``, and some of them also when all requests that may wait for other servers do.
    """
    waiting = remote_checks(conf).limit
    limit = conf.max_transfers or max(conf.threads - max(SPARE_THREADS, waiting + LEFT_THREADS), 1)
    if limit + waiting >= conf.threads:
        LOG.warning(
            "max_transfers (%d) and max_remote_checks (%d) may take all threads (%d): metadata calls would wait",
            limit, waiting, conf.threads,
        )
    share = conf.max_transfers_per_project
    if share is None:
        share = max(limit * 3 // 4, 1)
    return TransferPermits(limit, share if choose(conf).name else 0, stopping)


def cache_permits(conf: cfg.ConfigOpts, permits: TransferPermits, stopping: Callable[[], bool]) -> TransferPermits:
    """Return the permits of downloads that need no thread; a project has the same part of them as of the others."""
    limit = conf.image_cache_max_readers if conf.image_cache_dir else 0
    share = max(limit * permits.share // permits.limit, 1) if limit else 0
    return TransferPermits(limit, share, stopping, state="cache")


def connect_registry(conf: cfg.ConfigOpts, secrets: Sequence[bytes]) -> RegistryClient:
    """Return the client of the registry that the options name."""
    return connect(conf, secrets, pool_size=conf.threads + conf.taskflow_executor.max_workers)
