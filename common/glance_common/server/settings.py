"""Options of the HTTP server, the same for glance-api and glance-registry."""

import os
import ssl
from dataclasses import dataclass
from pathlib import Path

from oslo_config import cfg

from glance_common.body import MIB
from glance_common.config.loading import ConfigError, OptionTable
from glance_common.monitor.exporter import Address, metrics_opt, parse_address

READ_BEYOND = 64 * 1024
"""Bytes that an application may read beyond its limit before it sees that a document of unknown length is too large."""
UMASK = 0o027
"""Files of the services are not for all users (the original sets the same)."""


def list_opts(
    *,
    bind_host_default: str | None,
    bind_port_default: int,
    metrics_default: str,
    most_workers: int | None = None,
    threads_default: int = 32,
) -> OptionTable:
    """Return the server's options; without a ``bind_host_default``, ``ServerSettings.from_conf`` has it.

    ``most_workers`` bounds the default number of processes, for a service whose threads cost something elsewhere.
    """
    return [
        ("DEFAULT", [
            cfg.HostAddressOpt("bind_host", default=bind_host_default, help="Address to listen on."),
            cfg.PortOpt("bind_port", default=bind_port_default, help="Port to listen on."),
            metrics_opt(metrics_default),
            *_worker_opts(most_workers, threads_default), *_PROCESS_OPTS, *_CONNECTION_OPTS, *_TLS_OPTS,
        ]),
        ("oslo_middleware", _PROXY_OPTS),
    ]


def _worker_opts(most_workers: int | None, threads_default: int) -> list[cfg.Opt]:
    cpus = len(os.sched_getaffinity(0))
    return [
        cfg.IntOpt(
            "workers", min=0, default=min(cpus, most_workers or cpus),
            sample_default="number of CPUs" + (f", at most {most_workers}" if most_workers else ""),
            help="Worker processes; 0 and 1 both mean one.",
        ),
        cfg.IntOpt(
            "threads", min=1, default=threads_default, help="Requests that one worker serves at the same time."
        ),
    ]


_PROCESS_OPTS: list[cfg.Opt] = [
    cfg.IntOpt("backlog", min=1, default=4096, help="Connections that may wait to be accepted."),
    cfg.IntOpt(
        "graceful_timeout", min=0, default=3600,
        help="Seconds that old workers have after a reload (HUP) to finish the requests they are serving.",
    ),
    cfg.IntOpt(
        "drain_time", min=0, default=0,
        help="Seconds after TERM in which the service goes on as before, except that /healthcheck answers 503 and that "
        "connections end with their next answer. A load balancer needs that long to send requests elsewhere; "
        "stop_timeout begins afterwards. 0 = stop at once.",
    ),
    cfg.IntOpt(
        "stop_timeout", min=0, default=30,
        help="Seconds that requests have to finish after TERM; then they are aborted and cleaned up, which takes up to "
        "10 s more.",
    ),
]

_CONNECTION_OPTS: list[cfg.Opt] = [
    cfg.IntOpt(
        "client_socket_timeout", min=0, default=900,
        help="Seconds that a client may keep a request waiting for its next byte, in either direction; 0 = for ever.",
    ),
    cfg.IntOpt(
        "min_transfer_rate", min=0, default=1024,
        help="Bytes a second that a client must move, averaged over 60 s of waiting for it, or be cut; 0 = any.",
    ),
    cfg.FloatOpt(
        "header_timeout", min=1, default=10,
        help="Seconds that the header of a request may take from its first byte to its last, a TLS handshake as well.",
    ),
    cfg.FloatOpt(
        "document_timeout", min=1, default=10,
        help="Seconds that a body that is no image data may take from the end of the header to its last byte.",
    ),
    cfg.IntOpt("tcp_keepidle", min=1, default=600, help="Seconds of silence before TCP probes whether a client lives."),
    cfg.IntOpt("max_header_line", min=1024, default=16384, help="Longest request header, name and value, in bytes."),
    cfg.BoolOpt("http_keepalive", default=True, help="Serve several requests on one connection."),
]

_TLS_OPTS: list[cfg.Opt] = [
    cfg.StrOpt("cert_file", help="Certificate (chain) to serve TLS with; needs key_file."),
    cfg.StrOpt("key_file", help="Private key of cert_file, without a passphrase."),
    cfg.StrOpt("ca_file", help="CA certificates; when set, clients must show a certificate signed by one of them."),
]

_PROXY_OPTS: list[cfg.Opt] = [
    cfg.BoolOpt(
        "enable_proxy_headers_parsing", default=False,
        help="Believe the headers Forwarded and X-Forwarded-Proto, -For, -Host, -Port and -Prefix of the one proxy in "
        "front (the registry: X-Forwarded-Proto). Only for a service that clients reach only through a proxy that sets "
        "or removes all of them; otherwise clients choose what stands in links and logs.",
    ),
]


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """How to listen and serve. Times are seconds, sizes bytes.

    ``max_document`` is the service's own limit of bodies that are no image data: a larger one gets a thread at once, so
    that the application refuses it. The last three are no options, tests shorten them.
    """

    host: str
    port: int
    backlog: int = 4096
    workers: int = 1
    threads: int = 32
    graceful_timeout: float = 3600
    drain_time: float = 0
    stop_timeout: float = 30
    client_timeout: float | None = 900
    min_transfer_rate: int = 1024
    header_timeout: float = 10
    document_timeout: float = 10
    max_document: int = MIB
    keepidle: int = 600
    max_header_line: int = 16384
    keepalive: bool = True
    cert_file: str | None = None
    key_file: str | None = None
    ca_file: str | None = None
    trust_proxy_headers: bool = False
    metrics: Address | None = None
    rate_window: float = 60
    abort_grace: float = 10
    bind_patience: float = 30

    @classmethod
    def from_conf(
        cls, conf: cfg.ConfigOpts, *, default_host: str = "127.0.0.1", max_document: int = MIB
    ) -> "ServerSettings":
        """Return the settings in ``conf``; ``default_host`` stands for an unset ``bind_host``.

        Raises ConfigError for TLS files that are missing, unreadable, incomplete or do not belong together.
        """
        settings = cls(
            host=str(conf.bind_host or default_host),
            port=conf.bind_port,
            backlog=conf.backlog,
            workers=max(conf.workers, 1),
            threads=conf.threads,
            graceful_timeout=conf.graceful_timeout,
            drain_time=conf.drain_time,
            stop_timeout=conf.stop_timeout,
            client_timeout=conf.client_socket_timeout or None,
            min_transfer_rate=conf.min_transfer_rate,
            header_timeout=conf.header_timeout,
            document_timeout=conf.document_timeout,
            max_document=max_document + READ_BEYOND,
            keepidle=conf.tcp_keepidle,
            max_header_line=conf.max_header_line,
            keepalive=conf.http_keepalive,
            cert_file=conf.cert_file,
            key_file=conf.key_file,
            ca_file=conf.ca_file,
            trust_proxy_headers=conf.oslo_middleware.enable_proxy_headers_parsing,
            metrics=parse_address(conf.metrics_bind),
        )
        tls_context(settings)
        return settings


def tls_context(settings: ServerSettings) -> ssl.SSLContext | None:
    """Return the server's TLS context (TLS 1.2 or later), None when the settings name no certificate.

    Raises ConfigError naming the option at fault.
    """
    cert, key, ca = settings.cert_file, settings.key_file, settings.ca_file
    for option, path, other in (("cert_file", cert, key), ("key_file", key, cert)):
        if not path and (other or ca):
            raise ConfigError("DEFAULT", option, "", "must be set: TLS needs both cert_file and key_file")
    if not cert or not key:
        return None
    for option, path in (("cert_file", cert), ("key_file", key), ("ca_file", ca)):
        if path:
            _check_readable(option, path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    try:
        # The empty passphrase turns OpenSSL's prompt on the terminal into an error.
        context.load_cert_chain(cert, key, password="")
    except (ssl.SSLError, ValueError) as error:
        raise ConfigError("DEFAULT", "key_file", key, f"is no key for {cert}: {_reason(error)}") from None
    if ca:
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(ca)
        except ssl.SSLError as error:
            raise ConfigError("DEFAULT", "ca_file", ca, f"holds no CA certificates: {_reason(error)}") from None
    return context


def _check_readable(option: str, path: str) -> None:
    try:
        with Path(path).open("rb"):
            pass
    except OSError as error:
        raise ConfigError("DEFAULT", option, path, f"cannot be read: {error.strerror}") from None


def _reason(error: Exception) -> str:
    return getattr(error, "reason", None) or str(error)
