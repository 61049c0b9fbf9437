"""Forms of log lines: text, JSON, and the forms that an operator writes."""

import json
import logging
import time
import traceback
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from glance_common.observability.log_context import request_id

MAX_MESSAGE = 16 * 1024
"""Characters of the text of one event: more than an address of 8 KiB and what is said about it."""

_PLAIN = set(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


def utc(created: float) -> str:
    """Return a time as it stands in a line."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(created)) + f".{int(created % 1 * 1000):03d}Z"


def message(record: logging.LogRecord) -> str:
    """Return the text of an event, without its middle when it is too long (S-59)."""
    text = record.getMessage()
    if len(text) <= MAX_MESSAGE:
        return text
    return f"{text[: MAX_MESSAGE // 2]}…{text[-MAX_MESSAGE // 2 + 1 :]}"


def one_line(record: logging.LogRecord) -> str:
    """Return the text and the further facts of an event; control characters are escaped so that it stays one line."""
    text = message(record).replace("\r", "\\r").replace("\n", "\\n")
    return text + "".join(f" {key}={value!s}" for key, value in extras(record).items())


def extras(record: logging.LogRecord) -> dict[str, Any]:
    """Return what the caller said about an event beside its text."""
    return {key: value for key, value in vars(record).items() if key not in _PLAIN}


def traceback_of(record: logging.LogRecord) -> str:
    """Return the traceback of an event, an empty text when it has none."""
    return "".join(traceback.format_exception(*record.exc_info)).rstrip() if record.exc_info else ""


class TextFormatter(logging.Formatter):
    """``time level process logger [request id] text key=value…``"""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, and the traceback after it."""
        line = (
            f"{utc(record.created)} {record.levelname} {record.process} {record.name} "
            f"[{request_id.get()}] {one_line(record)}"
        )
        return f"{line}\n{traceback_of(record)}" if record.exc_info else line


class JsonFormatter(logging.Formatter):
    """One JSON object a line with the same facts as the text form."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        event: dict[str, Any] = {
            "time": utc(record.created),
            "level": record.levelname,
            "process": record.process,
            "logger": record.name,
            "request_id": request_id.get(),
            "message": message(record),
            **extras(record),
        }
        if record.exc_info:
            event["exception"] = traceback_of(record)
        return json.dumps(event, default=str, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Forms:
    """The forms of an operator, each with ``%(field)s`` as for Python's logging."""

    in_request: str
    otherwise: str
    debug_suffix: str
    exception_prefix: str
    date: str


class OperatorFormatter(logging.Formatter):
    """Lines as an operator's options say. Fields that only the original has are empty. Raises ValueError for a form
    that cannot be used."""

    def __init__(self, forms: Forms) -> None:
        super().__init__(datefmt=forms.date)
        self._forms = forms
        for level in (logging.INFO, logging.DEBUG):
            self._line(logging.makeLogRecord({"levelno": level}), "req-")
        self._prefix(logging.makeLogRecord({}))

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, and the traceback with the prefix before each of its lines."""
        line = self._line(record, request_id.get())
        if record.exc_info:
            prefix = self._prefix(record)
            line += "".join(f"\n{prefix}{each}" for each in traceback_of(record).splitlines())
        return line

    def _line(self, record: logging.LogRecord, request: str) -> str:
        form = self._forms.otherwise if request == "-" else self._forms.in_request
        if record.levelno <= logging.DEBUG:
            form = f"{form} {self._forms.debug_suffix}".rstrip()
        return self._filled(form, record, request)

    def _prefix(self, record: logging.LogRecord) -> str:
        return self._filled(self._forms.exception_prefix, record, request_id.get())

    def _filled(self, form: str, record: logging.LogRecord, request: str) -> str:
        fields: dict[str, Any] = defaultdict(str, vars(record))
        fields |= {
            "asctime": self.formatTime(record, self.datefmt), "message": one_line(record), "request_id": request,
            "global_request_id": "", "user_identity": "", "instance": "", "resource": "",
        }
        try:
            return form % fields
        except (TypeError, ValueError) as error:
            raise ValueError(f"{form!r} is no form of a line: {error}") from None
