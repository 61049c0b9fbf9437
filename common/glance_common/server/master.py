"""The master process: binds, starts workers, replaces them on HUP, stops them on TERM. Serves nothing itself."""

import errno
import logging
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NoReturn
from wsgiref.types import WSGIApplication

from gunicorn.arbiter import Arbiter
from gunicorn.config import Config
from gunicorn.errors import HaltServer
from gunicorn.glogging import Logger
from gunicorn.sock import TCP6Socket, TCPSocket

from glance_common.heap import share_heaps
from glance_common.monitor.monitor import Watched
from glance_common.notify import Notifier
from glance_common.observability.metrics.shared import SharedNumbers
from glance_common.retry import Backoff
from glance_common.server.draining import Draining
from glance_common.server.intake import RequestHead
from glance_common.server.monitor_process import MonitorProcess, SharedVerdict
from glance_common.server.settings import UMASK, ServerSettings
from glance_common.server.state import ServerState
from glance_common.server.worker import IDLE_SECONDS, TransferWorker

log = logging.getLogger(__name__)

AppFactory = Callable[[ServerState], WSGIApplication]


@dataclass(frozen=True, slots=True)
class Application:
    """What a service consists of: ``build`` makes its WSGI application in each worker, after the fork.

    ``watch`` says in the monitor process what the service depends on. ``is_transfer`` tells whether the body of a
    request is image data, which a thread reads while it comes; every other body is collected before it gets a thread.
    """

    build: AppFactory
    watch: Callable[[], Watched] = lambda: Watched(probes=())
    is_transfer: Callable[[RequestHead], bool] = lambda _head: False


Reload = Callable[[], tuple[ServerSettings, Application]]

REQUEST_LINE = 8190
"""Bytes of the first line of a request, the most that gunicorn reads."""
MAX_HEADERS = 250
"""Headers of a request: v1 sends each property of an image as one."""
HEARTBEAT_SECONDS = 120
"""A worker whose main loop does not turn for so long is killed. Requests run in threads and may take any time."""
IDLE_CONNECTIONS = 2000
"""Connections of one worker beside those in its threads; more wait in the backlog."""
KILL_MARGIN = 5.0
RESPAWN_LIMIT = 30.0


@dataclass(slots=True)
class Service:
    """What the master runs; gunicorn knows it as the application. A reload replaces settings and code together.

    ``numbers`` is None when there is no place for shared metrics.
    """

    name: str
    settings: ServerSettings
    application: Application
    cfg: Config
    numbers: SharedNumbers | None = None
    verdict: SharedVerdict = field(default_factory=SharedVerdict)
    draining: Draining = field(default_factory=Draining)


class RootLogger(Logger):
    """gunicorn's messages in the service's own log; requests are logged by the applications."""

    def setup(self, cfg: Config) -> None:
        """Send everything to the root logger's handlers."""
        self.cfg = cfg
        self._access_log_enabled = False
        self.error_log.propagate = True
        self.error_log.setLevel(logging.NOTSET)


class Master(Arbiter):
    """gunicorn's arbiter with generations of workers: the old ones go when all new ones serve.

    gunicorn itself waits inside its main loop for the old workers, with one time limit for reload and stop.
    """

    def __init__(self, service: Service, listener: TCPSocket, on_reload: Reload | None) -> None:
        super().__init__(service)
        self.LISTENERS = [listener]
        self._service = service
        self._on_reload = on_reload
        self._notifier = Notifier()
        self._companion = MonitorProcess(service.verdict, service.numbers, self.LISTENERS)
        self._previous: tuple[ServerSettings, Application] | None = None
        self._newest = self._generation = 1
        self._serving = 0
        self._interrupts = 0
        self._halting = False
        self._respawn_at = 0.0
        self._respawns = Backoff(first=1.0, most=RESPAWN_LIMIT, has_jitter=False)

    # --- workers ---

    def spawn_worker(self) -> int:
        """Start one worker of the current generation."""
        pid: int = super().spawn_worker()
        self.WORKERS[pid].generation = self._generation
        return pid

    def manage_workers(self) -> None:
        """Bring the workers to what they should be; called at least once a second."""
        current = [worker for worker in self.WORKERS.values() if worker.generation == self._generation]
        if len(current) < self.num_workers and time.monotonic() >= self._respawn_at:
            for _ in range(self.num_workers - len(current)):
                self.spawn_worker()
        for worker in sorted(current, key=lambda worker: worker.age)[: max(len(current) - self.num_workers, 0)]:
            self._retire(worker)
        if all(worker.report.is_ready for worker in current) and len(current) >= self.num_workers:
            self._respawns.reset()
            if self._serving != self._generation:
                self._take_over()
        for worker in tuple(self.WORKERS.values()):
            if worker.kill_at is not None and time.monotonic() >= worker.kill_at:
                self.kill_worker(worker.pid, signal.SIGKILL)
        if self._serving:
            self._companion.keep(self._service.application.watch, self._service.settings.metrics)

    def wait_for_signals(self, timeout: float = 1.0) -> list[int]:
        """Wait for signals, shortly while workers are starting."""
        signals: list[int] = super().wait_for_signals(timeout if self._serving == self._generation else 0.05)
        return signals

    def _take_over(self) -> None:
        """All workers of the newest generation serve: let the others finish."""
        self._serving = self._generation
        self._previous = None
        self._companion.renew()
        for worker in tuple(self.WORKERS.values()):
            if worker.generation != self._generation:
                self._retire(worker)
        self._notifier.send("READY=1", f"STATUS=Serving with {self.num_workers} workers")
        self.log.info("Ready: %d workers", self.num_workers)

    def _retire(self, worker: TransferWorker) -> None:
        """Let a worker finish its requests and end; the date makes sure that it does."""
        if worker.kill_at is None:
            settings = worker.settings
            worker.kill_at = time.monotonic() + settings.graceful_timeout + settings.abort_grace + KILL_MARGIN
            worker.generation = 0
            self.kill_worker(worker.pid, signal.SIGHUP)

    def reap_workers(self) -> None:
        """Collect ended workers and act on those that never served."""
        before = dict(self.WORKERS)
        super().reap_workers()
        for pid, worker in before.items():
            if pid not in self.WORKERS and not worker.report.is_ready and worker.generation == self._generation:
                self._boot_failed(worker.report.reason)

    def _boot_failed(self, reason: str) -> None:
        """A first start ends here, a failed reload returns to what served before, a respawn is tried again later."""
        if self._halting:
            return
        if not self._serving:
            raise HaltServer(reason, 1)
        if self._previous is not None:
            self.log.error("Reload failed: %s; the running configuration stays", reason)
            self._roll_back()
            return
        pause = self._respawns.next()
        self.log.error("A worker cannot start: %s; next try in %.0f s", reason, pause)
        self._respawn_at = time.monotonic() + pause

    # --- reload ---

    def reload(self) -> None:
        """HUP: read the configuration and start workers with it. A configuration that is wrong changes nothing."""
        if self._previous is not None:
            self._roll_back()
        self._notifier.send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        running = (self._service.settings, self._service.application)
        try:
            settings, application = self._on_reload() if self._on_reload is not None else running
        except Exception as error:
            self.log.error("Reload refused: %s; the running configuration stays", error)
            self._notifier.send("READY=1")
            return
        if (settings.host, settings.port, settings.backlog) != (running[0].host, running[0].port, running[0].backlog):
            self.log.warning("bind_host, bind_port and backlog take effect at the next start")
        self._previous = running
        self._use(settings, application)
        self._newest += 1
        self._generation = self._newest
        self._respawn_at = 0.0

    def _roll_back(self) -> None:
        assert self._previous is not None
        for worker in tuple(self.WORKERS.values()):
            if worker.generation == self._generation:
                self._retire(worker)
        self._use(*self._previous)
        self._previous = None
        self._generation = self._serving
        self._notifier.send("READY=1")

    def _use(self, settings: ServerSettings, application: Application) -> None:
        self._service.settings, self._service.application = settings, application
        self._service.cfg = gunicorn_config(settings, self._service.name)
        self.setup(self._service)

    # --- stop ---

    def handle_int(self) -> None:
        """INT (Ctrl-C) stops like TERM; a second one aborts running requests."""
        self._interrupts += 1
        raise StopIteration

    def handle_quit(self) -> None:
        """QUIT aborts running requests and stops."""
        self._interrupts += 2
        raise StopIteration

    def handle_usr2(self) -> None:
        """USR2 would start a second master; HUP does what a running service needs."""
        self.log.warning("USR2 is not supported; use HUP to reload")

    def halt(self, reason: str | None = None, exit_status: int = 0) -> NoReturn:
        """Stop the workers and exit: 0, or 1 with one line on stderr."""
        if exit_status:
            sys.stderr.write(f"ERROR: {self._service.name}: {reason}\n")
        super().halt(reason, 1 if exit_status else 0)
        raise AssertionError("unreachable")

    def stop(self, graceful: bool = True) -> None:
        """Stop all workers: at once unless ``graceful``; after ``stop_timeout`` and the time to clean up by force."""
        self._notifier.send("STOPPING=1")
        if graceful and self._serving and not self._interrupts:
            self._drain()
        self._halting = True
        for listener in self.LISTENERS:
            listener.close()
        settings = self._service.settings
        ask = signal.SIGTERM if graceful else signal.SIGQUIT
        limit = time.monotonic() + settings.abort_grace + KILL_MARGIN + (settings.stop_timeout if graceful else 0)
        asked_at = 0.0
        while self.WORKERS and time.monotonic() < limit:
            if time.monotonic() - asked_at >= 1:
                # Repeated, because a worker that was just forked does not hear the first one.
                self.kill_workers(ask)
                asked_at = time.monotonic()
            if ask != signal.SIGQUIT and self._hurry():
                ask, asked_at = signal.SIGQUIT, 0.0
                limit = time.monotonic() + settings.abort_grace + KILL_MARGIN
            self.reap_workers()
            time.sleep(0.05)
        self.kill_workers(signal.SIGKILL)
        self._companion.stop()
        self.reap_workers()
        if self._service.numbers is not None:
            self._service.numbers.close()

    def _drain(self) -> None:
        """Serve on for ``drain_time`` while health checks answer 503; QUIT, or INT twice, ends it early."""
        limit = time.monotonic() + self._service.settings.drain_time
        self._service.draining.begin()
        while time.monotonic() < limit and not self._hurry():
            self.reap_workers()
            self.manage_workers()
            time.sleep(0.05)

    def _hurry(self) -> bool:
        """Tell whether QUIT or a second INT came."""
        while not self.SIG_QUEUE.empty():
            self._interrupts += {signal.SIGINT: 1, signal.SIGQUIT: 2}.get(self.SIG_QUEUE.get_nowait(), 0)
        return self._interrupts > 1


def serve(
    settings: ServerSettings, application: Application, *, name: str, on_reload: Reload | None = None
) -> NoReturn:
    """Serve ``application`` until TERM; does not return, neither in the master nor in the workers.

    ``on_reload`` runs in the master on HUP, returns new settings and application, and raises to refuse the reload.
    Exit status 0 after a stop; 1, with one line ``ERROR: …`` on stderr, when the address is taken for 30 s or a first
    worker does not start.
    """
    os.umask(UMASK)
    share_heaps()
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
    service = Service(name, settings, application, gunicorn_config(settings, name))
    try:
        listener = _listen(settings, service.cfg)
    except OSError as error:
        sys.stderr.write(f"ERROR: {name}: cannot listen on {settings.host}:{settings.port}: {error.strerror}\n")
        sys.exit(1)
    try:
        service.numbers = SharedNumbers()
    except OSError as error:
        log.warning("no metrics: there is no room for them: %s", error)
    Master(service, listener, on_reload).run()
    raise AssertionError("unreachable")


def _listen(settings: ServerSettings, config: Config) -> TCPSocket:
    """Return the listening socket. An address in use is tried again, as the previous process may still be ending."""
    kind = TCP6Socket if ":" in settings.host else TCPSocket
    limit = time.monotonic() + settings.bind_patience
    while True:
        try:
            return kind((settings.host, settings.port), config, log)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() >= limit:
                raise
            log.warning("%s:%d is in use; trying again", settings.host, settings.port)
            time.sleep(min(1.0, settings.bind_patience / 4))


def gunicorn_config(settings: ServerSettings, name: str) -> Config:
    """Return gunicorn's settings; nothing is taken from its files, arguments or environment variables."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    values = {
        "bind": f"{host}:{settings.port}",
        "backlog": settings.backlog,
        "workers": settings.workers,
        "worker_class": TransferWorker,
        "threads": settings.threads,
        "worker_connections": settings.threads + IDLE_CONNECTIONS,
        "timeout": HEARTBEAT_SECONDS,
        "keepalive": IDLE_SECONDS if settings.keepalive else 0,
        # "auto" would take another parser when its package happens to be installed.
        "http_parser": "python",
        "limit_request_line": REQUEST_LINE,
        "limit_request_fields": MAX_HEADERS,
        "limit_request_field_size": settings.max_header_line,
        # The worker drops them, but for the names that v1 clients write so.
        "header_map": "dangerous",
        # Without a header to trust there is no peer to distrust: gunicorn would parse each client's address for it.
        "forwarded_allow_ips": "*",
        "secure_scheme_headers": {"X-FORWARDED-PROTO": "https"} if settings.trust_proxy_headers else {},
        "forwarder_headers": "",
        "certfile": settings.cert_file,
        "keyfile": settings.key_file,
        "logger_class": RootLogger,
        "accesslog": None,
        "control_socket_disable": True,
        "umask": UMASK,
        "proc_name": name,
    }
    config = Config(prog=name)
    for key, value in values.items():
        config.set(key, value)
    return config
