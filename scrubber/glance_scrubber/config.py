"""The options of glance-scrubber: those of the original's ``glance-scrubber.conf`` and two of our own."""

from oslo_config import cfg

from glance_common.config import loading
from glance_common.config.loading import OptionTable
from glance_common.monitor.exporter import metrics_opt
from glance_common.stores import loader

METRICS_OPTS: list[cfg.Opt] = [metrics_opt("127.0.0.1:9393")]

DAEMON_OPTS: list[cfg.Opt] = [
    cfg.BoolOpt("daemon", short="D", default=False, help="Keep running; otherwise make one pass and exit."),
]

COMMAND_OPTS: list[cfg.Opt] = [
    *DAEMON_OPTS,
    cfg.StrOpt("restore", metavar="IMAGE_ID", help="Bring back this deleted image while its data are there, and exit."),
]
"""Options of the command line; ``restore`` makes no sense in a file."""

SWEEP_OPTS: list[cfg.Opt] = [
    cfg.IntOpt(
        "wakeup_time", default=300, min=1,
        help="Seconds between two sweeps, which find what is due and was not announced by the delete queue.",
    ),
]

SCRUBBER_OPTS: list[cfg.Opt] = [
    cfg.IntOpt(
        "claim_lease", default=120, min=3, max=86400,
        help="Seconds after which another scrubber may take over what this one has claimed and not renewed. It is "
        "renewed three times within its length, so it bounds how long the data of a dead scrubber's claim wait, and "
        "not how long a removal may take.",
    ),
    cfg.IntOpt(
        "max_attempts", default=100, min=1, max=1_000_000,
        help="Failures after which a removal is given up and listed for an operator. The pauses grow to an hour, so "
        "100 are about four days: longer than a weekend. A store that is down is never a reason to give up.",
    ),
]


def list_opts() -> OptionTable:
    """Return every option of glance-scrubber's file, except those of single stores (their ids name them)."""
    return [
        *loading.list_opts(),
        ("DEFAULT", [*DAEMON_OPTS, *SWEEP_OPTS, *METRICS_OPTS]),
        ("scrubber", SCRUBBER_OPTS),
        *loader.list_opts(),
    ]
