"""Options of the log, with the names of the original service's files (configuration section 1.1)."""

from oslo_config import cfg

LOG_OPTS: list[cfg.Opt] = [
    cfg.BoolOpt("debug", default=False, short="d", help="Log at level DEBUG."),
    cfg.StrOpt(
        "log-config-append", metavar="PATH", deprecated_name="log-config",
        help="File with a configuration of Python's logging, in the form of logging.config.fileConfig. It replaces all "
        "other options of the log but debug.",
    ),
    cfg.StrOpt(
        "log-file", metavar="PATH", deprecated_name="logfile",
        help="File of the log, under log_dir when relative. Unset: the log goes to stderr.",
    ),
    cfg.StrOpt(
        "log-dir", metavar="PATH", deprecated_name="logdir",
        help="Directory of the log; the file is named after the program when log_file is unset.",
    ),
    cfg.BoolOpt("use-json", default=False, help="Write the log as one JSON object a line instead of text."),
    cfg.BoolOpt("use-syslog", default=False, help="Log to the system's log at /dev/log instead of to a file."),
    cfg.StrOpt("syslog-log-facility", default="LOG_USER", help="Facility of the lines in the system's log."),
    cfg.BoolOpt(
        "use-journal", default=False,
        help="Log to systemd's journal instead of to a file; level, request id and what else is known of an event are "
        "fields of the entry.",
    ),
]
"""Options of the files and of the command line of each daemon and tool."""

FORMAT_OPTS: list[cfg.Opt] = [
    cfg.BoolOpt("use_stderr", default=False, help="Log to stderr beside the file, the system's log or the journal."),
    cfg.StrOpt(
        "logging_context_format_string",
        help="Form of a line that belongs to a request, as for Python's logging, with %(request_id)s beside the usual "
        "fields. What it does not know is empty. Unset: the service's own form.",
    ),
    cfg.StrOpt(
        "logging_default_format_string",
        help="Form of a line that belongs to no request. Unset: the service's own form.",
    ),
    cfg.StrOpt("logging_debug_format_suffix", help="Added to the form of a line of level DEBUG when a form is set."),
    cfg.StrOpt(
        "logging_exception_prefix", help="Form of what stands before each line of a traceback when a form is set.",
    ),
    cfg.StrOpt(
        "log-date-format", default="%Y-%m-%d %H:%M:%S", help="Form of %(asctime)s when a form of lines is set.",
    ),
    cfg.ListOpt(
        "default_log_levels", default=[],
        help="Levels of loggers, as logger=LEVEL. Libraries that would print tokens or documents on a lower level stay "
        "at WARNING.",
    ),
]
"""Options of the files alone."""
