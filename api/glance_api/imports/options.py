"""The options of the parts of imports, and the parts as configured (configuration section 1.5)."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from oslo_config import cfg, types

from glance_api.content.formats import FormatRules
from glance_api.imports.contract import Plugin
from glance_api.imports.plugins.image_conversion import ImageConversion
from glance_api.imports.plugins.image_decompression import ImageDecompression
from glance_api.imports.plugins.inject_metadata import InjectMetadata
from glance_api.imports.plugins.no_op import NoOp
from glance_api.imports.sandbox import Sandbox, ToolLimits
from glance_api.imports.sources.glance_download import DownloadRules
from glance_api.imports.tools import CONFINEMENTS, choose
from glance_common.config.loading import ConfigError, OptionTable
from glance_common.fetch.guards import ExchangeLimits
from glance_common.fetch.url_filter import BracketedList, UrlFilter
from glance_common.fetch.url_session import UrlSession
from glance_common.model.property_names import is_allowed

PLUGINS = ("no_op", "inject_image_metadata", "image_conversion", "image_decompression")
"""The names that ``[image_import_opts] image_import_plugins`` may hold."""

INJECT_OPTS: list[cfg.Opt] = [
    cfg.ListOpt(
        "ignore_user_roles", default=["admin"],
        help="The plugin inject_image_metadata leaves images alone that callers with one of these roles import.",
    ),
    cfg.DictOpt(
        "inject", default={},
        help="Properties that the plugin inject_image_metadata gives all other imported images: name:value,name:value.",
    ),
]

CONVERSION_OPTS: list[cfg.Opt] = [
    cfg.StrOpt(
        "output_format", default="raw", choices=["qcow2", "raw", "vmdk"],
        help="Disk format that the plugin image_conversion brings images to.",
    ),
]

DOWNLOAD_OPTS: list[cfg.Opt] = [
    cfg.Opt(
        "extra_properties", type=BracketedList(types.String(), type_name="list of prefixes"),
        default=["hw_", "trait:", "os_distro", "os_secure_boot", "os_type"],
        help="Prefixes of the properties that glance-download copies from the remote image.",
    ),
]

SOURCE_OPTS: list[cfg.Opt] = [
    cfg.StrOpt(
        "ca_file",
        help="CA certificates that the servers of web-download and glance-download are checked with instead of the "
        "well-known ones.",
    ),
    cfg.FloatOpt("connect_timeout", default=10.0, min=0.1, help="Seconds to wait for a connection."),
    cfg.FloatOpt("read_timeout", default=60.0, min=0.1, help="Seconds to wait for the next bytes."),
    cfg.FloatOpt(
        "answer_timeout", default=60.0, min=0.1,
        help="Seconds until the header of the answer has to be there: look-up, connections, TLS and redirects in all. "
        "Data then have to come with 1 KiB a second at least, documents within the same time.",
    ),
]

TOOL_OPTS: list[cfg.Opt] = [
    cfg.IntOpt(
        "memory", default=1024**3, min=64 * 1024**2,
        help="Bytes of address space of a tool that converts or unpacks an image.",
    ),
    cfg.IntOpt("cpu_time", default=3600, min=1, help="Seconds of CPU time of such a tool."),
    cfg.IntOpt("timeout", default=7200, min=1, help="Seconds by the clock that such a tool may take."),
    cfg.StrOpt(
        "confinement", default="auto", choices=CONFINEMENTS,
        help="What keeps such a tool from everything but its input and its work folder. landlock: the kernel, from "
        "5.13 on. bubblewrap: the program bwrap. none: nothing but the limits. auto: the first of them that this host "
        "has; the log says at start which one. One that is named and does not work stops the start.",
    ),
    cfg.IntOpt(
        "min_free_space", default=512 * 1024**2, min=0,
        help="Bytes that stay free in the file system of the staging directory: what unpacks or converts an image "
        "fails before it takes them.",
    ),
]


def list_opts() -> OptionTable:
    """Return the options; the filter of URLs has its own, which every store with URLs needs too."""
    return [
        ("inject_metadata_properties", INJECT_OPTS),
        ("image_conversion", CONVERSION_OPTS),
        ("glance_download_properties", DOWNLOAD_OPTS),
        ("import_sources", SOURCE_OPTS),
        ("import_tools", TOOL_OPTS),
    ]


def sandbox(conf: cfg.ConfigOpts) -> Sandbox:
    """Return what tools run in. Raises ConfigError for a confinement that this host does not have."""
    tools = conf.import_tools
    limits = ToolLimits(cpu=tools.cpu_time, memory=tools.memory, file_size=conf.image_size_cap, timeout=tools.timeout)
    return Sandbox(limits, choose(tools.confinement))


def web_session(conf: cfg.ConfigOpts, url_filter: UrlFilter) -> UrlSession:
    """Return the session of web-download. Raises ConfigError."""
    return UrlSession(url_filter, verify=_verify(conf), limits=_limits(conf))


def download_rules(conf: cfg.ConfigOpts) -> DownloadRules:
    """Return the rules of glance-download. Raises ConfigError."""
    prefixes = tuple(conf.glance_download_properties.extra_properties)
    return DownloadRules(conf.image_size_cap, prefixes, _verify(conf), _limits(conf))


def build_plugins(conf: cfg.ConfigOpts, names: Sequence[str], rules: FormatRules) -> tuple[Plugin, ...]:
    """Return the plugins with these names, in this order. Raises ConfigError for an unknown name, for a plugin whose
    tool is not installed, and for properties with reserved names."""
    return tuple(_plugin(conf, name, names, rules) for name in names)


def conversion(conf: cfg.ConfigOpts, output_format: str, rules: FormatRules) -> ImageConversion | None:
    """Return what converts images to ``output_format``, None when qemu-img is not installed."""
    tool = shutil.which("qemu-img")
    return ImageConversion(Path(tool).absolute(), output_format, rules, sandbox(conf)) if tool else None


def _plugin(conf: cfg.ConfigOpts, name: str, names: Sequence[str], rules: FormatRules) -> Plugin:
    match name:
        case NoOp.name:
            return NoOp()
        case InjectMetadata.name:
            return _inject(conf)
        case ImageConversion.name:
            found = conversion(conf, conf.image_conversion.output_format, rules)
            if found is None:
                raise _refused(names, "image_conversion needs qemu-img, which is not installed")
            return found
        case ImageDecompression.name:
            lha = shutil.which("lha")
            return ImageDecompression(Path(lha).absolute() if lha else None, rules, sandbox(conf))
        case _:
            raise _refused(names, f"must be out of {', '.join(PLUGINS)}")


def _refused(names: Sequence[str], allowed: str) -> ConfigError:
    return ConfigError("image_import_opts", "image_import_plugins", ",".join(names), allowed)


def _inject(conf: cfg.ConfigOpts) -> InjectMetadata:
    options = conf.inject_metadata_properties
    for name in options.inject:
        if not is_allowed(name):
            raise ConfigError("inject_metadata_properties", "inject", name, "is no name of a property")
    return InjectMetadata(options.inject, options.ignore_user_roles)


def _verify(conf: cfg.ConfigOpts) -> bool | str:
    ca_file: str | None = conf.import_sources.ca_file or None
    if ca_file is not None and not Path(ca_file).is_file():
        raise ConfigError("import_sources", "ca_file", ca_file, "must be a readable file of PEM certificates")
    return ca_file or True


def _limits(conf: cfg.ConfigOpts) -> ExchangeLimits:
    sources = conf.import_sources
    return ExchangeLimits(connect=sources.connect_timeout, idle=sources.read_timeout, answer=sources.answer_timeout)
