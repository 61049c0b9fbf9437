"""Starting ``server_program`` and talking to it byte by byte."""

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

import psutil
from deploy.local import processes

from glance_common.server import monitor_process
from tests.support.waiting import wait_for

PROGRAM = Path(__file__).with_name("server_program.py")
QUICK = {"client_timeout": 60, "stop_timeout": 1, "graceful_timeout": 60, "abort_grace": 30, "bind_patience": 10}
"""Only a stop is quick: every other limit is for a test that shortens it itself."""


def _name(process):
    try:
        return process.name()
    except psutil.NoSuchProcess:
        return None


class Server:
    """One running service."""

    def __init__(self, directory, **settings):
        self.directory = directory
        self.port = processes.free_port()
        address = {"host": "127.0.0.1", "port": self.port}
        self.config = {"settings": address | {"workers": 1, "threads": 4} | QUICK | settings}
        self.config_file, self.event_file = directory / "server.json", directory / "events"
        self.log_file = directory / "server.log"
        self.process = None

    def configure(self, **entries):
        """Change the configuration file."""
        self.config |= entries
        self.config_file.write_text(json.dumps(self.config))

    def start(self, *, ready=True, environ=None):
        """Start the master; with ``ready``, wait until it serves."""
        self.configure()
        self.event_file.touch()
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, PROGRAM, self.config_file, self.event_file], stderr=log, stdout=log,
                env=os.environ | (environ or {}), start_new_session=True,
            )
        if ready:
            wait_for(lambda: "Ready: " in self.log() or self.process.poll() is not None, what="ready")
            assert self.process.poll() is None, self.log()
        return self

    def log(self):
        return self.log_file.read_text()

    def events(self, name):
        """Return the events of one name so far."""
        lines = self.event_file.read_text().splitlines()
        return [event for event in map(json.loads, lines) if event["event"] == name]

    def wait_event(self, name, count=1, seconds=60.0):
        """Return the ``count``-th event of a name, waiting for it."""
        wait_for(lambda: len(self.events(name)) >= count, f"event {name}", seconds)
        return self.events(name)[count - 1]

    def workers(self):
        children = psutil.Process(self.process.pid).children()
        return [child.pid for child in children if _name(child) != monitor_process.NAME]

    def signal(self, sig):
        os.kill(self.process.pid, sig)

    def reload(self, **entries):
        """Send HUP with a changed configuration and wait for what the log says about it."""
        seen = self.log()
        self.configure(**entries)
        self.signal(signal.SIGHUP)
        words = ("Ready: ", "Reload failed", "Reload refused")
        wait_for(lambda: any(word in self.log()[len(seen):] for word in words), what="the reload")

    def refuses(self):
        """Tell whether no process listens any more: the master and all workers know that they must stop."""
        try:
            self.connect().sock.close()
        except ConnectionRefusedError:
            return True
        return False

    def stop(self, seconds=40.0):
        """Send TERM; return the exit status."""
        self.signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def destroy(self):
        """End whatever is left of the process group."""
        if self.process is not None:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                return
            self.process.wait()

    def connect(self, tls=None, receive_buffer=None):
        """Return a connection to the server."""
        sock = socket.socket()
        try:
            if receive_buffer:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            sock.settimeout(30)
            sock.connect(("127.0.0.1", self.port))
            return Client(sock if tls is None else tls.wrap_socket(sock, server_hostname="localhost"))
        except OSError:
            sock.close()
            raise

    def get(self, target, tls=None, **headers):
        """Return status, headers and body of a GET on a connection of its own."""
        with self.connect(tls) as client:
            client.request("GET", target, **headers)
            return client.response()

    def hello(self, tls=None, **headers):
        """Return the document of ``/hello``."""
        status, _, body = self.get("/hello", tls, **headers)
        assert status == 200, body
        return json.loads(body)


class Client:
    """A raw HTTP client that can stop anywhere."""

    def __init__(self, sock):
        self.sock = sock
        self.buffer = bytearray()

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data)

    def request(self, method, target, **headers):
        lines = [f"{method} {target} HTTP/1.1", "Host: localhost"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.send("\r\n".join([*lines, "", ""]).encode())

    def _fill(self):
        data = self.sock.recv(65536)
        if not data:
            raise EOFError(f"the connection ended after {self.buffer!r}")
        self.buffer += data

    def head(self):
        """Return status and headers of the next response."""
        while b"\r\n\r\n" not in self.buffer:
            self._fill()
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        return int(first.split()[1]), headers

    def response(self):
        """Return status, headers and body of the next response, which has a Content-Length."""
        status, headers = self.head()
        return status, headers, self.rest(headers)

    def rest(self, headers):
        """Return the body that follows this head."""
        length = int(headers.get("content-length", 0))
        while len(self.buffer) < length:
            self._fill()
        body, self.buffer = bytes(self.buffer[:length]), self.buffer[length:]
        return body

    def read_to_end(self):
        """Return everything until the server closes."""
        try:
            while True:
                self._fill()
        except (EOFError, ConnectionError, ssl.SSLError):
            data, self.buffer = bytes(self.buffer), bytearray()
            return data

    def closed_within(self, seconds):
        """Tell whether the server ends the connection within ``seconds``, whatever it still sends before."""
        limit = time.monotonic() + seconds
        while time.monotonic() < limit:
            self.sock.settimeout(max(limit - time.monotonic(), 0.01))
            try:
                if not self.sock.recv(65536):
                    return True
            except TimeoutError:
                return False
            except OSError:
                return True
        return False
