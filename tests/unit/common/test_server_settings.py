"""The server's options: defaults, meaning of 0, TLS files that are checked at start."""

import ssl
import subprocess
from types import SimpleNamespace

import pytest
from gunicorn.http import message
from oslo_config import cfg

from glance_common.config.loading import ConfigError, register
from glance_common.server import ServerSettings, list_opts
from glance_common.server.master import gunicorn_config
from glance_common.server.settings import tls_context


@pytest.fixture
def conf():
    conf = cfg.ConfigOpts()
    register(conf, list_opts(bind_host_default=None, bind_port_default=9292, metrics_default="127.0.0.1:9392"))
    conf([], default_config_files=[])
    return conf


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    home = tmp_path_factory.mktemp("keys")
    for name in ("a", "b"):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}",
             "-keyout", home / f"{name}.key", "-out", home / f"{name}.crt"],
            check=True, capture_output=True,
        )
    subprocess.run(
        ["openssl", "rsa", "-aes256", "-passout", "pass:secret", "-in", home / "a.key", "-out", home / "locked.key"],
        check=True, capture_output=True,
    )
    return home


def test_defaults(conf):
    settings = ServerSettings.from_conf(conf)
    assert (settings.host, settings.port, settings.backlog, settings.threads) == ("127.0.0.1", 9292, 4096, 32)
    assert (settings.client_timeout, settings.keepidle, settings.max_header_line) == (900, 600, 16384)
    assert (settings.graceful_timeout, settings.stop_timeout, settings.keepalive) == (3600, 30, True)
    assert settings.drain_time == 0
    assert settings.trust_proxy_headers is False
    assert settings.workers >= 1


def test_the_host_is_the_option_or_the_callers_default(conf):
    assert ServerSettings.from_conf(conf, default_host="0.0.0.0").host == "0.0.0.0"
    conf.set_override("bind_host", "::1")
    assert ServerSettings.from_conf(conf, default_host="0.0.0.0").host == "::1"


def test_an_installed_parser_in_c_is_not_taken(conf, monkeypatch):
    """The tests of smuggling hold for the parser that they ran with."""
    monkeypatch.setattr(message, "_fast_parser_available", True)
    monkeypatch.setattr(message, "_fast_parser_module", SimpleNamespace(LimitRequestLine=ValueError))
    config = gunicorn_config(ServerSettings.from_conf(conf), "test")
    assert message._check_fast_parser(config) is False
    config.set("http_parser", "auto")
    assert message._check_fast_parser(config) is True


def test_zero_workers_are_one_and_no_timeout_is_none(conf):
    conf.set_override("workers", 0)
    conf.set_override("client_socket_timeout", 0)
    settings = ServerSettings.from_conf(conf)
    assert (settings.workers, settings.client_timeout) == (1, None)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("workers", -1), ("threads", 0), ("backlog", 0), ("client_socket_timeout", -1), ("min_transfer_rate", -1),
        ("stop_timeout", -1), ("drain_time", -1), ("graceful_timeout", -1), ("max_header_line", 10),
        ("tcp_keepidle", 0), ("bind_port", 70000),
    ],
)
def test_values_out_of_range_are_refused(conf, option, value):
    with pytest.raises(ValueError):
        conf.set_override(option, value)


@pytest.mark.parametrize(
    ("cert", "key", "ca", "option", "words"),
    [
        ("a.crt", None, None, "key_file", "must be set"),
        (None, "a.key", None, "cert_file", "must be set"),
        (None, None, "a.crt", "cert_file", "must be set"),
        ("no.crt", "a.key", None, "cert_file", "No such file"),
        ("a.crt", "no.key", None, "key_file", "No such file"),
        ("a.crt", "a.key", "no.crt", "ca_file", "No such file"),
        ("a.crt", "b.key", None, "key_file", "is no key for"),
        ("a.crt", "locked.key", None, "key_file", "is no key for"),
        ("a.crt", "a.key", "a.key", "ca_file", "holds no CA certificates"),
    ],
)
def test_tls_files_are_checked(conf, keys, cert, key, ca, option, words):
    for name, file in (("cert_file", cert), ("key_file", key), ("ca_file", ca)):
        conf.set_override(name, file and str(keys / file))
    with pytest.raises(ConfigError, match=words) as caught:
        ServerSettings.from_conf(conf)
    assert (caught.value.group, caught.value.option) == ("DEFAULT", option)


def test_a_certificate_makes_a_context(keys):
    settings = ServerSettings("127.0.0.1", 0, cert_file=str(keys / "a.crt"), key_file=str(keys / "a.key"))
    context = tls_context(settings)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.verify_mode == ssl.CERT_NONE
    assert tls_context(ServerSettings("127.0.0.1", 0)) is None
