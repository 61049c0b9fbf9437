"""TLS on both services: each side checks its peer, and shows a certificate when it is asked for one."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from tests.e2e.calls import Caller
from tests.support.certificates import server_certificate
from tests.support.clients import Clients
from tests.support.daemons import Services
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(900)

HOST = "localhost"
"""The name in the certificates; the daemons listen on 127.0.0.1, which is not in them."""


@dataclass(frozen=True)
class Trust:
    """Certificate and key of the servers, of the API as the registry's client, and of a stranger without trust."""

    server: Path
    client: Path
    other: Path
    clients_ca: Path

    @staticmethod
    def key(certificate: Path) -> Path:
        """Return the file with the key of a certificate."""
        return certificate.with_suffix(".key")


@pytest.fixture(scope="module")
def trust(tmp_path_factory: pytest.TempPathFactory) -> Trust:
    """Certificates made for this module."""
    # Names tell certificates apart when one is looked up among several; the other one pretends to be the server's.
    server, client, other = (
        server_certificate(tmp_path_factory.mktemp(folder), name)[0]
        for folder, name in (("server", HOST), ("client", "glance-api"), ("other", HOST))
    )
    clients_ca = tmp_path_factory.mktemp("ca") / "clients.crt"
    # With the server's own, which the tests' look at its health shows.
    clients_ca.write_text(client.read_text() + server.read_text())
    return Trust(server, client, other, clients_ca)


@pytest.fixture(scope="module")
def services(deploy: Callable[..., Services], trust: Trust) -> Services:
    """The three daemons; the registry lets in only those that show a certificate."""
    serving = {"cert_file": trust.server, "key_file": trust.key(trust.server)}
    asking = {
        "registry_host": HOST,
        "registry_client_protocol": "https",
        "registry_client_ca_file": trust.server,
        "registry_client_cert_file": trust.client,
        "registry_client_key_file": trust.key(trust.client),
    }
    return deploy(
        registry={"DEFAULT": {**serving, "ca_file": trust.clients_ca}},
        api={"DEFAULT": {**asking, **serving}},
        scrubber={"DEFAULT": asking},
    )


@pytest.fixture(scope="module")
def url(services: Services) -> str:
    """The API under the name of its certificate."""
    return f"https://{HOST}:{services.api.port}"


def caller(url: str, trust: Trust) -> Caller:
    """Return a caller that checks the server's certificate."""
    return Caller(url, verify=trust.server)


def test_an_image_goes_in_out_and_away(services: Services, url: str, trust: Trust, iso: Path):
    anybody = caller(url, trust)
    image = anybody.uploaded(iso.read_bytes(), disk_format="iso")
    assert anybody.download(image) == iso.read_bytes()
    (version, *_) = anybody.call("GET", "/", 300).json()["versions"]
    assert version["links"][0]["href"].startswith("https://")
    anybody.delete(image)
    wait_for(lambda: image not in services.files(), "the file's removal")


def test_openstack_client_with_the_ca(url: str, trust: Trust, clients: Clients, iso: Path, tmp_path: Path):
    env = {"OS_AUTH_TYPE": "none", "OS_ENDPOINT": url}
    kind = ("--disk-format", "iso", "--container-format", "bare")
    create = ("image", "create", "--file", iso, *kind, "over-tls", "-f", "json")
    assert clients.openstack(*create, env=env).code, "an unknown certificate must not be accepted"
    image = clients.openstack(*create, env={**env, "OS_CACERT": str(trust.server)}).json()["id"]
    assert caller(url, trust).download(image) == iso.read_bytes()


def test_s04_clients_refuse_another_certificate(services: Services, url: str, trust: Trust):
    for address, ca in ((url, trust.other), (services.api.url, trust.server)):
        with pytest.raises(requests.exceptions.SSLError, match="certificate"):
            Caller(address, verify=ca).call("GET", "/")


def test_without_tls_nothing_is_said(services: Services, url: str, trust: Trust):
    with Caller(url.replace("https", "http")).begin("GET", "/v2/images") as wire:
        assert b"images" not in wire.rest()
    caller(url, trust).call("GET", "/v2/images", 200)


def wrong(services: Services, name: str, **options: object) -> Any:
    """Return an API whose connection to the registry has a flaw, running."""
    api = services.new_api(name, {"DEFAULT": options})
    services.start(api)
    return api


def test_s04_the_api_refuses_a_registry_it_does_not_know(services: Services, trust: Trust):
    flaws: dict[str, dict[str, object]] = {
        "other-ca": {"registry_client_ca_file": trust.other},
        "other-name": {"registry_host": "127.0.0.1"},
    }
    for name, options in flaws.items():
        api = wrong(services, name, **options)
        anybody = caller(f"https://{HOST}:{api.port}", trust)
        assert "registry" in anybody.call("GET", "/v2/images", 503).text
        said = api.said()
        assert "certificate" in said.lower(), "the operator has to find the reason"
        assert "Traceback" not in said
        api.stop()


def test_the_registry_refuses_a_client_without_a_known_certificate(services: Services, trust: Trust):
    flaws: dict[str, dict[str, object]] = {
        "no-certificate": {"registry_client_cert_file": None, "registry_client_key_file": None},
        "other-certificate": {
            "registry_client_cert_file": trust.other, "registry_client_key_file": trust.key(trust.other),
        },
    }
    for name, options in flaws.items():
        api = wrong(services, name, **options)
        caller(f"https://{HOST}:{api.port}", trust).call("GET", "/v2/images", 503)
        api.stop()


def test_an_insecure_client_is_a_choice_that_is_told(services: Services, trust: Trust):
    api = wrong(services, "insecure", registry_client_ca_file=None, registry_client_insecure=True)
    caller(f"https://{HOST}:{api.port}", trust).call("GET", "/v2/images", 200)
    assert "registry_client_insecure" in api.said()
    api.stop()


def test_an_api_may_ask_for_certificates_too(services: Services, trust: Trust):
    api = wrong(services, "strict", ca_file=trust.clients_ca)
    address = f"https://{HOST}:{api.port}"
    with pytest.raises(requests.exceptions.ConnectionError):
        caller(address, trust).call("GET", "/v2/images")
    for certificate, accepted in ((trust.client, True), (trust.other, False)):
        known = Caller(address, verify=trust.server, certificate=(certificate, trust.key(certificate)))
        if accepted:
            known.call("GET", "/v2/images", 200)
        else:
            with pytest.raises(requests.exceptions.ConnectionError):
                known.call("GET", "/v2/images")
    api.stop()


def test_certificates_that_cannot_be_used_stop_the_start(services: Services, trust: Trust, tmp_path: Path):
    empty = tmp_path / "empty.crt"
    empty.touch()
    flaws: list[tuple[str, dict[str, object]]] = [
        ("registry_client_ca_file", {"registry_client_ca_file": tmp_path / "absent.crt"}),
        ("registry_client_ca_file", {"registry_client_ca_file": empty}),
        ("registry_client_cert_file", {"registry_client_key_file": trust.key(trust.other)}),
        ("registry_client_key_file", {"registry_client_key_file": None}),
        ("key_file", {"key_file": trust.key(trust.other)}),
        ("cert_file", {"cert_file": None}),
    ]
    for number, (option, options) in enumerate(flaws):
        api = services.new_api(f"flaw-{number}", {"DEFAULT": options})
        api.start()
        assert api.wait_dead() == 1
        assert f"[DEFAULT] {option} = " in api.output.read_text()
