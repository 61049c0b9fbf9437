"""Options of the original's files that mean nothing here, each with the reason.

They are accepted, so that an existing file starts, and named once at start, so that no operator relies on them.
"""

_RECONNECT = "the registry starts without its database, and connects anew whenever the connection is lost"
_DRIVER = "the database is PostgreSQL, with one driver"
_V1_CALLS = "every metadata call goes through the registry, signed with [registry] context_secret_file"
_BROKER = "transport_url names the broker and says how it is reached"
_NOTIFICATIONS = "driver and topics stand in [oslo_messaging_notifications]; the exchange is glance"
_LOCKS = "only stores of kind cinder use lock files, in lock_path"
_NO_RPC = "the services call each other over HTTP, not over a message bus"
_ROTATION = "the log file is not rotated by the service; it follows its name when logrotate moved it"
_LINES = "lines have no instance, resource or user; the request id leads to them"
_RATE = "no line is dropped"
_CALLER = "the key manager is asked with the token of the caller"
_SCRUBBERS = "several scrubbers share the work by themselves"

_IMAGE_CACHE = "the image cache is a part of glance-api"

_BY_GROUP = {
    "oslo_messaging_rabbit": _BROKER,
    "oslo_messaging_amqp": _BROKER,
    "oslo_messaging_kafka": "notifications go to RabbitMQ",
    "oslo_messaging_zmq": _NO_RPC,
    "matchmaker_redis": _NO_RPC,
    "rpc_notifier2": "topics stand in [oslo_messaging_notifications]",
    "oslo_concurrency": _LOCKS,
    "cors.subdomain": "[cors] allowed_origin takes several origins",
    "privsep_osbrick": "only helper_command is used, by stores of kind cinder",
    "oslo_reports": "there are no reports of the process; its metrics and health are at metrics_bind",
    "vault": "only Barbican is known as key manager",
    "barbican_service_user": _CALLER,
    "profiler_jaeger": "the connection_string of [profiler] says where spans go",
    "profiler_otlp": "the connection_string of [profiler] says where spans go",
}
"""Groups in which every name that no option has does nothing."""


def _of_stores(*names: str) -> dict[str, tuple[str, ...]]:
    """Return the groups in which files of different years have options of stores."""
    return {"DEFAULT": names, "glance_store": names}


_BY_REASON: dict[str, dict[str, tuple[str, ...]]] = {
    _IMAGE_CACHE: {
        "DEFAULT": (
            "image_cache_dir", "image_cache_driver", "image_cache_sqlite_db", "image_cache_max_size",
            "image_cache_stall_time",
        ),
    },
    _V1_CALLS: {
        "DEFAULT": (
            "use_user_token", "send_identity_headers", "admin_user", "admin_password", "admin_tenant_name", "auth_url",
            "auth_region", "auth_strategy",
        ),
    },
    _RECONNECT: {
        "database": (
            "use_db_reconnect", "db_retry_interval", "db_inc_retry_interval",
            "db_max_retry_interval", "db_max_retries",
        ),
    },
    _DRIVER: {
        "DEFAULT": ("db_backend",),
        "database": (
            "backend", "sqlite_synchronous", "mysql_sql_mode", "mysql_wsrep_sync_wait", "mysql_enable_ndb",
            "asyncio_connection", "asyncio_slave_connection", "use_tpool", "sqlite_db",
        ),
    },
    "all reads but lists go to connection": {"database": ("synchronous_reader",)},
    "no connection is kept before it is needed": {
        "DEFAULT": ("sql_min_pool_size",), "DATABASE": ("sql_min_pool_size",), "database": ("min_pool_size",),
    },
    "the log tells how many statements a request took, and their time": {
        "DEFAULT": ("sql_connection_debug", "sql_connection_trace", "sqlalchemy_debug"),
        "database": ("connection_debug", "connection_trace"),
    },
    "parameters stand in connection": {"database": ("connection_parameters",)},
    _BROKER: {
        "DEFAULT": (
            "rpc_backend", "rabbit_host", "rabbit_port", "rabbit_hosts", "rabbit_userid", "rabbit_password",
            "rabbit_virtual_host", "rabbit_use_ssl", "rabbit_durable_queues", "amqp_durable_queues", "rabbit_ha_queues",
            "rabbit_max_retries", "rabbit_retry_interval", "rabbit_retry_backoff", "control_exchange",
            *(f"qpid_{name}" for name in (
                "host", "hostname", "hosts", "port", "username", "password", "sasl_mechanisms", "protocol",
                "tcp_nodelay", "topology_version", "receiver_capacity", "heartbeat", "reconnect_timeout",
                "reconnect_limit", "reconnect_interval", "reconnect_interval_min", "reconnect_interval_max",
            )),
        ),
    },
    _NOTIFICATIONS: {
        "DEFAULT": (
            "notifier_strategy", "rabbit_notification_exchange", "rabbit_notification_topic",
            "qpid_notification_exchange", "qpid_notification_topic",
        ),
    },
    _NO_RPC: {
        "DEFAULT": (
            "rpc_zmq_concurrency",
            "allowed_rpc_exception_modules", "conn_pool_min_size", "conn_pool_ttl", "executor_thread_pool_size",
            "rpc_response_timeout", "rpc_conn_pool_size", "rpc_thread_pool_size", "rpc_cast_timeout",
            "rpc_poll_timeout", "rpc_message_ttl", "rpc_ping_enabled", "rpc_retry_attempts", "rpc_use_acks",
            "rpc_ack_timeout_base", "rpc_ack_timeout_multiplier", "subscribe_on", "use_dynamic_connections",
            "use_pub_sub", "use_router_proxy",
            *(f"rpc_zmq_{name}" for name in (
                "bind_address", "bind_port_retries", "contexts", "host", "ipc_dir", "matchmaker", "max_port",
                "min_port", "serialization", "topic_backlog",
            )),
            *(f"zmq_{name}" for name in (
                "failover_connections", "immediate", "linger", "target_expire", "target_update", "tcp_keepalive",
                "tcp_keepalive_cnt", "tcp_keepalive_idle", "tcp_keepalive_intvl",
            )),
        ),
    },
    _LOCKS: {"DEFAULT": ("lock_path",)},
    "glance-manage db sync makes the tables": {"DEFAULT": ("db_auto_create",)},
    "glance-api checks the policy": {"DEFAULT": ("policy_file", "policy_default_rule", "policy_dirs")},
    "an upload needs no room on the disk": _of_stores("s3_store_object_buffer_dir"),
    "the store is reached without a proxy": _of_stores(
        "s3_store_enable_proxy", "s3_store_proxy_host", "s3_store_proxy_port", "s3_store_proxy_user",
        "s3_store_proxy_password",
    ),
    "swift_store_endpoint and swift_store_endpoint_type say how Swift is reached": _of_stores("swift_enable_snet"),
    "vmware_datastores names datacenter and datastore": _of_stores("vmware_datacenter_path", "vmware_datastore_name"),
    _ROTATION: {
        "DEFAULT": (
            "log_rotation_type", "log_rotate_interval", "log_rotate_interval_type", "max_logfile_count",
            "max_logfile_size_mb", "watch_log_file",
        ),
    },
    _LINES: {"DEFAULT": ("instance_format", "instance_uuid_format", "logging_user_identity_format")},
    _RATE: {"DEFAULT": ("rate_limit_interval", "rate_limit_burst", "rate_limit_except_level")},
    _CALLER: {
        "key_manager": (
            "auth_type", "token", "username", "password", "auth_url", "user_id", "user_domain_id", "user_domain_name",
            "trust_id", "domain_id", "domain_name", "project_id", "project_name", "project_domain_id",
            "project_domain_name", "reauthenticate",
        ),
        "barbican": ("send_service_user_token",),
    },
    "verify_ssl_path names the CA, and no client certificate is shown": {
        "barbican": ("cafile", "certfile", "keyfile", "tls_ciphers", "tls_min_version"),
    },
    "the service has one bound for each exchange": {"barbican": ("timeout", "number_of_retries", "retry_delay")},
    "keystoneauth's own log stays quiet, it prints tokens": {"barbican": ("collect_timing", "split_loggers")},
    "the addresses stand in the catalogue, or in barbican_endpoint": {
        "barbican": ("auth_endpoint", "barbican_api_version"),
    },
    "the path is /healthcheck": {"healthcheck": ("path",)},
    "the public answer is OK or DOWN; the rest stands at metrics_bind": {"healthcheck": ("detailed",)},
    "spans are kept as they are": {
        "profiler": ("es_doc_type", "es_scroll_time", "es_scroll_size", "filter_error_trace", "trace_requests"),
    },
    "the connection_string says how the sentinels are reached": {
        "profiler": ("sentinel_service_name", "socket_timeout"),
    },
    "there is no remote debugger": {"DEFAULT": ("pydev_worker_debug_host", "pydev_worker_debug_port")},
    "the registry has one protocol": {"DEFAULT": ("enable_v1_registry", "enable_v2_registry")},
    _SCRUBBERS: {"DEFAULT": ("cleanup_scrubber", "cleanup_scrubber_time")},
    "there is one executor": {"task": ("task_executor", "eventlet_executor_pool_size")},
}

_REASONS = {
    ("DEFAULT", "data_api"): "metadata always go through the registry",
    ("DEFAULT", "dbapi_use_tpool"): "there are no green threads",
    ("DEFAULT", "metadata_source_path"): "only glance-manage reads and writes definition files",
    ("DEFAULT", "admin_role"): "the policy rule context_is_admin says who is an administrator",
    ("DEFAULT", "enable_v2_api"): "v2 is always served",
    ("DEFAULT", "enable_image_import"): "enabled_import_methods says which imports are served",
    ("DEFAULT", "owner_is_tenant"): "the owner is always the project",
    ("DEFAULT", "digest_algorithm"): "certificates are checked by the TLS library",
    ("DEFAULT", "verbose"): "use debug",
    ("DEFAULT", "restore"): "only the command line of glance-scrubber has it",
    ("barbican", "insecure"): "use verify_ssl",
    ("DEFAULT", "log_color"): "lines have no colours",
    ("DEFAULT", "publish_errors"): "errors are not sent as notifications",
    ("DEFAULT", "fatal_deprecations"): "nothing that is configured is deprecated",
    ("DEFAULT", "secure_proxy_ssl_header"): "set [oslo_middleware] enable_proxy_headers_parsing",
    ("DEFAULT", "scrubber_datadir"): "the queue is in the database and the message broker",
    ("DEFAULT", "metadata_encryption_key"): "locations are encrypted before they reach the registry; set it in "
    "glance-api.conf and glance-scrubber.conf",
    ("glance_store", "store_capabilities_update_min_interval"): "capabilities of a store do not change",
    ("paste_deploy", "flavor"): "the registry and the scrubber know callers by their signature alone",
    ("paste_deploy", "config_file"): "only glance-api and glance-registry have a paste file",
    ("profiler", "trace_sqlalchemy"): "spans end at the registry",
    ("wsgi", "task_pool_threads"): "see [taskflow_executor] max_workers",
    ("wsgi", "python_interpreter"): "the service runs its own workers",
    **{
        (group, name): reason
        for reason, groups in _BY_REASON.items()
        for group, names in groups.items()
        for name in names
    },
}


_STORE_SECTIONS = ("cinder", "file", "os_brick")


def section_reason(group: str) -> str | None:
    """Return why a whole section that no option has does nothing, None when it is not one of the original's samples."""
    if group in _STORE_SECTIONS or group.startswith("glance.store."):
        return "the options of a store stand in [glance_store], or in the section of its id in enabled_backends"
    return None


def reason_of(group: str, name: str) -> str | None:
    """Return why an option of the original does nothing, None when it is not one of those."""
    return _REASONS.get((group, name)) or _BY_GROUP.get(group)
