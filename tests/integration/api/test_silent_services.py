"""Other services of the cloud that drip or never answer: each question to them has one deadline."""

from typing import Any

import pytest
from tests.servers.scripted import dripping, scripted_peer, silent
from tests.unit.api.conftest import make_conf
from werkzeug.test import create_environ

from glance_api.clients import key_manager
from glance_api.clients.key_manager import Credentials, KeyManager
from glance_api.http.auth import keystone
from glance_api.services import forwarding, limits
from glance_common.fetch.guards import ExchangeLimits
from glance_common.model.errors import GatewayTimeout, Unavailable

SHORT = ExchangeLimits(answer=0.5)
ACCOUNT = {
    "auth_type": "password", "username": "glance", "password": "very secret", "project_name": "service",
    "user_domain_name": "Default", "project_domain_name": "Default",
}


@pytest.fixture(
    params=[silent, dripping(b"HTTP/1.1 200 OK\r\nX: "), dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n")],
    ids=["silence", "header", "body"],
)
def peer(request):
    with scripted_peer(request.param) as found:
        yield found


def test_s22_the_node_that_holds_staged_data(peer, monkeypatch):
    monkeypatch.setattr(forwarding, "LIMITS", SHORT)
    with pytest.raises(GatewayTimeout):
        forwarding.forward(f"http://127.0.0.1:{peer.port}", "/v2/images/x/import", {}, {"method": {}})


@pytest.mark.parametrize("act", [KeyManager.certificate, KeyManager.delete])
def test_s22_the_key_manager(peer, monkeypatch, act: Any):
    monkeypatch.setattr(key_manager, "LIMITS", SHORT)
    keys = KeyManager(make_conf({"barbican.barbican_endpoint": f"http://127.0.0.1:{peer.port}"}))
    with pytest.raises(Unavailable, match="the key manager does not answer"):
        act(keys, Credentials("token"), "secret")


def with_account(group: str, folder: Any, peer: Any, **options: Any) -> Any:
    url = f"http://127.0.0.1:{peer.port}/v3"
    lines = [f"{name} = {value}" for name, value in {**ACCOUNT, "auth_url": url, **options}.items()]
    path = folder / "glance-api.conf"
    path.write_text("\n".join(["[DEFAULT]", "use_keystone_limits = true", f"[{group}]", *lines]))
    return make_conf(files=[str(path)])


def test_s22_keystone_that_tells_limits(peer, tmp_path):
    source = limits.source(with_account("oslo_limit", tmp_path, peer, endpoint_id="e1", timeout=1))
    with pytest.raises(Unavailable, match="Keystone, which knows the limits"):
        source.of("project")


def test_s22_keystone_that_checks_tokens(peer, tmp_path, monkeypatch):
    monkeypatch.setattr(keystone, "SECONDS", 0.5)
    options = {"http_request_max_retries": 0, "www_authenticate_uri": f"http://127.0.0.1:{peer.port}/v3"}
    conf = with_account("keystone_authtoken", tmp_path, peer, **options)
    check = keystone.TokenCheck(lambda environ, start: [], {"oslo_config_config": conf, "delay_auth_decision": True})
    with pytest.raises(Unavailable, match="Keystone, which has to check the token"):
        check(create_environ(headers={"X-Auth-Token": "token"}), lambda *answer: None)
