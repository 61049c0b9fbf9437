"""The metrics. Each is used where the thing happens, as a logger is; what they cost is some microseconds.

Every one has labels, also where one value would do: the library binds a metric without labels to its process at import,
and here the processes are forked later. The values of labels come from small fixed sets, never from what clients send.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

# A second series for each counter, that says when the process started, would double the size of every answer.
disable_created_metrics()

REGISTRY = CollectorRegistry()

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30)

REQUESTS = Histogram(
    "glance_http_request_seconds", "Requests answered, by route rule; the time ends with the last byte of the answer.",
    ["method", "route", "status"], registry=REGISTRY, buckets=_SECONDS,
)
REGISTRY_CALLS = Histogram(
    "glance_registry_call_seconds", "Calls of the registry, each try, by how they ended: ok, refused, unavailable, "
    "unknown (a write without a clear answer) or error.",
    ["method", "outcome"], registry=REGISTRY, buckets=_SECONDS,
)
STORE_BYTES = Counter(
    "glance_store_bytes", "Bytes written to stores (in) and read from them (out).",
    ["store", "direction"], registry=REGISTRY,
)
TRANSFERS = Gauge(
    "glance_transfers", "Transfer permits: taken = uploads and downloads under way, limit = how many may be, "
    "cache = downloads from the image cache besides, which need no thread.",
    ["state"], registry=REGISTRY, multiprocess_mode="livesum",
)
TRANSFERS_REFUSED = Counter(
    "glance_transfers_refused", "Transfers answered 503 without a permit: full, share or stopping.",
    ["reason"], registry=REGISTRY,
)
REMOTE_CHECKS = Gauge(
    "glance_remote_checks", "Requests that wait for servers which callers name: taken = now, limit = how many may.",
    ["state"], registry=REGISTRY, multiprocess_mode="livesum",
)
REMOTE_CHECKS_REFUSED = Counter(
    "glance_remote_checks_refused", "Requests answered 503 because too many wait for servers which callers name: full.",
    ["reason"], registry=REGISTRY,
)
UPLOADS = Counter(
    "glance_uploads", "Uploads by how they ended: committed, aborted by their writer, or reaped after their lease.",
    ["outcome"], registry=REGISTRY,
)
CONNECTIONS = Gauge(
    "glance_database_connections", "Database connections: used (or waited for) by requests, and the limit of the pool.",
    ["state"], registry=REGISTRY, multiprocess_mode="livesum",
)
LIST_READS = Counter(
    "glance_list_reads", "Lists that the registry read from the replica of slave_connection, or from the primary "
    "because the replica could not be used.",
    ["database"], registry=REGISTRY,
)
OUTBOX = Gauge(
    "glance_outbox_messages", "Messages that wait in the process for the broker: deletions to announce, notifications.",
    ["queue"], registry=REGISTRY, multiprocess_mode="livesum",
)
OUTBOX_DROPPED = Counter(
    "glance_outbox_dropped", "Messages given up; of deletions the scrubbers' sweep finds the rows.",
    ["queue"], registry=REGISTRY,
)
OPERATIONS = Histogram(
    "glance_operation_seconds", "Background operations (imports), by kind and how they ended: success, failure, "
    "given_back at a stop, lost to others, or left to their lease.",
    ["kind", "outcome"], registry=REGISTRY, buckets=(1, 5, 15, 60, 300, 900, 3600, 14400),
)
OPERATIONS_RUNNING = Gauge(
    "glance_operations_running", "Background operations that workers of the API are at.",
    ["kind"], registry=REGISTRY, multiprocess_mode="livesum",
)
DATA_REFUSED = Counter(
    "glance_data_refused", "Images deactivated because their data are unsafe or others than registered, by store.",
    ["store"], registry=REGISTRY,
)
REMOVALS = Counter(
    "glance_removals", "Removals of the data of one location, by store and how they ended.",
    ["store", "outcome"], registry=REGISTRY,
)
SWEEPS = Counter(
    "glance_sweeps", "Passes over the due rows, by how they ended: ok or failed.",
    ["outcome"], registry=REGISTRY,
)
LAST_SWEEP = Gauge(
    "glance_last_sweep_timestamp_seconds", "When the last pass over the due rows ended, by how it ended.",
    ["outcome"], registry=REGISTRY, multiprocess_mode="livemax",
)
VERIFIED = Counter(
    "glance_verified", "Copies that verify read, by store and result: right, damaged, unreadable, unproved.",
    ["store", "result"], registry=REGISTRY,
)
VERIFIED_BYTES = Counter(
    "glance_verified_bytes", "Bytes that verify read.",
    ["store"], registry=REGISTRY,
)
QUARANTINED = Counter(
    "glance_copies_quarantined", "Copies taken out of use, by store and damage: digest, size, missing.",
    ["store", "damage"], registry=REGISTRY,
)
REPAIRS = Counter(
    "glance_copies_replaced", "Quarantined copies that were replaced by a good one.",
    ["store"], registry=REGISTRY,
)
RECONCILED = Counter(
    "glance_reconciled", "Differences between stores and registry that reconcile found: orphan, missing, size.",
    ["store", "found"], registry=REGISTRY,
)
CACHE_READS = Counter(
    "glance_cache_reads", "Downloads while the image cache is on: hit = from a whole copy, miss = began a copy, "
    "follower = from a copy that was being made, bypass = from the store, left = began in the cache and went on at the "
    "store.",
    ["outcome"], registry=REGISTRY,
)
CACHE_BYTES = Counter(
    "glance_cache_bytes", "Bytes of the image cache: sent from whole copies (copy) and from copies that were being "
    "made (growing), and read from stores to make copies (filled).",
    ["kind"], registry=REGISTRY,
)
CACHE_FILLS = Counter(
    "glance_cache_fills", "Copies of the image cache by what became of them: stored; failed = the store gave no whole "
    "or right data; disk = the cache could not write; defect; abandoned = not begun, or stopped; damaged = found wrong "
    "later.",
    ["outcome"], registry=REGISTRY,
)
CACHE_FILLS_RUNNING = Gauge(
    "glance_cache_fills_running", "Copies of the image cache that are being made.",
    ["state"], registry=REGISTRY, multiprocess_mode="livesum",
)
CACHE_EVICTIONS = Counter(
    "glance_cache_evictions", "Copies removed from the image cache to make room (size).",
    ["reason"], registry=REGISTRY,
)

ALL = (
    REQUESTS, REGISTRY_CALLS, STORE_BYTES, TRANSFERS, TRANSFERS_REFUSED, REMOTE_CHECKS, REMOTE_CHECKS_REFUSED,
    UPLOADS, CONNECTIONS, LIST_READS, OUTBOX, OUTBOX_DROPPED, OPERATIONS, OPERATIONS_RUNNING, DATA_REFUSED, REMOVALS,
    SWEEPS, LAST_SWEEP, VERIFIED, VERIFIED_BYTES, QUARANTINED, REPAIRS, RECONCILED, CACHE_READS, CACHE_BYTES,
    CACHE_FILLS, CACHE_FILLS_RUNNING, CACHE_EVICTIONS,
)

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
NO_ROUTE = "(none)"
"""Label of requests that no route answered: unknown paths, refused tokens, version documents."""


def forget() -> None:
    """Begin all counts anew: what was counted before is bound to the way of counting that held then."""
    for metric in ALL:
        metric.clear()


def request_done(method: str, route: str | None, status: str, seconds: float) -> None:
    """Count an answered request; ``route`` is the rule with its placeholders, None when none matched."""
    REQUESTS.labels(method if method in METHODS else "other", route or NO_ROUTE, status).observe(seconds)
