"""A service with the real server and an application that does what the test asks; run as a process of its own.

Arguments: a JSON file with the settings, read again on HUP, and a file that events are appended to.
"""

import hashlib
import io
import json
import logging
import os
import sys
import threading
import time
from pathlib import Path
from urllib.parse import parse_qsl

from gunicorn.workers import gthread

from glance_api.http.bodies import is_transfer
from glance_common.body import ClientGone, FileBody, read_pieces
from glance_common.config.loading import ConfigError
from glance_common.server import Application as Service
from glance_common.server import RequestHead, ServerSettings, lingering, master, serve, waiting, worker
from glance_common.server.settings import tls_context

OWN_TRANSFERS = ("/upload", "/refuse")
"""Beside the requests that bring image data to the API: those are uploads here."""
CONFIG, EVENTS = Path(sys.argv[1]), sys.argv[2]


def note(event, **values):
    line = json.dumps({"event": event, "pid": os.getpid(), "at": time.monotonic(), **values}) + "\n"
    fd = os.open(EVENTS, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, line.encode())
    os.close(fd)


def brings_data(head):
    return head.target.startswith(OWN_TRANSFERS) or is_transfer(head)


class Growing(FileBody):
    """A file that a test writes. It holds no more than a file named like it with ``.end`` says, once that is there."""

    def __init__(self, path, size, query):
        self.file = Path(path).open("rb")  # noqa: SIM115 - closed with the answer
        self.end = Path(f"{path}.end")
        self.size, self.query = size, query
        self.at = self.there = 0
        self.open = True

    @property
    def descriptor(self):
        return self.file.fileno()

    def ready(self):
        self.there = max(self.there, min(os.fstat(self.descriptor).st_size, self.size))
        return None if self.there == self.at < self.size and self.end.exists() else (self.at, self.there - self.at)

    def sent(self, count):
        self.at += count

    def on_growth(self, wake):
        def look():
            while self.open:
                time.sleep(0.01)
                wake()

        threading.Thread(target=look, daemon=True).start()

    def admit(self):
        return not Path(self.end).with_suffix(".full").exists()

    def resume(self):
        note("resumed")
        return False

    def __iter__(self):
        if "fail" in self.query:
            raise OSError(5, "disk on fire")
        while self.at < self.size:
            piece = b"r" * min(self.size - self.at, 1024 * 1024)
            self.at += len(piece)
            yield piece

    def close(self):
        self.open = False
        self.file.close()
        note("closed")


class Application:
    def __init__(self, state, config):
        self.state, self.config = state, config

    def __call__(self, environ, start_response):
        query = dict(parse_qsl(environ["QUERY_STRING"]))
        is_upload = is_transfer(RequestHead(environ["REQUEST_METHOD"], environ["PATH_INFO"], {}))
        name = "upload" if is_upload else environ["PATH_INFO"].rpartition("/")[2]
        if "refused" in query:
            name = "refuse"
        return getattr(self, name)(environ, start_response, query)

    def answer(self, start_response, document, status="200 OK"):
        body = json.dumps(document).encode()
        start_response(status, [("Content-Length", str(len(body))), ("Content-Type", "application/json")])
        return [body]

    def hello(self, environ, start_response, query):
        return self.answer(start_response, {
            "pid": os.getpid(), "tag": self.config.get("tag"), "stopping": self.state.stopping.is_set(),
            "scheme": environ["wsgi.url_scheme"],
            "headers": {key: value for key, value in environ.items() if key.startswith("HTTP_")},
        })

    def upload(self, environ, start_response, query):
        note("upload")
        digest, sizes = hashlib.sha256(), []
        try:
            for piece in read_pieces(environ):
                digest.update(piece)
                sizes.append(len(piece))
        except ClientGone as error:
            note("cut", kind=type(error).__name__, text=str(error), aborting=self.state.aborting.is_set(),
                 received=sum(sizes))
            time.sleep(float(query.get("cleanup", 0)))
            note("cleaned")
            return self.answer(start_response, {"error": str(error)}, "400 Bad Request")
        note("uploaded")
        return self.answer(start_response, {"pid": os.getpid(), "sizes": sizes, "sha256": digest.hexdigest()})

    def document(self, environ, start_response, query):
        note("document")
        try:
            return self.answer(start_response, {"size": sum(map(len, read_pieces(environ)))})
        except ClientGone as error:
            note("cut", kind=type(error).__name__, text=str(error))
            return self.answer(start_response, {"error": str(error)}, "408 Request Timeout")

    def large(self, environ, start_response, query):
        note("large")
        return self.answer(start_response, "x" * int(query["size"]))

    def healthcheck(self, environ, start_response, query):
        return self.answer(start_response, "OK")

    def refuse(self, environ, start_response, query):
        return self.answer(start_response, {"error": "refused"}, "503 Service Unavailable")

    def file(self, environ, start_response, query):
        note("download")
        file = Path(query["path"]).open("rb")  # noqa: SIM115 - the server closes it
        size = int(query.get("promise", os.fstat(file.fileno()).st_size))
        if "offset" in query:
            file.seek(int(query["offset"]))
        if "memory" in query:
            file = io.BytesIO(file.read())
        start_response("200 OK", [("Content-Length", str(size))])
        return environ["wsgi.file_wrapper"](file, 65536)

    def growing(self, environ, start_response, query):
        note("growing")
        start_response("200 OK", [("Content-Length", query["size"])])
        return Growing(query["path"], int(query["size"]), query)

    def pieces(self, environ, start_response, query):
        note("download")
        promise, give = int(query.get("promise", -1)), int(query["give"])
        start_response("200 OK", [("Content-Length", str(promise))] if promise >= 0 else [])
        return self._give(give, query)

    def _give(self, give, query):
        try:
            while give:
                piece = b"x" * min(give, 1024 * 1024)
                yield piece
                give -= len(piece)
            if "fail" in query:
                raise OSError(5, "disk on fire")
        finally:
            note("closed")

    def slow(self, environ, start_response, query):
        note("slow")
        time.sleep(float(query["seconds"]))
        note("slept")
        return self.answer(start_response, {"pid": os.getpid()})

    def fail(self, environ, start_response, query):
        raise ValueError("a defect")


def load():
    config = json.loads(CONFIG.read_text())
    if "stop_linger" in config:
        # Two seconds are enough for a request on its way, and not for a test on a machine that stands still.
        worker.STOP_LINGER = gthread.STOP_KEEPALIVE_LINGER = config["stop_linger"]
    if "most_idle" in config["settings"]:
        master.IDLE_CONNECTIONS = config["settings"].pop("most_idle")
    waiting.MOST_HELD = config["settings"].pop("most_held", waiting.MOST_HELD)
    lingering.LINGER_SECONDS = config["settings"].pop("linger_seconds", lingering.LINGER_SECONDS)
    settings = ServerSettings(**config["settings"])
    tls_context(settings)
    if config.get("refuse"):
        raise ConfigError("DEFAULT", "tag", config["refuse"], "is refused")

    def factory(state):
        note("factory", tag=config.get("tag"))
        if config.get("broken"):
            raise ConfigError("DEFAULT", "tag", config["broken"], "is broken")
        if CONFIG.with_name("broken").exists():
            raise OSError("broken for a while")
        if config.get("dies"):
            os._exit(9)
        state.at_stop(lambda: note("stopped"))
        return Application(state, config)

    return settings, Service(factory, is_transfer=brings_data)


if __name__ == "__main__":
    logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
    serve(*load(), name="test-server", on_reload=load)
