"""Log lines: one event a line, with its request id, text or JSON."""

import json
import logging

import pytest
from oslo_config import cfg

from glance_common.config import loading
from glance_common.observability import log


@pytest.fixture
def root():
    logger = logging.getLogger()
    handlers, level = logger.handlers[:], logger.level
    yield logger
    for handler in logger.handlers:
        handler.close()
    logger.handlers[:] = handlers
    logger.setLevel(level)


def options(**values):
    conf = cfg.ConfigOpts()
    conf.register_opts(loading.LOG_OPTS)
    conf([], default_config_files=[])
    for name, value in values.items():
        conf.set_override(name, value)
    return conf


def test_text_lines_hold_request_id_and_extras_and_stay_one_line(root, tmp_path):
    log.setup(options(log_dir=str(tmp_path)), "glance-test")
    with log.working_for("req-7"):
        logging.getLogger("x").info("a\nb", extra={"status": 204})
    logging.getLogger("x").debug("unseen")
    line = (tmp_path / "glance-test.log").read_text()
    assert line.count("\n") == 1
    assert " INFO " in line
    assert line.endswith("x [req-7] a\\nb status=204\n")


@pytest.mark.parametrize("use_json", [False, True])
def test_s59_a_line_has_a_bounded_length(root, tmp_path, use_json):
    log.setup(options(log_dir=str(tmp_path), use_json=use_json), "glance-test")
    logging.getLogger("x").info("first %s last", "y" * 10**6)
    line = (tmp_path / "glance-test.log").read_text()
    assert len(line) < log.MAX_MESSAGE + 500
    assert "first y" in line
    assert "y last" in line


def test_json_lines(root, tmp_path):
    log.setup(options(log_dir=str(tmp_path), log_file="own.log", use_json=True, debug=True), "glance-test")
    # Applications that other tests ran in this process have left ids of their own.
    with log.working_for(None):
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
