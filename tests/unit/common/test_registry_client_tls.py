"""TLS towards the registry: files that the environment names stand in for files that are not configured."""

from pathlib import Path

import pytest
from oslo_config import cfg
from tests.support.certificates import server_certificate

from glance_common.config import loading
from glance_common.config.loading import ConfigError
from glance_common.registry_client.tls import client_tls


def conf(**options: str) -> cfg.ConfigOpts:
    found = cfg.ConfigOpts()
    found.register_opts(loading.REGISTRY_CLIENT_OPTS)
    found([], default_config_files=[])
    for name, value in {"registry_client_protocol": "https", **options}.items():
        found.set_override(name, value)
    return found


def test_files_that_the_environment_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    authority, _ = server_certificate(tmp_path, "localhost")
    monkeypatch.setenv("GLANCE_CLIENT_CA_FILE", str(authority))
    context = client_tls(conf())
    assert context is not None
    assert context.cert_store_stats()["x509_ca"] == 1


def test_an_option_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    authority, _ = server_certificate(tmp_path, "localhost")
    monkeypatch.setenv("GLANCE_CLIENT_CA_FILE", "/none")
    assert client_tls(conf(registry_client_ca_file=str(authority))) is not None


@pytest.mark.parametrize("name", ["CA", "CERT", "KEY"])
def test_a_file_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, name: str):
    monkeypatch.setenv(f"GLANCE_CLIENT_{name}_FILE", "/none")
    with pytest.raises(ConfigError, match="registry_client_"):
        client_tls(conf())
