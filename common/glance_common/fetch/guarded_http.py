"""Connections of requests and urllib3 under a guard: every wait of theirs, from the look-up to the last byte.

``http.client`` reads headers and bodies through the socket's ``recv_into``, and TLS shakes hands in ``do_handshake``;
these are the places where the sockets here ask the guard.
"""

import errno
import ipaddress
import os
import select
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from glance_common.fetch.guards import ExchangeLimits, Guard
from glance_common.fetch.name_lookup import NameLookups, system_resolver

Watch = Callable[[], Guard]
"""Returns the guard of the exchange that the calling thread is in."""

_LOOKUPS = NameLookups()
"""For the servers that operators name. Those of users have look-ups of their own, which cannot keep these waiting."""


class _GuardedSocket(socket.socket):
    """Asks the guard before every wait."""

    watch: Watch

    def recv(self, *arguments: Any) -> bytes:
        """Receive."""
        guard = self.watch()
        self._acknowledge()
        received = guard.attempt(self, super().recv, *arguments)
        guard.count(len(received))
        return received

    def recv_into(self, *arguments: Any) -> int:
        """Receive into a buffer."""
        guard = self.watch()
        self._acknowledge()
        size = guard.attempt(self, super().recv_into, *arguments)
        guard.count(size)
        return size

    def _acknowledge(self) -> None:
        """Acknowledge what came at once. Servers that send header and body apart, as Ceph's gateway does, may hold the
        body back until then: 40 ms of each exchange. The kernel forgets the option, so it is set anew."""
        self.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def send(self, data: Any, flags: int = 0) -> int:
        """Send a part of the data and return its size."""
        return self.watch().attempt(self, super().send, data, flags)

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Send all: in parts, because a try that ran into a timeout does not tell how much it sent."""
        with memoryview(data) as view, view.cast("B") as octets:
            sent = 0
            while sent < len(octets):
                sent += self.send(octets[sent:], flags)


class _GuardedTLSSocket(_GuardedSocket, ssl.SSLSocket):
    """The same with TLS."""

    def do_handshake(self, block: bool = False) -> None:
        """Shake hands."""
        self.watch().attempt(self, super().do_handshake, block)

    def recv_into(self, buffer: Any, *arguments: Any) -> int:
        """Receive into a buffer: all that is there. The library stops at each record, so at 16 KiB of data."""
        size = super().recv_into(buffer, *arguments)
        if not arguments:
            more = self._receive_rest(buffer, size)
            self.watch().count(more)
            size += more
        return size

    def _receive_rest(self, buffer: Any, size: int) -> int:
        """Receive behind the first ``size`` bytes of a buffer without a wait; return the bytes that came."""
        end = size
        self.settimeout(0)
        nothing_now = suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError)
        # Not recv_into: it would do no more than call this, 65 000 times a GiB.
        read: Callable[[int, memoryview], int] = super().read  # type: ignore[assignment]  # given a buffer, a number
        with memoryview(buffer) as view, view.cast("B") as octets, nothing_now:
            got, room = size, len(octets)
            while got and end < room:
                got = read(room - end, octets[end:])
                end += got
        return end - size


class _GuardedContext(ssl.SSLContext):
    """Makes guarded sockets of guarded sockets."""

    sslsocket_class = _GuardedTLSSocket
    _loaded: tuple[object, ...] | None = None

    def load_verify_locations(self, cafile: Any = None, capath: Any = None, cadata: Any = None) -> None:
        """Load certificates. The libraries ask for it at each connection; the same file is loaded once."""
        found = None
        if cafile is not None and capath is None and cadata is None:
            facts = os.stat(cafile)
            found = (cafile, facts.st_ino, facts.st_size, facts.st_mtime_ns)
        if found is None or found != self._loaded:
            super().load_verify_locations(cafile, capath, cadata)
            self._loaded = found

    def wrap_socket(self, sock: socket.socket, *arguments: Any, **options: Any) -> ssl.SSLSocket:
        """Return the socket after the handshake, which begins only when the new one knows whom to ask."""
        assert isinstance(sock, _GuardedSocket)
        wrapped = super().wrap_socket(sock, *arguments, **{**options, "do_handshake_on_connect": False})
        assert isinstance(wrapped, _GuardedTLSSocket)
        wrapped.watch = sock.watch
        try:
            wrapped.do_handshake()
        except BaseException:
            wrapped.close()
            raise
        return wrapped


def tls_context(verify: bool | str | None) -> ssl.SSLContext:
    """Return a context of clients whose sockets are guarded; CA certificates are still to be loaded."""
    context = _GuardedContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _connect(host: str, port: int, watch: Watch, options: Any) -> _GuardedSocket:
    """Return a connection to the first address of ``host`` that answers. Raises OSError."""
    guard = watch()
    guard.check()
    failure = OSError(errno.EADDRNOTAVAIL, "the name has no address")
    for address in _addresses(host, port, guard):
        try:
            return _connect_to(address, port, watch, options)
        except OSError as error:
            failure = error
            guard.check()
    raise failure


def _addresses(host: str, port: int, guard: Guard) -> list[str]:
    try:
        return [str(ipaddress.ip_address(host))]
    except ValueError:
        return list(_LOOKUPS.find(system_resolver, host, port, guard))


def _connect_to(address: str, port: int, watch: Watch, options: Any) -> _GuardedSocket:
    sock = _GuardedSocket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.watch = watch
        for option in options or ():
            sock.setsockopt(*option)
        sock.setblocking(False)
        failed = sock.connect_ex((address, port))
        if failed == errno.EINPROGRESS:
            guard = watch()
            seconds = guard.limits.connect
            guard.until(partial(_is_writable, sock), seconds, f"did not answer within {seconds:g} seconds")
            failed = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if failed:
            raise OSError(failed, "the connection failed")
    except BaseException:
        sock.close()
        raise
    return sock


def _is_writable(sock: socket.socket, seconds: float) -> bool:
    poller = select.poll()
    poller.register(sock, select.POLLOUT)
    return bool(poller.poll(seconds * 1000))


class _PlainConnection(HTTPConnection):
    def __init__(self, *arguments: Any, watch: Watch, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._watch = watch

    def _new_conn(self) -> socket.socket:
        return open_socket(self, self._dns_host, self._watch)


class _TLSConnection(HTTPSConnection):
    def __init__(self, *arguments: Any, watch: Watch, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._watch = watch

    def _new_conn(self) -> socket.socket:
        return open_socket(self, self._dns_host, self._watch)


def open_socket(connection: HTTPConnection, host: str, watch: Watch) -> socket.socket:
    """Return a guarded socket that is connected to ``host``. Raises errors that urllib3 knows."""
    try:
        return _connect(host, connection.port, watch, connection.socket_options)
    except TimeoutError as error:
        raise ConnectTimeoutError(connection, str(error)) from error
    except OSError as error:
        raise NewConnectionError(connection, f"no connection: {error.strerror}") from error


class GuardedAdapter(HTTPAdapter):
    """Sends requests with guarded connections; give ``Session.mount`` one for http and https."""

    def __init__(self, watch: Watch, connections: int = 1, verify: bool | str = True) -> None:
        """``verify`` is for the certificate of a proxy; that of a server comes with each request."""
        self._watch = watch
        self._verify = verify
        self._contexts: dict[bool, ssl.SSLContext] = {}
        super().__init__(pool_connections=connections, pool_maxsize=connections)

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        """Let the pools make guarded connections."""
        super().init_poolmanager(*arguments, **options)
        self._take_over(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        """Return the manager of the connections through a proxy, which are guarded as well."""
        if proxy.lower().startswith("https://"):
            options["proxy_ssl_context"] = context = tls_context(self._verify)
            if self._verify:
                context.load_verify_locations(self._verify if isinstance(self._verify, str) else DEFAULT_CA_BUNDLE_PATH)
        manager = super().proxy_manager_for(proxy, **options)
        self._take_over(manager)
        return manager

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: Any, cert: Any = None
    ) -> Any:
        """Return host and pool parameters, with what makes guarded TLS sockets."""
        host, pool = super().build_connection_pool_key_attributes(request, verify, cert)
        return host, {**pool, "ssl_context": self._tls_for(verify)} if host["scheme"] == "https" else pool

    def _tls_for(self, verify: Any) -> ssl.SSLContext:
        # Made when it is needed, which takes longer than a request over plain HTTP; kept, as pools are found by it.
        if bool(verify) not in self._contexts:
            self._contexts.setdefault(bool(verify), tls_context(verify))
        return self._contexts[bool(verify)]

    def _take_over(self, manager: Any) -> None:
        manager.pool_classes_by_scheme = {
            "http": partial(_pool, HTTPConnectionPool, partial(_PlainConnection, watch=self._watch)),
            "https": partial(_pool, HTTPSConnectionPool, partial(_TLSConnection, watch=self._watch)),
        }


def _pool(kind: Callable[..., Any], connection: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    pool = kind(*arguments, **options)
    pool.ConnectionCls = connection
    return pool


class DocumentAdapter(GuardedAdapter):
    """For servers that operators name: each request has ``limits.answer`` seconds until the last byte of its answer.

    Any number of threads may use it. Read the answer in the thread that sent the request.
    """

    def __init__(self, limits: ExchangeLimits, connections: int = 1) -> None:
        self._limits = limits
        self._mine = threading.local()
        super().__init__(lambda: self._mine.guard, connections)

    def send(self, request: requests.PreparedRequest, *arguments: Any, **options: Any) -> requests.Response:
        """Send the request under a guard of its own."""
        self._mine.guard = guard = Guard(self._limits)
        response = super().send(request, *arguments, **options)
        guard.begin_body(document=True)
        return response


def document_session(limits: ExchangeLimits, connections: int = 1) -> requests.Session:
    """Return a session that ignores the environment and sends each request as ``DocumentAdapter`` does."""
    session = requests.Session()
    session.trust_env = False
    guard_session(session, limits, connections)
    return session


def guard_session(session: Any, limits: ExchangeLimits, connections: int = 10) -> None:
    """Let a session of requests or keystoneauth send each request as ``DocumentAdapter`` does."""
    for scheme in ("http://", "https://"):
        session.mount(scheme, DocumentAdapter(limits, connections))
