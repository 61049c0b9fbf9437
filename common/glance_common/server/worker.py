"""The worker process: gunicorn's threaded worker with limits for clients and an orderly end.

Signals: TERM stops (``stop_timeout``), HUP retires after a reload (``graceful_timeout``), QUIT aborts at once. Each may
come more than once. INT is left to the master, because Ctrl-C reaches the whole process group.
"""

import errno
import gc
import os
import selectors
import signal
import ssl
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from types import FrameType
from typing import Any

from gunicorn.http.errors import NoMoreData
from gunicorn.workers.gthread import ThreadWorker

from glance_common.body import ClientGone
from glance_common.config.loading import ConfigError
from glance_common.model.errors import GlanceError
from glance_common.server.answering import Answering
from glance_common.server.arrival import Arrival
from glance_common.server.boot import BootReport
from glance_common.server.connection import Connection
from glance_common.server.draining import announcing
from glance_common.server.intake import IntakeLimits, RequestRefused
from glance_common.server.lingering import Lingering
from glance_common.server.malformed import refused
from glance_common.server.sender import Sender
from glance_common.server.sending import Sending
from glance_common.server.settings import tls_context
from glance_common.server.state import ServerState
from glance_common.server.waiting import WaitingRoom

COLLECT_EVERY = (20_000, 10, 20)
"""New objects before the garbage collector looks at them, and how many times before it looks at older ones."""
IDLE_SECONDS = 75
"""How long a connection without a request stays open: longer than the pools of common clients and proxies."""
NEXT_SECONDS = 0.02
"""How long a thread stays with a connection for its next request, while enough others are free."""
REST_SECONDS = 0.002
"""How long it stays for the rest of a request that has begun."""
STOP_LINGER = 2.0
"""How long a stopping worker keeps idle connections, for a request that may be on its way already."""
_NO_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class TransferWorker(ThreadWorker):
    """Serves requests in threads; ``self.app`` is the master's ``Service``."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.report = BootReport()
        self.generation = 0
        self.kill_at: float | None = None
        self.settings = self.app.settings
        self._tls: ssl.SSLContext | None = None
        self._running: set[Connection] = set()
        self._busy = 0
        self._sent_apart = 0
        self._deadline = float("inf")
        self._stop = False
        self._most_patient = self.cfg.threads * 3 // 4
        # gunicorn reads 18 options at each request, by two calls each unless they are attributes.
        self.cfg.__dict__.update({name: setting.get() for name, setting in self.cfg.settings.items()})

    # --- start ---

    def load_wsgi(self) -> None:
        """Build the application; a failure goes to the master as one line."""
        self.state = ServerState(self.app.verdict.is_down)
        if self.app.numbers is not None:
            self.app.numbers.enter()
        try:
            self._tls = tls_context(self.settings)
            self.wsgi = announcing(self.app.application.build(self.state), self.app.draining)
        except Exception as error:
            if not isinstance(error, ConfigError | GlanceError | OSError):
                self.log.exception("The application cannot be built")
            self.report.failed(f"{error}" if str(error) else type(error).__name__)
            sys.exit(1)

    def init_process(self) -> None:
        """Make what belongs to this process, then serve; returns when the worker ends."""
        # Health checks have a thread more: they are answered when all others are busy.
        self._health = ThreadPoolExecutor(1, thread_name_prefix="health")
        super().init_process()

    def init_signals(self) -> None:
        """Install the handlers; they only note what was asked, the main loop does it."""
        super().init_signals()
        signal.signal(signal.SIGHUP, self.handle_retire)
        signal.signal(signal.SIGINT, self.handle_winch)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - a signal handler's signature
        """TERM: the service stops."""
        self._stop = True
        self._end_within(self.settings.stop_timeout)

    def handle_retire(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - as above
        """HUP: newer workers have taken over."""
        self._end_within(self.settings.graceful_timeout)

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - as above
        """QUIT: abort what is running."""
        self._stop = True
        self._end_within(0)

    def _end_within(self, seconds: float) -> None:
        self._deadline = min(self._deadline, time.monotonic() + seconds)
        self.alive = False
        self.method_queue.defer(_nothing)

    # --- main thread ---

    def run(self) -> None:
        """Serve until told to end or the master is gone, then end in order."""
        # What is there now stays: the collector need not look at it again. A page of a thousand images is no garbage
        # either, so that it looks less often at what is new.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*COLLECT_EVERY)
        self.poller.register(self.method_queue.fileno(), selectors.EVENT_READ, self.method_queue.run_callbacks)
        self._limits = IntakeLimits(
            fields=self.cfg.limit_request_fields,
            head=self.cfg.limit_request_fields * (self.cfg.limit_request_field_size + 2) + 4,
            request_line=self.cfg.limit_request_line,
            line=self.cfg.limit_request_field_size,
            document=self.settings.max_document,
            is_transfer=self.app.application.is_transfer,
        )
        self._waiting = WaitingRoom(self.poller, self._on_arrival)
        self._lingering = Lingering(self.poller, self._drop)
        self._answering = Answering(self.wsgi, self.cfg, self._keeps_connections)
        # Both are called in the sender's thread; connections belong to the main thread.
        self._sender = Sender(
            lambda sending: self.method_queue.defer(self._on_sent, sending),
            lambda sending: self.method_queue.defer(self._give_thread, sending),
            self.state.aborting.is_set,
        )
        self._sender.start()
        self.set_accept_enabled(True)
        self.report.ready()
        while self.alive:
            self.set_accept_enabled(self._make_room())
            self._tick()
            if self.alive and not self.is_parent_alive():
                # No master is left to stop this worker, and a new master needs the address.
                self.handle_exit(signal.SIGTERM, None)
        self._stop_accepting()
        self._finish_requests()
        self._sender.close()
        self.state.close()

    def _tick(self, timeout: float = 1.0) -> None:
        self.notify()
        self.wait_for_and_dispatch_events(timeout=timeout)
        self.murder_keepalived()
        self.murder_pending()
        self._waiting.sweep()
        self._lingering.sweep()
        self._note_stop()

    def _note_stop(self) -> None:
        # Not in the signal handler: the event's lock may be held by the very code that the signal interrupts.
        if self._stop:
            self.state.stopping.set()

    def _make_room(self) -> bool:
        """Keep a place free for the next connection: one that sends nothing gives way. Tell whether a place is free."""
        while self.nr_conns >= self.worker_connections:
            if not (self._lingering.drop_oldest() or self._waiting.dismiss_oldest() or self._drop_idle()):
                return False
        return True

    def _drop_idle(self) -> bool:
        for conns in (self.pending_conns, self.keepalived_conns):
            if conns:
                conn = conns.popleft()
                self.poller.unregister(conn.sock)
                self._drop(conn)
                return True
        return False

    def accept(self, listener: Any) -> bool:
        """Accept a connection, which gets a thread when its first request is here; tell whether there was one."""
        try:
            accepted = listener.accept()
        except OSError as error:
            if error.errno in _NO_RESOURCES:
                self.log.error("Cannot accept a connection: %s", error.strerror)
                time.sleep(0.1)
            return False
        try:
            conn = Connection(self.cfg, accepted, listener.getsockname(), self.settings, self._tls, self._limits)
            conn.may_wait = self._may_stay
        except OSError:
            accepted[0].close()
            return True
        self.nr_conns += 1
        self._wait_for_first(conn)
        return True

    def _wait_for_first(self, conn: Connection) -> None:
        conn.timeout = time.monotonic() + (IDLE_SECONDS if self.alive else STOP_LINGER)
        self.pending_conns.append(conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self.on_pending_socket_readable, conn))

    def on_pending_socket_readable(self, conn: Connection, client: Any) -> None:
        """Take what came first on a connection."""
        self.poller.unregister(client)
        self.pending_conns.remove(conn)
        self._waiting.enter(conn)

    def on_client_socket_readable(self, conn: Connection, client: Any) -> None:
        """Take what came after a pause on a connection."""
        self.poller.unregister(client)
        self.keepalived_conns.remove(conn)
        self._waiting.enter(conn)

    def _on_arrival(self, conn: Connection, arrival: Arrival) -> None:
        if arrival is Arrival.REQUEST:
            self.enqueue_req(conn)
        elif arrival is Arrival.MORE:
            self._wait_for_first(conn)
        else:
            self._end(conn)

    def enqueue_req(self, conn: Connection) -> None:
        """Give a connection a thread for the request that was collected; a health check never waits for the others."""
        if self._busy >= self.cfg.threads and conn.is_urgent:
            future = self._health.submit(self.handle, conn, stays=False)
        else:
            future = self.tpool.submit(self.handle, conn)
        self._expect(conn, future)

    def _expect(self, conn: Connection, future: "Future[bool | Sending]") -> None:
        self._busy += 1
        future.add_done_callback(lambda done: self.method_queue.defer(self.finish_request, conn, done))

    def finish_request(self, conn: Connection, future: "Future[bool | Sending]") -> None:
        """Go on with a connection that needs no thread any more."""
        self._busy -= 1
        self._waiting.release(conn)
        keep = not future.cancelled() and future.exception() is None and future.result()
        if isinstance(keep, Sending):
            self._sent_apart += 1
            self._sender.add(keep)
        else:
            self._go_on(conn, keep)

    def _on_sent(self, sending: Sending) -> None:
        self._sent_apart -= 1
        self._go_on(sending.conn, sending.keeps_connection)

    def _give_thread(self, sending: Sending) -> None:
        self._sent_apart -= 1
        self._expect(sending.conn, self.tpool.submit(self._send_rest, sending))

    def _go_on(self, conn: Connection, keep: bool) -> None:
        """Wait for the connection's next request or for the client to read the end; neither needs a thread."""
        if conn.is_sending:
            conn.ends = not keep
            self._waiting.enter(conn)
        elif not keep:
            self._end(conn)
        elif conn.has_input():
            self._waiting.enter(conn)
        elif conn.is_idle:
            self._keep(conn)
        else:
            self._waiting.wait(conn)

    def _keep(self, conn: Connection) -> None:
        conn.set_timeout()
        if not self.alive:
            conn.timeout = min(conn.timeout, time.monotonic() + STOP_LINGER)
        self.keepalived_conns.append(conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self.on_client_socket_readable, conn))

    def _end(self, conn: Connection) -> None:
        self._waiting.release(conn)
        self._lingering.add(conn)

    def _drop(self, conn: Connection) -> None:
        self.nr_conns -= 1
        conn.close()

    def _stop_accepting(self) -> None:
        """Close the listening sockets now, so that a new connection is refused at once instead of waiting in vain.

        When the service stops, connections that the kernel has accepted already are taken over first and answered.
        """
        self._note_stop()
        self.set_accept_enabled(False)
        for listener in self.sockets:
            while self._stop and self.accept(listener):
                pass
            listener.close()
        self._lingering.hurry()
        for conn in (*self.keepalived_conns, *self.pending_conns):
            conn.timeout = min(conn.timeout, time.monotonic() + STOP_LINGER)

    def _finish_requests(self) -> None:
        while self.nr_conns and time.monotonic() < self._deadline:
            self._tick()
        if not self._unfinished:
            return
        self.log.warning("Aborting %d requests: their time is over", self._unfinished)
        self.state.aborting.set()
        limit = time.monotonic() + self.settings.abort_grace
        while self._unfinished and time.monotonic() < limit:
            for conn in tuple(self._running):
                conn.cut()
            self._tick(timeout=0.2)
        if self._unfinished:
            self.log.critical("Leaving %d requests that did not end", self._unfinished)
            os._exit(1)

    @property
    def _unfinished(self) -> int:
        """Requests that have a thread, wait for one, or whose answers the sender sends."""
        return self._busy + self._sent_apart

    # --- request threads ---

    def handle(self, conn: Connection, stays: bool = True) -> bool | Sending:
        """Serve requests as long as they follow each other closely; return whether the connection stays open.

        Or return the last answer, when the sender has to send it.

        Handing a connection to the main thread and back costs as much as a small request itself. A thread that stays
        spares that, as long as a quarter of the threads is left for other connections. Many clients send a header and
        its document one right after the other: it waits once, and very briefly, for the rest of a request.
        """
        self._running.add(conn)
        try:
            keep = not self.state.aborting.is_set() and self._serve(conn)
            while keep is True and stays and self._has_next(conn):
                arrival = self._proceed(conn)
                if arrival is Arrival.MORE and conn.has_next_within(REST_SECONDS):
                    arrival = self._proceed(conn)
                if arrival is Arrival.MORE:
                    break
                keep = arrival is Arrival.REQUEST and self._serve(conn)
        finally:
            self._running.discard(conn)
        return keep

    def _proceed(self, conn: Connection) -> Arrival:
        try:
            return conn.proceed()
        except RequestRefused as refusal:
            conn.reject(refusal)
            return Arrival.END

    def _has_next(self, conn: Connection) -> bool:
        return self._may_stay() and not conn.is_sending and conn.has_next_within(NEXT_SECONDS)

    def _may_stay(self) -> bool:
        return self.alive and len(self._running) <= self._most_patient

    def _serve(self, conn: Connection) -> bool | Sending:
        request = None
        try:
            conn.begin()
            request = next(conn.parser)
            kept = self._answering.answer(request, conn)
            return kept and conn.drain() if isinstance(kept, bool) else kept
        except (ClientGone, NoMoreData, StopIteration) as error:
            self.log.debug("Connection of %s ended: %s", conn.client, error)
        except Exception as error:
            if request is not None or not refused(conn, error):
                self.handle_error(request, conn.sock, conn.client, error)
        return False

    def _send_rest(self, sending: Sending) -> bool | Sending:
        self._running.add(sending.conn)
        try:
            return self._answering.rest(sending)
        finally:
            self._running.discard(sending.conn)

    def _keeps_connections(self) -> bool:
        leaves = self.app.draining.has_begun() or not self.alive
        return self.settings.keepalive and not leaves and len(self.keepalived_conns) < self.max_keepalived


def _nothing() -> None:
    """Wake up the main loop."""

