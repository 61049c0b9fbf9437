"""The workers of a process, put together from the options."""

from collections.abc import Callable
from functools import partial

from oslo_config import cfg

from glance_api.background.flows.image_import import ImportParts, import_image
from glance_api.background.flows.location_hash import hash_location
from glance_api.background.flows.task_import import import_task
from glance_api.background.flows.task_steps import TaskTools
from glance_api.background.janitor import Janitor
from glance_api.background.pool import PoolWork, StopSign, WorkerPool
from glance_api.background.runner import Claimed, Flow, Operations
from glance_api.imports import options
from glance_api.imports.contract import Plugin
from glance_api.imports.ova import OvaTools, read_settings
from glance_api.services.collaborators import Services
from glance_common.config.loading import ConfigError
from glance_common.model.operation import OperationKind


def build_parts(conf: cfg.ConfigOpts, services: Services) -> ImportParts:
    """Return the parts of imports as configured. Raises ConfigError, also for tools that are not installed."""
    imports, rules = services.settings.imports, services.settings.format_rules
    return ImportParts(
        plugins=options.build_plugins(conf, imports.plugins, rules),
        session=options.web_session(conf, services.url_filter),
        rules=options.download_rules(conf),
        tools=TaskTools(OvaTools(rules, options.sandbox(conf), read_settings(conf)), _conversion(conf, services)),
    )


def _conversion(conf: cfg.ConfigOpts, services: Services) -> Plugin | None:
    wanted = services.settings.imports.conversion_format
    if wanted is None:
        return None
    found = options.conversion(conf, wanted, services.settings.format_rules)
    if found is None:
        raise ConfigError("taskflow_executor", "conversion_format", wanted, "needs qemu-img, which is not installed")
    return found


def build_pool(conf: cfg.ConfigOpts, services: Services, stopping: Callable[[], bool]) -> WorkerPool[Claimed]:
    """Return the workers of this process, not started yet. Raises ConfigError."""
    parts = build_parts(conf, services)
    flows: dict[OperationKind, Flow] = {
        OperationKind.API_IMAGE_IMPORT: partial(import_image, parts),
        OperationKind.IMPORT: partial(import_task, parts),
        OperationKind.LOCATION_IMPORT: hash_location,
    }
    stop = StopSign(stopping)
    operations = Operations(services, flows, lease=conf.upload.lease, stopping=stop)
    work = PoolWork(operations.claim, operations.run, operations.leave, housekeeping=Janitor(services, stop))
    return WorkerPool(work, size=services.settings.imports.workers, signal=services.work, stop=stop)
