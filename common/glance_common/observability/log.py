"""Logs: one line an event, text or JSON, with the id of the request that caused it.

The request id lives in a context variable; each request or queue message sets it, so that one id can be followed from
the API through the registry and the queue to the scrubber.
"""

import json
import logging
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from oslo_config import cfg

from glance_common.observability.log_file import LogFile

request_id: ContextVar[str] = ContextVar("request_id", default="-")
"""Id of the request that the current thread works for."""

MAX_MESSAGE = 16 * 1024
"""Characters of the text of one event: more than an address of 8 KiB and what is said about it."""

_PLAIN = set(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


@contextmanager
def working_for(identifier: str | None) -> Iterator[None]:
    """Log under the request id ``identifier`` within the block."""
    token = request_id.set(identifier or "-")
    try:
        yield
    finally:
        request_id.reset(token)


def _utc(created: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(created)) + f".{int(created % 1 * 1000):03d}Z"


def _message(record: logging.LogRecord) -> str:
    """Return the text of an event, without its middle when it is too long (S-59)."""
    text = record.getMessage()
    if len(text) <= MAX_MESSAGE:
        return text
    return f"{text[: MAX_MESSAGE // 2]}…{text[-MAX_MESSAGE // 2 + 1 :]}"


def _extras(record: logging.LogRecord) -> dict[str, Any]:
    return {key: value for key, value in vars(record).items() if key not in _PLAIN}


class TextFormatter(logging.Formatter):
    """``time level process logger [request id] text key=value…``"""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; control characters are escaped so that one event stays one line."""
        text = _message(record).replace("\r", "\\r").replace("\n", "\\n")
        extras = "".join(f" {key}={value!s}" for key, value in _extras(record).items())
        line = (
            f"{_utc(record.created)} {record.levelname} {record.process} {record.name} "
            f"[{request_id.get()}] {text}{extras}"
        )
        if record.exc_info:
            line += "\n" + "".join(traceback.format_exception(*record.exc_info)).rstrip()
        return line


class JsonFormatter(logging.Formatter):
    """One JSON object a line with the same facts as the text form."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        event: dict[str, Any] = {
            "time": _utc(record.created),
            "level": record.levelname,
            "process": record.process,
            "logger": record.name,
            "request_id": request_id.get(),
            "message": _message(record),
            **_extras(record),
        }
        if record.exc_info:
            event["exception"] = "".join(traceback.format_exception(*record.exc_info))
        return json.dumps(event, default=str, ensure_ascii=False)


def setup(conf: cfg.ConfigOpts, prog: str, *, terminal: bool = False) -> None:
    """Send the log of this process where the options say: ``log_file``, ``<log_dir>/<prog>.log``, or stderr.

    With ``terminal`` it goes to stderr as well: an operator who checks the configuration waits there for the answer.
    """
    handlers: list[logging.Handler] = []
    if conf.log_file or conf.log_dir:
        path = Path(conf.log_dir or "") / (conf.log_file or f"{prog}.log")
        handlers.append(LogFile(path))
    if not handlers or terminal:
        handlers.append(logging.StreamHandler(sys.stderr))
    for handler in handlers:
        handler.setFormatter(JsonFormatter() if conf.use_json else TextFormatter())
    _collect_less()
    root = logging.getLogger()
    root.handlers[:] = handlers
    root.setLevel(logging.DEBUG if conf.debug else logging.INFO)
    # Libraries that repeat on level DEBUG what ours say, or print headers with tokens (S-53).
    for name in (
        "urllib3", "amqp", "kombu", "keystoneauth", "keystonemiddleware", "oslo_policy", "stevedore", "swiftclient",
    ):
        logging.getLogger(name).setLevel(logging.WARNING)


def _collect_less() -> None:
    """Turn off what the library collects and no line of ours shows, as its chapter "Optimization" describes."""
    logging._srcfile = None  # noqa: SLF001 - the documented switch for the caller's place
    for name in ("logThreads", "logMultiprocessing", "logAsyncioTasks"):  # the last one since Python 3.12
        setattr(logging, name, False)


def mask_url(url: str) -> str:
    """Return ``url`` with its user information replaced by ``***`` (S-02, S-06, S-75)."""
    parts = urlsplit(url)
    if "@" not in parts.netloc:
        return url
    return urlunsplit(parts._replace(netloc="***@" + parts.netloc.rpartition("@")[2]))
