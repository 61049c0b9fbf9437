"""Barbican, the key manager: certificates of signatures, and keys that end with their image.

Always asked in the name of the caller, with the caller's own token: what the caller may not read or delete there, this
service does not either.
"""

from dataclasses import dataclass, field

import orjson
import requests
from oslo_config import cfg

from glance_common.fetch.guarded_http import document_session
from glance_common.fetch.guards import ExchangeLimits
from glance_common.model.errors import BadRequest, Unavailable
from glance_common.model.service_catalog import find_endpoint

MAX_SECRET = 64 * 1024
"""Bytes; a certificate is much smaller."""

LIMITS = ExchangeLimits(connect=5.0, idle=30.0, answer=30.0)

KEY_MANAGER_OPTS: list[cfg.Opt] = [
    cfg.StrOpt(
        "backend", default="barbican", deprecated_name="api_class",
        choices=["barbican", "castellan.key_manager.barbican_key_manager.BarbicanKeyManager"],
        help="The key manager that certificates and keys are in, by its name or by that of castellan's class.",
    ),
]

BARBICAN_OPTS: list[cfg.Opt] = [
    cfg.URIOpt(
        "barbican_endpoint", schemes=["http", "https"],
        help="URL of Barbican. Unset: the one in the caller's service catalog.",
    ),
    cfg.StrOpt(
        "barbican_endpoint_type", default="public", choices=["public", "internal", "admin"],
        help="Which endpoint of the catalog is taken.",
    ),
    cfg.StrOpt("barbican_region_name", help="Region whose endpoint is taken; unset: the first."),
    cfg.BoolOpt("verify_ssl", default=True, help="Check Barbican's certificate."),
    cfg.StrOpt("verify_ssl_path", help="CA certificates that Barbican's certificate is checked with."),
]


@dataclass(frozen=True, slots=True)
class Credentials:
    """The caller's proofs of identity for other services; never logged, never stored."""

    token: str | None = field(default=None, repr=False)
    catalog: str | None = field(default=None, repr=False)
    """The service catalog, JSON, as Keystone's middleware leaves it."""


class KeyManager:
    """The REST client of Barbican, one in each process."""

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        """Read ``[barbican]``; nothing is connected yet."""
        options = conf.barbican
        self._endpoint: str | None = options.barbican_endpoint
        self._interface: str = options.barbican_endpoint_type
        self._region: str | None = options.barbican_region_name
        self._session = document_session(LIMITS, connections=10)
        self._session.verify = (options.verify_ssl_path or True) if options.verify_ssl else False

    def certificate(self, credentials: Credentials, secret: str) -> bytes:
        """Return the payload of a secret that is a certificate.

        Raises BadRequest when the caller has no such secret, or it is of another type: Nova, which verifies the data
        again, would not take it. Raises Unavailable.
        """
        facts = self._call(credentials, "GET", secret, accept="application/json")
        try:
            document = orjson.loads(facts)
            content_type, kind = str(document["content_types"]["default"]), document["secret_type"]
        except (ValueError, KeyError, TypeError):
            raise BadRequest(f"the secret {secret} of the key manager has no content") from None
        if kind != "certificate":
            raise BadRequest(f"the secret {secret} of the key manager is no certificate: its type is another")
        return self._call(credentials, "GET", f"{secret}/payload", accept=content_type)

    def delete(self, credentials: Credentials, secret: str) -> None:
        """Delete a secret. Raises BadRequest when the caller cannot, Unavailable."""
        self._call(credentials, "DELETE", secret, accept="application/json")

    def _call(self, credentials: Credentials, method: str, path: str, *, accept: str) -> bytes:
        url = f"{self._url(credentials)}/v1/secrets/{path}"
        headers = {"Accept": accept, **({"X-Auth-Token": credentials.token} if credentials.token else {})}
        try:
            with self._session.request(
                method, url, headers=headers, allow_redirects=False, stream=True
            ) as answer:
                content = b""
                for piece in answer.iter_content(MAX_SECRET):
                    content += piece
                    if len(content) > MAX_SECRET:
                        break
        except requests.RequestException as error:
            # The text of the error would name the address.
            raise Unavailable(f"the key manager does not answer: {type(error).__name__}") from None
        if answer.status_code >= 500:
            raise Unavailable(f"the key manager answers {answer.status_code}")
        if not answer.ok or answer.is_redirect or len(content) > MAX_SECRET:
            raise BadRequest(f"the key manager does not give {path} to the caller: {answer.status_code}")
        return content

    def _url(self, credentials: Credentials) -> str:
        url = self._endpoint or find_endpoint(
            credentials.catalog, "key-manager", self._interface, self._region
        )
        if url is None:
            raise Unavailable("no key manager: [barbican] barbican_endpoint is unset, the service catalog names none")
        return url.rstrip("/").removesuffix("/v1")
