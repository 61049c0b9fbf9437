"""The options of imports and tasks, and their values for requests and workers."""

from dataclasses import dataclass
from typing import Any, Self

from oslo_config import cfg, types

from glance_api.imports.request import METHODS
from glance_common.config.loading import OptionTable
from glance_common.fetch.url_filter import BracketedList

PLUGINS = ("no_op", "inject_image_metadata", "image_conversion", "image_decompression")
CONVERSIONS = ("raw", "qcow2", "vmdk")

SELF_OPTS: list[cfg.Opt] = [
    cfg.Opt(
        "enabled_import_methods",
        type=BracketedList(types.String(choices=METHODS), type_name="list of methods"),
        default=["glance-direct", "web-download", "copy-image"],
        help="Methods of POST /v2/images/{id}/import: glance-direct, web-download, copy-image, glance-download.",
    ),
]

NODE_OPTS: list[cfg.Opt] = [
    cfg.StrOpt(
        "worker_self_reference_url",
        help="URL under which the other API nodes reach this one: an import goes to the node that holds the staged "
        "data. Unset: public_endpoint; with neither, nothing is forwarded, and the node with the data finds the import "
        "by itself. It is also the name of the node to which image_cache_dir belongs, the host's name when unset.",
    ),
]

IMPORT_OPTS: list[cfg.Opt] = [
    cfg.Opt(
        "image_import_plugins", type=BracketedList(types.String(choices=PLUGINS), type_name="list of plugins"),
        default=[],
        help="What is done with the data of each import, in this order: no_op, inject_image_metadata, "
        "image_decompression, image_conversion.",
    ),
    cfg.IntOpt(
        "max_parallel_stores", default=1, min=1, max=64,
        help="Stores that one import writes at the same time; copies to further stores are always made one by one.",
    ),
]

TASK_OPTS: list[cfg.Opt] = [
    cfg.IntOpt(
        "task_time_to_live", default=48, min=0, deprecated_group="DEFAULT",
        help="Hours for which the end of a task can be looked up.",
    ),
]

EXECUTOR_OPTS: list[cfg.Opt] = [
    cfg.StrOpt(
        "engine_mode", default="parallel", choices=["serial", "parallel"],
        help="serial: one import at a time in each API process; parallel: max_workers.",
    ),
    cfg.IntOpt("max_workers", default=10, min=1, max=256, help="Imports that one API process runs at the same time."),
    cfg.IntOpt(
        "max_workers_per_project", min=0,
        help="Imports of one project that one API process runs at the same time, so that others find a worker too; 0 = "
        "no limit. Unset: half of max_workers, at least 1.",
    ),
    cfg.StrOpt(
        "conversion_format", choices=CONVERSIONS,
        help="Disk format that tasks of type import convert images to. Unset: images stay as they are.",
    ),
]


def list_opts() -> OptionTable:
    """Return the options of imports and tasks."""
    return [
        ("DEFAULT", [*SELF_OPTS, *NODE_OPTS]),
        ("image_import_opts", IMPORT_OPTS),
        ("task", TASK_OPTS),
        ("taskflow_executor", EXECUTOR_OPTS),
    ]


@dataclass(frozen=True, slots=True)
class ImportSettings:
    """Values of the options of the same names; ``task_time_to_live`` in hours.

    ``self_url`` is where other nodes reach this one (None = nowhere), ``workers`` the operations that one process works
    on at the same time, ``workers_per_project`` those of one project (0 = no limit), ``min_free_space`` bytes.
    """

    methods: tuple[str, ...]
    self_url: str | None
    plugins: tuple[str, ...]
    max_parallel_stores: int
    task_time_to_live: int
    workers: int
    workers_per_project: int
    conversion_format: str | None
    min_free_space: int

    @classmethod
    def from_conf(cls, conf: cfg.ConfigOpts) -> Self:
        """Read the options, whose values have been checked."""
        url: str | None = conf.worker_self_reference_url or conf.public_endpoint
        executor: Any = conf.taskflow_executor
        workers = 1 if executor.engine_mode == "serial" else executor.max_workers
        share: int | None = executor.max_workers_per_project
        return cls(
            methods=tuple(dict.fromkeys(conf.enabled_import_methods)),
            self_url=url.rstrip("/") if url else None,
            plugins=tuple(conf.image_import_opts.image_import_plugins),
            max_parallel_stores=conf.image_import_opts.max_parallel_stores,
            task_time_to_live=conf.task.task_time_to_live,
            workers=workers,
            workers_per_project=max(workers // 2, 1) if share is None else share,
            conversion_format=executor.conversion_format,
            min_free_space=conf.import_tools.min_free_space,
        )
