"""Signed images, and keys that end with their image: a real Barbican, with tokens of a real Keystone.

Rules: IMG-34, IMG-35, S-29, S-77.
"""

from collections.abc import Callable
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from tests.e2e.calls import MIB, OCTETS, Caller
from tests.e2e.people import People, keystone_options
from tests.servers.barbican_service import BarbicanService
from tests.servers.keystone import ALT_DEMO, Keystone
from tests.support.daemons import Services
from tests.support.raw_data import random_bytes
from tests.support.signing import Signer
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(900)

DATA = random_bytes(2 * MIB)
KEY = "cinder_encryption_key_id"
POLICY = "cinder_encryption_key_deletion_policy"


@pytest.fixture(scope="module")
def services(deploy: Callable[..., Services], keystone: Keystone, barbican_service: BarbicanService) -> Services:
    """A deployment that finds the key manager in the catalog of each token."""
    return deploy(api=keystone_options(keystone))


@pytest.fixture(scope="module")
def users(services: Services, people: Callable[[Services], People]) -> People:
    """Its users."""
    return people(services)


def token(caller: Caller) -> str:
    return caller.headers["X-Auth-Token"]


def certificate(
    barbican: BarbicanService, caller: Caller, signer: Signer, encoding: Encoding = Encoding.DER,
    content_type: str = "application/octet-stream",
) -> str:
    """Store the certificate of ``signer`` as ``caller`` and return its id."""
    return barbican.add(signer.certificate(encoding), token(caller), content_type)


def upload(caller: Caller, properties: dict[str, str], expected: int, data: bytes = DATA) -> str:
    """Upload a signed image and return its id and what was answered."""
    image = caller.create(**properties)["id"]
    caller.upload(image, data, expected)
    assert caller.show(image)["status"] == ("active" if expected == 204 else "queued")
    return str(image)


@pytest.mark.parametrize(
    ("encoding", "content_type"),
    [(Encoding.DER, "application/octet-stream"), (Encoding.PEM, "application/octet-stream"),
     (Encoding.PEM, "text/plain")],
    ids=["der", "pem", "text"],
)
def test_img_34_data_signed_with_a_certificate_of_the_key_manager(
    users: People, barbican_service: BarbicanService, encoding: Encoding, content_type: str
):
    signer = Signer()
    secret = certificate(barbican_service, users.demo, signer, encoding, content_type)
    image = upload(users.demo, signer.properties(DATA, secret), 204)
    assert users.demo.download(image) == DATA


def test_s29_other_data_are_refused(users: People, barbican_service: BarbicanService, services: Services):
    signer = Signer("ECC_SECP384R1")
    properties = signer.properties(DATA, certificate(barbican_service, users.demo, signer))
    image = upload(users.demo, properties, 400, DATA[:-1] + b"!")
    assert image not in services.files()
    users.demo.upload(image, DATA)
    assert users.demo.show(image)["status"] == "active"


def test_s29_a_signed_image_is_imported(users: People, barbican_service: BarbicanService):
    signer, demo = Signer("DSA"), users.demo
    image = demo.create(**signer.properties(DATA, certificate(barbican_service, demo, signer)))["id"]
    demo.call("PUT", f"/v2/images/{image}/stage", 204, data=DATA, headers=OCTETS)
    demo.call("POST", f"/v2/images/{image}/import", 202, json={"method": {"name": "glance-direct"}})
    assert wait_for(lambda: ended(demo, image), "the end of the import")["status"] == "success"
    assert demo.download(image) == DATA


def ended(caller: Caller, image: str) -> dict | None:
    (task,) = caller.call("GET", f"/v2/images/{image}/tasks", 200).json()["tasks"]
    return task if task["status"] in ("success", "failure") else None


def test_a_certificate_is_the_callers_or_was_given_to_it(
    users: People, barbican_service: BarbicanService, keystone: Keystone
):
    signer = Signer()
    secret = certificate(barbican_service, users.demo, signer)
    properties = signer.properties(DATA, secret)
    upload(users.alt_demo, properties, 400)
    barbican_service.share(secret, token(users.demo), keystone.user_ids[ALT_DEMO.name])
    upload(users.alt_demo, properties, 204)


def test_what_is_no_certificate_there(users: People, barbican_service: BarbicanService):
    signer = Signer()
    for secret in (
        "00000000-0000-4000-8000-000000000000",
        barbican_service.add(b"no certificate", token(users.demo)),
        barbican_service.add(signer.certificate(), token(users.demo), kind="opaque"),
        certificate(barbican_service, users.demo, Signer(days=1, start=timedelta(days=-2))),
    ):
        upload(users.demo, signer.properties(DATA, secret), 400)


def test_a_key_manager_that_is_down_is_503(users: People, barbican_service: BarbicanService, services: Services):
    signer = Signer()
    properties = signer.properties(DATA, certificate(barbican_service, users.demo, signer))
    barbican_service.stop()
    try:
        image = upload(users.demo, properties, 503)
    finally:
        barbican_service.start()
    users.demo.upload(image, DATA)
    assert token(users.demo) not in services.api.said()


def test_img_35_the_encryption_key_goes_with_the_image(users: People, barbican_service: BarbicanService):
    demo = users.demo
    key = barbican_service.add(b"key of a volume", token(demo), kind="symmetric")
    kept = demo.uploaded(DATA, **{KEY: key})
    demo.delete(kept)
    assert barbican_service.has(key, token(demo))
    image = demo.uploaded(DATA, **{KEY: key, POLICY: "on_image_deletion"})
    demo.delete(image)
    assert not barbican_service.has(key, token(demo))


def test_s77_another_projects_key_stays(users: People, barbican_service: BarbicanService):
    key = barbican_service.add(b"key of a volume", token(users.alt_demo), kind="symmetric")
    image = users.demo.create(**{KEY: key, POLICY: "on_image_deletion"})["id"]
    users.demo.delete(image)
    users.demo.call("GET", f"/v2/images/{image}", 404)
    assert barbican_service.has(key, token(users.alt_demo))
