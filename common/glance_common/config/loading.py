"""Options: how they are read, checked, and what the daemons share.

Options keep the names, groups and defaults of the original service's files, so that an existing ``glance-api.conf`` is
understood. Every package has a ``config.py`` with ``list_opts()``; the sample files are made from the same lists.
A bad value stops the start with file, group, option, value and what is allowed; an unknown name warns once with the
nearest known one.
"""

import os
import re
import stat
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from oslo_config import cfg

from glance_common.config.files import SiteConfig, chosen, read_files
from glance_common.config.log_options import FORMAT_OPTS, LOG_OPTS
from glance_common.config.older import in_effect

OptionTable = Sequence[tuple[str, Sequence[cfg.Opt]]]
"""Groups with their options, as ``list_opts`` of each package returns them; the group of no group is ``DEFAULT``."""

_PLACE = re.compile(r"at (.+):(\d+), (.+?): '", re.DOTALL)


class ConfigError(Exception):
    """A setting that stops the start; the text names group, option, value and what is allowed."""

    def __init__(self, group: str, option: str, value: object, allowed: str, source: str = "") -> None:
        where = f"{source}: " if source else ""
        super().__init__(f"{where}[{group}] {option} = {value}: {allowed}")
        self.group, self.option, self.value, self.allowed = group, option, value, allowed


class ConfigFileError(ConfigError):
    """A configuration file that cannot be read or parsed; the text names it, and the line without what stands there."""

    def __init__(self, reason: str) -> None:
        Exception.__init__(self, reason)
        self.group, self.option, self.value, self.allowed = "-", "--config-file", "", reason


REGISTRY_CLIENT_OPTS: list[cfg.Opt] = [
    cfg.HostAddressOpt("registry_host", default="127.0.0.1", help="Host of glance-registry."),
    cfg.PortOpt("registry_port", default=9191, help="Port of glance-registry."),
    cfg.StrOpt("registry_client_protocol", default="http", choices=["http", "https"], help="Protocol of the registry."),
    cfg.StrOpt(
        "registry_client_ca_file",
        help="CA certificates that the registry's certificate is checked with. Unset: the environment variable "
        "GLANCE_CLIENT_CA_FILE, or else the well-known ones.",
    ),
    cfg.StrOpt(
        "registry_client_cert_file",
        help="Client certificate shown to the registry. Unset: the environment variable GLANCE_CLIENT_CERT_FILE.",
    ),
    cfg.StrOpt(
        "registry_client_key_file",
        help="Key of the client certificate. Unset: the environment variable GLANCE_CLIENT_KEY_FILE.",
    ),
    cfg.BoolOpt("registry_client_insecure", default=False, help="Do not check the registry's certificate."),
    cfg.IntOpt(
        "registry_client_timeout", default=10, min=0,
        help="Seconds to wait for an answer of the registry; 0 = for ever. The original waits 600 s, which would let a "
        "hanging registry hang its clients.",
    ),
]

REGISTRY_OPTS: list[cfg.Opt] = [
    cfg.StrOpt(
        "context_secret_file", default="/etc/glance/registry-secret",
        help="File with the secret that signs what the services tell the registry, one secret a line, newest first. "
        "Only its owner and group may read it.",
    ),
]

QUEUE_OPTS: list[cfg.Opt] = [
    cfg.StrOpt(
        "transport_url", default="filesystem:///var/lib/glance/queue", secret=True,
        help="Message broker of the delete queue: amqp://user:password@host:5672/vhost (RabbitMQ), several "
        "separated by ';', or filesystem:///directory for a single machine.",
    ),
]

DELETE_OPTS: list[cfg.Opt] = [
    cfg.BoolOpt("delayed_delete", default=False, help="Keep the data of deleted images for scrub_time."),
    cfg.IntOpt("scrub_time", default=0, min=0, help="Seconds between delete and removal of the data when delayed."),
    cfg.IntOpt("scrub_pool_size", default=1, min=1, help="Images whose data one scrubber removes at the same time."),
]


def list_opts() -> OptionTable:
    """Return the options that API, scrubber and tools share."""
    return [
        ("DEFAULT", [*LOG_OPTS, *FORMAT_OPTS, *REGISTRY_CLIENT_OPTS, *QUEUE_OPTS, *DELETE_OPTS]),
        ("registry", REGISTRY_OPTS),
    ]


def register(conf: cfg.ConfigOpts, table: OptionTable) -> None:
    """Register an option table."""
    for group, options in table:
        conf.register_opts(options, None if group == "DEFAULT" else group)


def load(
    prog: str, argv: Sequence[str], table: OptionTable, cli: Sequence[cfg.Opt] = (), others: Sequence[str] = ()
) -> cfg.ConfigOpts:
    """Read the configuration of ``prog`` from the command line and the files it names.

    ``cli`` are options of the command line only; ``others`` are programs whose default files are read first.

    Without ``--config-file`` the files are ``<prog>.conf`` in the first of ``~/.glance``, ``~``, ``/etc/glance`` and
    ``/etc`` that has it, then ``<prog>.conf.d``; the environment variable OS_GLANCE_CONFIG_DIR replaces the search.
    No file is read twice. Raises ConfigError for a value that is not allowed.
    """
    conf = SiteConfig()
    conf.register_cli_opts([
        *cli,
        cfg.BoolOpt("check-config", default=False, help="Check the configuration, say what is wrong, and exit."),
        cfg.BoolOpt(
            "explain", default=False,
            help="With --check-config: print each option with its value and where that comes from.",
        ),
    ])
    conf.register_cli_opts([opt for opt in LOG_OPTS if any(opt is known for _, opts in table for known in opts)])
    try:
        read = chosen(argv, _default_files([*others, prog]), cfg.find_config_dirs(project="glance", prog=prog))
        conf.directories = read.directories
        conf(
            read.rest, project="glance", prog=prog, version=version("glance-services"),
            default_config_files=read.files, default_config_dirs=[],
        )
    except cfg.ConfigFileParseError as error:
        raise ConfigFileError(_place_of(str(error))) from None
    except (
        cfg.ConfigFilesNotFoundError, cfg.ConfigFilesPermissionDeniedError, cfg.ConfigDirNotFoundError, OSError,
    ) as error:
        raise ConfigFileError(str(error)) from None
    except UnicodeDecodeError:
        raise ConfigFileError("a configuration file is not UTF-8") from None
    except cfg.ConfigFileValueError as error:
        raise ConfigError("-", "-", "", str(error)) from None
    current = in_effect(conf, table)
    register(conf, current)
    check_values(conf, current)
    return conf


def _place_of(said: str) -> str:
    """Return file, line and reason of a parser's complaint; the line itself may hold a password."""
    match = _PLACE.search(said)
    return f"{match[1]}, line {match[2]}: {match[3]}" if match else said.partition(": '")[0]


def _default_files(progs: Sequence[str]) -> list[str]:
    directory = os.environ.get("OS_GLANCE_CONFIG_DIR")
    if directory is None:
        return [path for prog in progs for path in cfg.find_config_files(project="glance", prog=prog)]
    paths = (Path(directory) / f"{prog}.conf" for prog in progs)
    return [str(path) for path in paths if path.exists()]


def check_values(conf: cfg.ConfigOpts, table: OptionTable) -> None:
    """Read every option once, because oslo.config finds a bad value only when it is read. Raises ConfigError."""
    for group, options in table:
        for opt in options:
            holder = conf if group == "DEFAULT" else conf[group]
            try:
                holder[opt.dest]
            except (cfg.ConfigFileValueError, ValueError) as error:
                place, name, raw, source = as_written(conf, group, opt)
                raise ConfigError(place, name, raw, _allowed(opt, error), source) from None


def _allowed(opt: cfg.Opt, error: Exception) -> str:
    reason = str(error).splitlines()[-1]
    choices = getattr(opt.type, "choices", None)
    if choices:
        return f"must be one of {', '.join(str(choice) for choice in choices)}"
    low, high = getattr(opt.type, "min", None), getattr(opt.type, "max", None)
    if low is not None or high is not None:
        return f"must be a number from {low if low is not None else '-∞'} to {high if high is not None else '∞'}"
    return reason


def as_written(conf: cfg.ConfigOpts, group: str, opt: cfg.Opt) -> tuple[str, str, str, str]:
    """Return group, name and value as written, and the file that holds them; a secret is not repeated."""
    older = [(old.group or group, old.name or opt.dest) for old in opt.deprecated_opts]
    for path, sections in read_files(conf):
        for place, name in [(group, opt.name), (group, opt.dest), *older]:
            values = sections.get(place, {}).get(name)
            if values:
                return place, name if place != group else opt.name, "***" if opt.secret else values[-1], path
    return group, opt.name, "(command line)", ""


def read_secrets(path: str) -> list[bytes]:
    """Return the secrets in the file ``[registry] context_secret_file``, the one that signs first.

    Raises ConfigError when the file is missing, empty, too short, or readable by all users.
    """
    option = ("registry", "context_secret_file", path)
    try:
        mode = Path(path).stat().st_mode
        lines = [line.strip() for line in Path(path).read_bytes().splitlines()]
    except OSError as error:
        raise ConfigError(*option, f"cannot be read: {error.strerror}") from None
    if mode & (stat.S_IRWXO | stat.S_IWGRP):
        raise ConfigError(*option, f"has mode {stat.S_IMODE(mode):04o}; only owner and group may read it: chmod 0640")
    secrets = [line for line in lines if line]
    if not secrets or any(len(secret) < 32 for secret in secrets):
        raise ConfigError(*option, "must hold secrets of at least 32 characters, one a line: openssl rand -hex 32")
    return secrets
