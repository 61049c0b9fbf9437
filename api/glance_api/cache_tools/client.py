"""The requests of glance-cache-manage: to the API of one host, and to Keystone for a token."""

import re
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import requests

from glance_api.cache_tools.options import Account
from glance_common.fetch.guarded_http import document_session
from glance_common.fetch.guards import ExchangeLimits

LIMITS = ExchangeLimits(connect=10.0, idle=60.0, answer=120.0, document=64 * 1024 * 1024)
"""The whole cache is one document; to remove all of it takes time."""

_VERSION = re.compile(r"/v[23](\.\d)?/?$")


class ToolError(Exception):
    """What the tool cannot do; the text is for its user."""


@dataclass(frozen=True, slots=True)
class ApiAddress:
    """Where glance-api is; ``verify`` says how its certificate, and Keystone's, is checked."""

    host: str
    port: int
    verify: bool | str

    @property
    def url(self) -> str:
        """The URL of the service, without a slash at the end."""
        if "://" in self.host:
            return self.host.rstrip("/")
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


class CacheClient:
    """Speaks to one glance-api as ``account``. Every method raises ToolError."""

    def __init__(self, address: ApiAddress, account: Account) -> None:
        self._address = address
        self._account = account
        self._session = document_session(LIMITS)
        self._session.verify = address.verify

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close its connections."""
        self._session.close()

    def call(self, method: str, path: str) -> Any:
        """Send a request to ``/v2/<path>`` and return the document of the answer, None when it has none."""
        if not self._session.headers.get("X-Auth-Token") and (token := self._token()):
            self._session.headers["X-Auth-Token"] = token
        answer = self._send(method, f"{self._address.url}/v2/{path}", "glance-api")
        match answer.status_code:
            case 404:
                raise ToolError(
                    f"Cache management middleware not enabled on host {self._address.host}: it needs image_cache_dir "
                    "and +cachemanagement in [paste_deploy] flavor."
                )
            case 401 | 403:
                raise ToolError(f"Not authorized to make this request: {_reason(answer)}")
            case code if code >= 300:
                raise ToolError(f"glance-api at {self._address.url} answers {code}: {_reason(answer)}")
        return _document(answer, "glance-api") if answer.content else None

    def _token(self) -> str:
        """Return the token to be sent, empty for none."""
        account = self._account
        if account.token or not account.auth_url:
            return account.token
        for name in ("username", "password"):
            if not getattr(account, name):
                raise ToolError(f"--os-{name} or OS_{name.upper()} is needed to get a token from {account.auth_url}")
        user = {"name": account.username, "password": account.password, "domain": account.user_domain}
        body = {"auth": {
            "identity": {"methods": ["password"], "password": {"user": user}}, "scope": {"project": account.project},
        }}
        # Old files name version 2.0, which Keystone has no longer.
        base = _VERSION.sub("", account.auth_url.rstrip("/"))
        answer = self._send("POST", f"{base}/v3/auth/tokens", "Keystone", json=body)
        token: str | None = answer.headers.get("X-Subject-Token")
        if answer.status_code != 201 or not token:
            raise ToolError(f"Keystone at {base} gives no token: {answer.status_code}: {_reason(answer)}")
        return token

    def _send(self, method: str, url: str, who: str, **options: Any) -> requests.Response:
        headers = {"Accept": "application/json"}
        try:
            return self._session.request(method, url, headers=headers, allow_redirects=False, **options)
        except (requests.RequestException, OSError, ValueError) as error:
            # The text of the library names objects of its own.
            raise ToolError(f"{who} at {url} does not answer: {_cause(error)}") from error


def _cause(error: BaseException) -> str:
    """Return what lies at the bottom of an error of the library."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return str(getattr(error, "strerror", None) or error)


def _reason(answer: requests.Response) -> str:
    """Return the text of an error of glance-api or Keystone."""
    try:
        document = answer.json()
    except ValueError:
        return answer.reason or "no reason"
    error = document.get("error", document) if isinstance(document, dict) else {}
    return str(error.get("message") or answer.reason) if isinstance(error, dict) else str(answer.reason)


def _document(answer: requests.Response, who: str) -> Any:
    try:
        return answer.json()
    except ValueError:
        raise ToolError(f"{who} answers with something that is not JSON: is it {who}?") from None
