"""Barbican's API in small answers as a real Barbican does, to all that the service asks of it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import requests
from tests.servers.barbican import Barbican
from tests.servers.barbican_service import BarbicanService
from tests.servers.keystone import ALT_DEMO, DEMO, Keystone

PAYLOAD = b"\x30\x82 bytes of a certificate"


@dataclass
class Peer:
    """One of both: where it is, how a secret gets there, and the tokens of two projects."""

    url: str
    add: Callable[..., str]
    owner: str
    stranger: str

    def call(self, method: str, path: str, token: str | None, accept: str = "application/json") -> requests.Response:
        """Ask it about a secret."""
        proof = {} if token is None else {"X-Auth-Token": token}
        headers = {"Accept": accept, **proof}
        return requests.request(method, f"{self.url}/v1/secrets/{path}", headers=headers, timeout=60)


@pytest.fixture(params=["real", "small"])
def peer(request: pytest.FixtureRequest, keystone: Keystone, barbican_service: BarbicanService) -> Iterator[Peer]:
    if request.param == "real":
        tokens = keystone.token(DEMO), keystone.token(ALT_DEMO)
        yield Peer(barbican_service.url, barbican_service.add, *tokens)
        return
    small = Barbican()
    yield Peer(small.url, small.add, "token of the owner", "token of another project")
    small.close()


@pytest.mark.parametrize("content_type", ["application/octet-stream", "text/plain"])
def test_facts_and_payload(peer: Peer, content_type: str):
    payload = PAYLOAD if content_type != "text/plain" else b"-----BEGIN CERTIFICATE-----"
    secret = peer.add(payload, peer.owner, content_type)
    facts = peer.call("GET", secret, peer.owner)
    assert (facts.status_code, facts.headers["Content-Type"]) == (200, "application/json")
    assert facts.json()["content_types"] == {"default": content_type}
    assert (facts.json()["status"], facts.json()["secret_type"]) == ("ACTIVE", "certificate")
    answer = peer.call("GET", f"{secret}/payload", peer.owner, content_type)
    assert (answer.status_code, answer.content) == (200, payload)
    assert answer.headers["Content-Type"].partition(";")[0] == content_type


def test_a_secret_of_another_type(peer: Peer):
    secret = peer.add(PAYLOAD, peer.owner, kind="opaque")
    assert peer.call("GET", secret, peer.owner).json()["secret_type"] == "opaque"


def test_a_payload_in_another_type_is_406(peer: Peer):
    secret = peer.add(b"text", peer.owner, "text/plain")
    assert peer.call("GET", f"{secret}/payload", peer.owner, "image/png").status_code == 406


@pytest.mark.parametrize("part", ["", "/payload"])
def test_who_may_not_read(peer: Peer, part: str):
    secret = peer.add(PAYLOAD, peer.owner)
    path, accept = f"{secret}{part}", "application/octet-stream" if part else "application/json"
    assert peer.call("GET", path, None, accept).status_code == 401
    assert peer.call("GET", path, peer.stranger, accept).status_code == 403
    for absent in ("00000000-0000-4000-8000-000000000000", "nonsense"):
        assert peer.call("GET", f"{absent}{part}", peer.owner, accept).status_code == 404


def test_deletion(peer: Peer):
    secret = peer.add(PAYLOAD, peer.owner)
    assert peer.call("DELETE", secret, peer.stranger).status_code == 403
    assert peer.call("GET", secret, peer.owner).status_code == 200
    assert peer.call("DELETE", secret, peer.owner).status_code == 204
    assert peer.call("DELETE", secret, peer.owner).status_code == 404
    assert peer.call("GET", secret, peer.owner).status_code == 404
