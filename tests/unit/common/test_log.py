"""Log lines: one event a line, with its request id, text or JSON."""

import json
import logging
import os
import socket
import time

import pytest
from oslo_config import cfg

from glance_common.config.loading import ConfigError
from glance_common.config.log_options import FORMAT_OPTS, LOG_OPTS
from glance_common.observability import log, log_targets
from glance_common.observability.log_context import working_for
from glance_common.observability.log_formats import MAX_MESSAGE


def options(**values):
    conf = cfg.ConfigOpts()
    conf.register_opts([*LOG_OPTS, *FORMAT_OPTS])
    conf([], default_config_files=[])
    for name, value in values.items():
        conf.set_override(name, value)
    return conf


def test_text_lines_hold_request_id_and_extras_and_stay_one_line(root_logger, tmp_path):
    log.setup(options(log_dir=str(tmp_path)), "glance-test")
    with working_for("req-7"):
        logging.getLogger("x").info("a\nb", extra={"status": 204})
    logging.getLogger("x").debug("unseen")
    line = (tmp_path / "glance-test.log").read_text()
    assert line.count("\n") == 1
    assert " INFO " in line
    assert line.endswith("x [req-7] a\\nb status=204\n")


@pytest.mark.parametrize("use_json", [False, True])
def test_s59_a_line_has_a_bounded_length(root_logger, tmp_path, use_json):
    log.setup(options(log_dir=str(tmp_path), use_json=use_json), "glance-test")
    logging.getLogger("x").info("first %s last", "y" * 10**6)
    line = (tmp_path / "glance-test.log").read_text()
    assert len(line) < MAX_MESSAGE + 500
    assert "first y" in line
    assert "y last" in line


def test_json_lines(root_logger, tmp_path):
    log.setup(options(log_dir=str(tmp_path), log_file="own.log", use_json=True, debug=True), "glance-test")
    # Applications that other tests ran in this process have left ids of their own.
    with working_for(None):
        try:
            raise ValueError("broken")
        except ValueError:
            logging.getLogger("x").exception("it %s", "failed", extra={"image": "i"})
    event = json.loads((tmp_path / "own.log").read_text())
    assert event["message"] == "it failed"
    assert event["image"] == "i"
    assert event["request_id"] == "-"
    assert "ValueError: broken" in event["exception"]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("amqp://user:pass@host:5672/v", "amqp://***@host:5672/v"),
        ("swift+https://p%3Au:k@auth/v3/c/id", "swift+https://***@auth/v3/c/id"),
        ("http://a:b@c@host/x", "http://***@host/x"),
        ("file:///var/lib/x", "file:///var/lib/x"),
    ],
)
def test_s02_credentials_of_urls_are_masked(url, shown):
    assert log.mask_url(url) == shown


ORIGINAL = "%(asctime)s.%(msecs)03d %(process)d %(levelname)s %(name)s"


def test_forms_of_the_operator(root_logger, tmp_path):
    """Those that files of the original hold: what only its log knows is empty."""
    log.setup(
        options(
            log_dir=str(tmp_path), debug=True, log_date_format="%Y/%m",
            logging_context_format_string=f"{ORIGINAL} [%(global_request_id)s %(request_id)s %(user_identity)s] "
            "%(instance)s%(message)s",
            logging_default_format_string=f"{ORIGINAL} [-] %(instance)s%(message)s",
            logging_debug_format_suffix="%(funcName)s %(lineno)d", logging_exception_prefix="%(name)s !",
        ),
        "glance-test",
    )
    logger = logging.getLogger("x")
    with working_for("req-7"):
        logger.info("a\nb", extra={"status": 204})
    with working_for(None):
        logger.debug("deep")
        try:
            raise ValueError("broken")
        except ValueError:
            logger.exception("failed")
    lines = (tmp_path / "glance-test.log").read_text().splitlines()
    month = time.strftime("%Y/%m")
    assert lines[0].startswith(f"{month}.")
    assert lines[0].endswith(" INFO x [ req-7 ] a\\nb status=204")
    assert " DEBUG x [-] deep " in lines[1]
    assert lines[2].endswith(" ERROR x [-] failed")
    assert lines[3] == "x !Traceback (most recent call last):"
    assert lines[-1] == "x !ValueError: broken"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("logging_default_format_string", "%(message)"), ("logging_default_format_string", "%(lineno)x of %(name)d"),
        ("logging_context_format_string", "%s %s"), ("default_log_levels", ["amqp"]),
        ("default_log_levels", ["amqp=LOUD"]), ("syslog_log_facility", "LOG_MOON"),
        ("log_config_append", "/no/such/file"), ("log_dir", "/no/such/folder"),
    ],
)
def test_what_cannot_be_used_names_the_option(root_logger, name, value):
    with pytest.raises(ConfigError) as caught:
        log.setup(options(**{name: value}), "glance-test")
    assert "_format_string" in str(caught.value) or str(caught.value).startswith(
        f"[DEFAULT] {'log_file' if name == 'log_dir' else name} = "
    )


def test_levels_of_loggers(root_logger, tmp_path):
    """S-53: libraries that print tokens on level DEBUG stay quiet."""
    levels = ["one=ERROR", " two = debug", "urllib3=DEBUG", "keystoneauth=CRITICAL"]
    log.setup(options(log_dir=str(tmp_path), default_log_levels=levels), "glance-test")
    found = {name: logging.getLogger(name).level for name in ("one", "two", "urllib3", "keystoneauth", "amqp")}
    assert found == {"one": 40, "two": 10, "urllib3": 30, "keystoneauth": 50, "amqp": 30}
    for name in found:
        logging.getLogger(name).setLevel(logging.NOTSET)


def test_a_configuration_of_logging_replaces_the_rest(root_logger, tmp_path):
    (tmp_path / "logging.conf").write_text(
        "[loggers]\nkeys=root\n[handlers]\nkeys=own\n[formatters]\nkeys=short\n[logger_root]\nlevel=WARNING\n"
        f"handlers=own\n[handler_own]\nclass=FileHandler\nargs=('{tmp_path}/own.log',)\nformatter=short\n"
        "[formatter_short]\nformat=%(levelname)s|%(message)s\n"
    )
    path = str(tmp_path / "logging.conf")
    log.setup(options(log_dir=str(tmp_path), log_config_append=path), "glance-test")
    logging.getLogger("x").info("unseen")
    logging.getLogger("x").warning("seen")
    assert (tmp_path / "own.log").read_text() == "WARNING|seen\n"
    assert not (tmp_path / "glance-test.log").exists()


@pytest.fixture
def listening(tmp_path):
    """A socket that takes datagrams, and its path."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "socket"))
        server.settimeout(30)
        yield server, str(tmp_path / "socket")


def test_the_systems_log(root_logger, monkeypatch, listening):
    server, path = listening
    monkeypatch.setattr(log_targets, "SYSLOG", path)
    log.setup(options(use_syslog=True, syslog_log_facility="LOG_LOCAL3", use_json=True), "glance-test")
    logging.getLogger("x").warning("told")
    line = server.recv(4096).rstrip(b"\0").decode()
    assert line.startswith("<156>glance-test: {"), "19 * 8 + 4"
    assert json.loads(line.partition(": ")[2])["message"] == "told"


@pytest.fixture(params=["use_syslog", "use_journal", "use_syslog of a stream"])
def deaf(request, monkeypatch, tmp_path):
    """The option of a log that takes a few lines, and then nothing."""
    option, _, is_stream = request.param.partition(" of a ")
    path = str(tmp_path / "deaf")
    monkeypatch.setattr(log_targets, "SYSLOG", path)
    monkeypatch.setattr(log_targets, "JOURNAL", path)
    monkeypatch.setattr(log_targets, "_WAIT", 0.02)
    monkeypatch.setattr(log_targets, "_DEAF_SECONDS", 3600.0)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM if is_stream else socket.SOCK_DGRAM) as server:
        server.bind(path)
        if is_stream:
            server.listen(0)
        yield option


def test_a_log_that_takes_nothing_costs_lines_and_no_time(root_logger, monkeypatch, deaf, capsys):
    log.setup(options(**{deaf: True}), "glance-test")
    (handler,) = root_logger.handlers
    limit = time.monotonic() + 60
    while "Error" not in capsys.readouterr().err and time.monotonic() < limit:
        logging.getLogger("x").warning("long %s", "y" * 10_000)
    for _ in range(1000):
        logging.getLogger("x").warning("lost")
    assert capsys.readouterr().err == "", "no line waits for it any more"
    handler._deaf_until = 0
    logging.getLogger("x").warning("tried again")
    assert "Error" in capsys.readouterr().err


def test_the_journal(root_logger, monkeypatch, listening):
    server, path = listening
    monkeypatch.setattr(log_targets, "JOURNAL", path)
    log.setup(options(use_journal=True), "glance-test")
    with working_for("req-7"):
        logging.getLogger("x").error("one\nline", extra={"image-id": "i"})
    fields = server.recv(4096)
    assert fields.startswith(b"IMAGE_ID=i\nMESSAGE\n\x08\0\0\0\0\0\0\0one\nline\n")
    assert fields.endswith(b"PRIORITY=3\nSYSLOG_IDENTIFIER=glance-test\nLOGGER=x\nREQUEST_ID=req-7\n")


def test_an_event_that_is_larger_than_a_datagram_reaches_the_journal(root_logger, monkeypatch, listening):
    server, path = listening
    monkeypatch.setattr(log_targets, "JOURNAL", path)
    log.setup(options(use_journal=True), "glance-test")
    logging.getLogger("x").info("told", extra={"long": "y" * 2**20})
    data, [file], _, _ = socket.recv_fds(server, 4096, 1)
    with os.fdopen(file, "rb") as sent:
        sent.seek(0)
        text = sent.read()
    assert data == b""
    assert text.startswith(b"LONG=" + b"y" * 2**20 + b"\nMESSAGE=told\n")


@pytest.mark.parametrize("name", ["use_syslog", "use_journal"])
def test_a_log_that_is_not_there_stops_the_start(root_logger, monkeypatch, tmp_path, name):
    for place in ("SYSLOG", "JOURNAL"):
        monkeypatch.setattr(log_targets, place, str(tmp_path / "none"))
    with pytest.raises(ConfigError, match=rf"\[DEFAULT\] {name} = {tmp_path}/none: cannot be opened"):
        log.setup(options(**{name: True}), "glance-test")
