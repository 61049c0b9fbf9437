"""Options of the original's files that mean nothing here, each with the reason.

They are accepted, so that an existing file starts, and named once at start, so that no operator relies on them.
"""

_DATABASE = "only glance-registry has a database connection; set it in glance-registry.conf"
_V1_CALLS = "every metadata call goes through the registry, signed with [registry] context_secret_file"
_BROKER = "transport_url names the broker"

_NOT_YET = "this release does not have what it belongs to"

_LATER = {
    "DEFAULT": (
        "image_cache_dir", "image_cache_driver", "image_cache_sqlite_db", "image_cache_max_size",
        "image_cache_stall_time",
    ),
}

NO_EFFECT: dict[tuple[str, str], str] = {
    **{(group, name): _NOT_YET for group, names in _LATER.items() for name in names},
    ("DEFAULT", "data_api"): "metadata always go through the registry",
    ("DEFAULT", "metadata_source_path"): "only glance-manage reads and writes definition files",
    ("DEFAULT", "use_user_token"): _V1_CALLS,
    ("DEFAULT", "send_identity_headers"): _V1_CALLS,
    ("DEFAULT", "admin_user"): _V1_CALLS,
    ("DEFAULT", "admin_password"): _V1_CALLS,
    ("DEFAULT", "admin_tenant_name"): _V1_CALLS,
    ("DEFAULT", "auth_url"): _V1_CALLS,
    ("DEFAULT", "auth_region"): _V1_CALLS,
    ("DEFAULT", "auth_strategy"): _V1_CALLS,
    ("DEFAULT", "admin_role"): "the policy rule context_is_admin says who is an administrator",
    ("DEFAULT", "allowed_rpc_exception_modules"): "errors cross the registry protocol by title, never by class name",
    ("DEFAULT", "enable_v1_registry"): "the registry has one protocol",
    ("DEFAULT", "enable_v2_registry"): "the registry has one protocol",
    ("DEFAULT", "enable_v2_api"): "v2 is always served",
    ("DEFAULT", "owner_is_tenant"): "the owner is always the project",
    ("DEFAULT", "digest_algorithm"): "certificates are checked by the TLS library",
    ("DEFAULT", "pydev_worker_debug_host"): "there is no remote debugger",
    ("DEFAULT", "pydev_worker_debug_port"): "there is no remote debugger",
    ("DEFAULT", "use_syslog"): "under systemd the journal takes stderr; otherwise set log_file",
    ("DEFAULT", "syslog_log_facility"): "under systemd the journal takes stderr; otherwise set log_file",
    ("DEFAULT", "use_stderr"): "the log goes to stderr when log_file and log_dir are unset",
    ("DEFAULT", "verbose"): "use debug",
    ("DEFAULT", "scrubber_datadir"): "the queue is in the database and the message broker",
    ("DEFAULT", "cleanup_scrubber"): "several scrubbers share the work by themselves",
    ("DEFAULT", "cleanup_scrubber_time"): "several scrubbers share the work by themselves",
    ("DEFAULT", "rpc_backend"): _BROKER,
    ("DEFAULT", "rabbit_host"): _BROKER,
    ("DEFAULT", "rabbit_port"): _BROKER,
    ("DEFAULT", "rabbit_userid"): _BROKER,
    ("DEFAULT", "rabbit_password"): _BROKER,
    ("DEFAULT", "metadata_encryption_key"): "locations are encrypted before they reach the registry; set it in "
    "glance-api.conf and glance-scrubber.conf",
    ("database", "*"): _DATABASE,
    ("oslo_messaging_rabbit", "*"): "the URL of the broker says how it is reached",
    ("glance_store", "store_capabilities_update_min_interval"): "capabilities of a store do not change",
    ("paste_deploy", "flavor"): "the registry and the scrubber know callers by their signature alone",
    ("paste_deploy", "config_file"): "the pipeline is chosen by [paste_deploy] flavor alone",
    ("profiler", "trace_sqlalchemy"): "spans end at the registry",
    ("oslo_concurrency", "*"): "only stores of kind cinder use lock files, in lock_path",
    ("privsep_osbrick", "*"): "only helper_command is used, by stores of kind cinder",
    ("wsgi", "task_pool_threads"): "see [taskflow_executor] max_workers",
    ("wsgi", "python_interpreter"): "the service runs its own workers",
    ("task", "task_executor"): "there is one executor",
}
