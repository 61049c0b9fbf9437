"""The options of glance-scrubber: those of the original's ``glance-scrubber.conf`` and some of our own."""

from oslo_config import cfg

from glance_common.config import loading
from glance_common.config.loading import OptionTable
from glance_common.monitor.exporter import metrics_opt
from glance_common.notifications import options as notifications
from glance_common.stores import loader

METRICS_OPTS: list[cfg.Opt] = [metrics_opt("127.0.0.1:9393")]

DAEMON_OPTS: list[cfg.Opt] = [
    cfg.BoolOpt("daemon", short="D", default=False, help="Keep running; otherwise make one pass and exit."),
]

COMMAND_OPTS: list[cfg.Opt] = [
    *DAEMON_OPTS,
    cfg.StrOpt("restore", metavar="IMAGE_ID", help="Bring back this deleted image while its data are there, and exit."),
    cfg.BoolOpt(
        "verify", dest="verify_now", default=False,
        help="Read stored data again, put damaged copies into quarantine, replace them from good ones, and exit.",
    ),
    cfg.StrOpt("store", dest="wanted_store", metavar="STORE", help="With --verify, --reconcile: only this store."),
    cfg.StrOpt("image", dest="wanted_image", metavar="IMAGE_ID", help="With --verify: only this image."),
    cfg.FloatOpt(
        "rate", dest="wanted_rate", min=0, metavar="MB/s",
        help="With --verify: most megabytes (10^6 bytes) to read in a second, 0 = no bound, instead of verify_rate.",
    ),
    cfg.BoolOpt(
        "reconcile", dest="reconcile_now", default=False,
        help="Compare what the stores list with the registry, print what differs, and exit. Changes nothing.",
    ),
    cfg.BoolOpt(
        "fix", dest="fix_now", default=False,
        help="With --reconcile: put what differs into quarantine. Nothing is deleted.",
    ),
    cfg.StrOpt(
        "quarantine", dest="quarantine_action", choices=["list", "release", "discard"],
        help="List what is in quarantine, put a copy (ID) that is found right back into use, or remove the bytes of a "
        "copy or an orphan (ID), and exit.",
    ),
    cfg.StrOpt(
        "dead-letters", dest="dead_letters_action", choices=["list", "replay"],
        help="List unreadable messages of the delete queue and removals that failed too often, or let them be tried "
        "again, and exit.",
    ),
    cfg.StrOpt(
        "wanted_id", positional=True, required=False, metavar="ID",
        help="With --quarantine release or discard: what --quarantine list names.",
    ),
]
"""Options of the command line, which make no sense in a file.

The values have names of their own, so that a store may be called ``image`` or ``verify``.
"""

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
    cfg.FloatOpt(
        "verify_interval", default=0, min=0, max=3650,
        help="Days within which the daemon reads the data of each store again and compares the digests; 0 = never. Of "
        "several scrubbers one at a time verifies a store.",
    ),
    cfg.FloatOpt(
        "verify_rate", default=50, min=0,
        help="Megabytes (10^6 bytes) that one process reads in a second to verify data, 0 = no bound.",
    ),
]


def list_opts() -> OptionTable:
    """Return every option of glance-scrubber's file, except those of single stores (their ids name them)."""
    return [
        *loading.list_opts(),
        ("DEFAULT", [*DAEMON_OPTS, *SWEEP_OPTS, *METRICS_OPTS]),
        ("scrubber", SCRUBBER_OPTS),
        *notifications.list_opts(),
        *loader.list_opts(),
    ]
