"""What of the daemons' logs reaches the terminal: requests and errors, in one line each."""

import io
import logging

import pytest
from deploy.local.terminal import Terminal, brief, printable

from glance_api.http.access_log import AccessLog
from glance_common.observability.log_formats import TextFormatter


@pytest.fixture
def log_line():
    """A function that returns the line of the API's log that a request leaves."""
    records = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(TextFormatter().format(record))
    logger = logging.getLogger("glance_api.access")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)

    def request(method, path, status="200 OK", sent=b""):
        def app(_environ, start_response):
            start_response(status, [])
            return [sent]

        environ = {"REQUEST_METHOD": method, "RAW_URI": path, "REMOTE_ADDR": "127.0.0.1", "CONTENT_LENGTH": "70"}
        AccessLog(app, 64)(environ, lambda *_: None)
        return records.pop()

    yield request
    logger.removeHandler(handler)
    logger.setLevel(level)


def test_a_request_is_one_line_with_what_it_cost(log_line):
    line = log_line("POST", "/v2/images?a=b", "201 Created", b"x" * 12)
    shown = brief("glance-api", line)
    head, _, cost = shown.partition(" 201 ")
    assert head == "POST   /v2/images?a=b"
    ms, _, rest = cost.partition(" ms, ")
    assert float(ms) >= 0
    assert rest == "70 bytes in, 12 bytes out"
    assert brief("glance-registry", line) is None


def test_asking_for_the_health_is_no_request_of_a_client(log_line):
    assert brief("glance-api", log_line("GET", "/healthcheck")) is None
    assert brief("glance-api", log_line("GET", "/healthcheck2")) is not None


@pytest.mark.parametrize(("level", "is_shown"), [("INFO", False), ("WARNING", False), ("ERROR", True),
                                                 ("CRITICAL", True)])
def test_errors_of_every_program_are_shown(level, is_shown):
    line = f"2026-01-01T00:00:00.000Z {level} 7 glance_scrubber.main [-] the disk is gone"
    assert brief("glance-scrubber", line) == (f"glance-scrubber: {line}" if is_shown else None)


def test_a_client_writes_nothing_but_text_to_the_terminal(capsys, log_line):
    path = "/v2/\x1b[2J\u202e\xe4\u0151"
    Terminal(verbose=False).heard("glance-api", log_line("GET", path))
    shown = capsys.readouterr().out
    assert "/v2/\\x1b[2J\\u202e\xe4\u0151 200" in shown
    assert shown.count("\n") == 1
    assert printable("plain text") == "plain text"


def test_verbose_shows_everything(capsys):
    Terminal(verbose=True).heard("glance-api", "anything")
    Terminal(verbose=False).heard("glance-api", "anything")
    assert capsys.readouterr().out == "glance-api      | anything\n"


def test_a_letter_that_the_terminal_does_not_have(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written, encoding="latin-1"))
    Terminal(verbose=True).heard("glance-api", "\xe4\u0151")
    assert written.getvalue() == b"glance-api      | \xe4\\u0151\n"


def test_a_terminal_that_is_gone_stops_nothing(monkeypatch):
    class Gone:
        def write(self, _text):
            raise BrokenPipeError

    monkeypatch.setattr("sys.stdout", Gone())
    Terminal(verbose=False).say("unheard")
