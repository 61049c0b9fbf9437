"""Serves ``/metrics`` and the detailed ``/healthcheck`` from a few threads, beside whatever else the process does."""

import logging
import re
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from socket import AF_INET, AF_INET6
from typing import Any

import orjson
from oslo_config import cfg
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from glance_common.config.loading import ConfigError

log = logging.getLogger(__name__)

_ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+)):([0-9]{1,5})")

CLIENT_SECONDS = 10
"""Seconds for one request."""
_FINISH_SECONDS = 2.0
"""How long answers that have begun may take when the service stops; a reload cuts none of them short."""
_RETRY_SECONDS = 10.0
_QUIET_SECONDS = 3.0
"""After a reload the address stays in use until the previous process has ended; that is no reason for a warning."""


def metrics_opt(default: str) -> cfg.Opt:
    """Return the option, with the address of one daemon as its default."""
    return cfg.StrOpt(
        "metrics_bind", default=default,
        help="Address and port of /metrics (Prometheus) and of the detailed /healthcheck; empty = neither. Both name "
        "stores and hosts and ask for no token: only for addresses that users do not reach. When another "
        "process has the port, the service works without them and tries again.",
    )


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str | None) -> Address | None:
    """Return what the option ``metrics_bind`` names, None when it is empty. Raises ConfigError."""
    if not text:
        return None
    match = _ADDRESS.fullmatch(text.strip())
    try:
        if match is None or not 0 < int(match[3]) < 65536:
            raise ValueError
        return Address(str(ip_address(match[1] or match[2])), int(match[3]))
    except ValueError:
        raise ConfigError(
            "DEFAULT", "metrics_bind", text, "must be an IP address and a port, like 127.0.0.1:9392 or [::1]:9392"
        ) from None


class Exporter:
    """The HTTP server; ``registries`` are collected one after the other, ``health`` returns a document.

    ``before`` is called ahead of each collection, and collections never overlap.
    """

    def __init__(
        self,
        address: Address,
        registries: Iterable[CollectorRegistry],
        health: Callable[[], dict[str, Any]],
        before: Callable[[], None] = lambda: None,
    ) -> None:
        self._address = address
        self._registries = tuple(registries)
        self._health = health
        self._before = before
        self._collecting = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)

    def start(self) -> None:
        """Listen and answer in threads; never fails."""
        self._thread.start()

    def stop(self) -> None:
        """Stop listening, and finish the answers that have begun."""
        self._stop.set()
        self._thread.join(CLIENT_SECONDS)

    def metrics(self) -> bytes:
        """Return all numbers in the text format of Prometheus."""
        with self._collecting:
            self._before()
            return b"".join(generate_latest(registry) for registry in self._registries)

    def _run(self) -> None:
        server = self._listen()
        if server is None:
            return
        log.info("metrics and detailed health at http://%s", self._address)
        with server:
            while not self._stop.is_set():
                server.handle_request()
        server.finish(_FINISH_SECONDS)

    def _listen(self) -> "_Server | None":
        """Return the listening server, as soon as the address is free; None when stopped before."""
        started, warned = time.monotonic(), False
        while not self._stop.is_set():
            try:
                return _Server(self._address, self)
            except OSError as error:
                if not warned and time.monotonic() - started > _QUIET_SECONDS:
                    log.warning("no metrics at %s: %s; trying again", self._address, error.strerror)
                    warned = True
            self._stop.wait(_RETRY_SECONDS if warned else _QUIET_SECONDS / 10)
        return None

    def answer(self, path: str) -> tuple[int, str, bytes]:
        """Return status, content type and body for a path."""
        match path.partition("?")[0]:
            case "/metrics":
                return 200, CONTENT_TYPE_LATEST, self.metrics()
            case "/healthcheck":
                document = self._health()
                status = 503 if document["status"] == "down" else 200
                return status, "application/json", orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n"
            case _:
                return 404, "text/plain; charset=utf-8", b"Here are /metrics and /healthcheck.\n"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # Seconds after which handle_request returns without a request.
    timeout = 0.2

    def __init__(self, address: Address, exporter: Exporter) -> None:
        class Handler(_Handler):
            answer = staticmethod(exporter.answer)

        self.address_family = AF_INET6 if ":" in address.host else AF_INET
        self._answering: list[threading.Thread] = []
        super().__init__((address.host, address.port), Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread that ``finish`` knows: the base class forgets those that do not keep a process alive."""
        thread = threading.Thread(target=self.process_request_thread, args=(request, client_address), daemon=True)
        self._answering = [*(other for other in self._answering if other.is_alive()), thread]
        thread.start()

    def finish(self, seconds: float) -> None:
        """Wait for the answers that have begun."""
        deadline = time.monotonic() + seconds
        for thread in self._answering:
            thread.join(max(deadline - time.monotonic(), 0))


class _Handler(BaseHTTPRequestHandler):
    timeout = CLIENT_SECONDS
    answer: Callable[[str], tuple[int, str, bytes]]

    def do_GET(self) -> None:
        """Answer with a body."""
        self._respond(with_body=True)

    def do_HEAD(self) -> None:
        """Answer without a body."""
        self._respond(with_body=False)

    def _respond(self, with_body: bool) -> None:
        try:
            status, content_type, body = self.answer(self.path)
        except Exception:
            log.exception("%s cannot be answered", self.path)
            status, content_type, body = 500, "text/plain; charset=utf-8", b"see the log\n"
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def version_string(self) -> str:
        """Return the name of the server without versions."""
        return "glance"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the overridden method
        """Write to the service's log, on level DEBUG."""
        log.debug(format, *args)
