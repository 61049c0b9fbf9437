"""The log of a process: where its lines go and how they look, as the options say."""

import configparser
import logging
import logging.config
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from oslo_config import cfg

from glance_common.config.loading import ConfigError
from glance_common.config.log_options import LOG_OPTS
from glance_common.observability import log_targets
from glance_common.observability.log_file import LogFile
from glance_common.observability.log_formats import Forms, JsonFormatter, OperatorFormatter, TextFormatter
from glance_common.observability.log_targets import Journal, SystemLog

_QUIET = (
    "amqp", "boto3", "botocore", "keystoneauth", "keystonemiddleware", "kombu", "oslo_policy", "pymongo", "stevedore",
    "swiftclient", "urllib3",
)
"""Libraries that repeat on level DEBUG what ours say, or print headers with tokens, signatures and documents (S-53)."""

_OURS = ("glance_api", "glance_common", "glance_registry", "glance_scrubber")


def setup(conf: cfg.ConfigOpts, prog: str, *, terminal: bool = False) -> None:
    """Send the log of this process where the options say: ``log_config_append``'s places alone, or the system's log,
    the journal, ``log_file`` or ``<log_dir>/<prog>.log``; without any of these to stderr.

    With ``terminal`` it goes to stderr as well, from WARNING on whatever the levels are: an operator who checks the
    configuration waits there for the answer.
    Raises ConfigError for what cannot be used or opened.
    """
    root = logging.getLogger()
    _collect_less()
    if conf.log_config_append:
        _configure(conf.log_config_append)
        if terminal:
            root.addHandler(_formatted(logging.StreamHandler(sys.stderr), TextFormatter()))
        if conf.debug:
            root.setLevel(logging.DEBUG)
    else:
        formatter = _formatter(conf)
        root.handlers[:] = [_formatted(handler, formatter) for handler in _handlers(conf, prog, terminal=terminal)]
        root.setLevel(logging.DEBUG if conf.debug else logging.INFO)
    for name, level in _levels(conf):
        logging.getLogger(name).setLevel(level)
    if terminal:
        for name in _OURS:
            logger = logging.getLogger(name)
            logger.setLevel(min(logger.getEffectiveLevel(), logging.WARNING))
    for name in _QUIET:
        logger = logging.getLogger(name)
        logger.setLevel(max(logger.level, logging.WARNING))


def setup_tool(conf: cfg.ConfigOpts, prog: str, argv: Sequence[str]) -> None:
    """Send the log of a tool where the options say, as ``setup`` does, but never into the file of a service.

    A tool reads the files of services, and cron and systemd collect what it says on stderr: a file counts on the
    command line ``argv`` alone.
    """
    given = on_command_line(argv)
    for name in ("log_file", "log_dir", "log_config_append"):
        if name not in given:
            conf.set_override(name, None)
    setup(conf, prog, terminal=conf.check_config)


def on_command_line(argv: Sequence[str]) -> set[str]:
    """Return the options of the log that a command line has. The library tells it only of those that no file has."""
    words = {word.partition("=")[0].lstrip("-").replace("_", "-") for word in argv if word.startswith("-")}
    return {
        opt.dest for opt in LOG_OPTS
        if words & {opt.name, opt.short, *((old.name or "").replace("_", "-") for old in opt.deprecated_opts)}
    }


def _handlers(conf: cfg.ConfigOpts, prog: str, *, terminal: bool) -> list[logging.Handler]:
    handlers: list[logging.Handler] = []
    facility = conf.syslog_log_facility.strip().lower().removeprefix("log_")
    if facility not in SystemLog.facility_names:
        known = ", ".join(f"LOG_{name.upper()}" for name in SystemLog.facility_names)
        raise ConfigError("DEFAULT", "syslog_log_facility", conf.syslog_log_facility, f"must be one of {known}")
    if conf.use_syslog:
        handlers.append(_opened("use_syslog", log_targets.SYSLOG, lambda: SystemLog(facility, prog)))
    if conf.use_journal:
        handlers.append(_opened("use_journal", log_targets.JOURNAL, lambda: Journal(prog)))
    if conf.log_file or conf.log_dir:
        path = Path(conf.log_dir or "") / (conf.log_file or f"{prog}.log")
        handlers.append(_opened("log_file", str(path), lambda: LogFile(path)))
    if not handlers or terminal or conf.use_stderr:
        handlers.append(logging.StreamHandler(sys.stderr))
    return handlers


def _opened(option: str, place: str, make: Callable[[], logging.Handler]) -> logging.Handler:
    try:
        return make()
    except OSError as error:
        raise ConfigError("DEFAULT", option, place, f"cannot be opened: {error.strerror}") from None


def _formatted(handler: logging.Handler, formatter: logging.Formatter) -> logging.Handler:
    handler.setFormatter(formatter)
    return handler


def _formatter(conf: cfg.ConfigOpts) -> logging.Formatter:
    in_request, otherwise = conf.logging_context_format_string, conf.logging_default_format_string
    if conf.use_json:
        return JsonFormatter()
    if not (in_request or otherwise):
        return TextFormatter()
    forms = Forms(
        in_request or otherwise, otherwise or in_request, conf.logging_debug_format_suffix or "",
        conf.logging_exception_prefix or "", conf.log_date_format,
    )
    try:
        return OperatorFormatter(forms)
    except ValueError as error:
        raise ConfigError("DEFAULT", "logging_…_format_string", in_request or otherwise, str(error)) from None


def _levels(conf: cfg.ConfigOpts) -> list[tuple[str, int]]:
    levels = []
    for entry in conf.default_log_levels:
        name, _, level = entry.partition("=")
        number = logging.getLevelNamesMapping().get(level.strip().upper())
        if number is None:
            raise ConfigError("DEFAULT", "default_log_levels", entry, "must be logger=LEVEL, as in amqp=WARN")
        levels.append((name.strip(), number))
    return levels


def _configure(path: str) -> None:
    try:
        # The file names handlers by class: it is the operator's, as the configuration is.
        logging.config.fileConfig(path, disable_existing_loggers=False)
    except (KeyError, ValueError, OSError, ImportError, AttributeError, TypeError, configparser.Error) as error:
        raise ConfigError(
            "DEFAULT", "log_config_append", path, f"is no configuration of logging: {type(error).__name__}: {error}"
        ) from None


def _collect_less() -> None:
    """Turn off what the library collects and no line of ours shows, as its chapter "Optimization" describes."""
    logging._srcfile = None  # noqa: SLF001 - the documented switch for the caller's place
    for name in ("logThreads", "logMultiprocessing", "logAsyncioTasks"):  # the last one since Python 3.12
        setattr(logging, name, False)


def mask_url(url: str) -> str:
    """Return ``url`` with its user information replaced by ``***`` (S-02, S-06, S-75)."""
    parts = urlsplit(url)
    if "@" not in parts.netloc:
        return url
    return urlunsplit(parts._replace(netloc="***@" + parts.netloc.rpartition("@")[2]))
