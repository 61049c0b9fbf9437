"""One signed HTTP call to the registry, with its time limits, repetitions and errors.

A write that got no clear answer is *unknown*, never *failed*: it is repeated with the same attempt id, which the
registry answers with the row when the write happened already, and ends as OutcomeUnknown when no answer comes in time.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import orjson
import requests
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from urllib3.exceptions import MaxRetryError, NewConnectionError

from glance_common import errors
from glance_common.context import HEADER, ContextSigner, RequestContext
from glance_common.metrics.catalog import REGISTRY_CALLS

LOG = logging.getLogger(__name__)

REQUEST_ID = "X-Openstack-Request-ID"
_NO_ANSWER = "the registry does not answer"
_PAUSES = (0.0, 0.1, 0.2, 0.4, 0.8, 1.6)
"""Seconds before each repetition. The first is at once: mostly a kept connection that the other side just closed."""

MAX_TARGET = 8000
"""Characters of path and query: the registry's server takes request lines of 8190."""

_OUTCOMES = {500: "error", 503: "unavailable"}
"""How a call ended, for the metrics, by the code of its error; any other code is a refusal."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds: to connect, to wait for an answer, and after which no repetition of a read or a write begins."""

    connect: float = 2.0
    read: float | None = 10.0
    read_deadline: float = 2.0
    write_deadline: float = 6.0


@dataclass(frozen=True, slots=True)
class Tls:
    """``verify``: True, False or the path of a CA file; ``cert``: client certificate and key, or None."""

    verify: bool | str = True
    cert: tuple[str, str] | None = None


class RegistryHttp:
    """The registry at ``base_url``, one per process: threads share its pool of kept connections."""

    def __init__(
        self,
        base_url: str,
        signer: ContextSigner,
        *,
        timeouts: Timeouts | None = None,
        tls: Tls | None = None,
        pool_size: int = 32,
        extra_headers: Callable[[], Mapping[str, str]] | None = None,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._signer = signer
        self._timeouts = timeouts or Timeouts()
        self._tls = tls or Tls()
        self._extra_headers = extra_headers
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.mount(self._base_url + "/", HTTPAdapter(pool_connections=1, pool_maxsize=pool_size))

    def call(
        self,
        context: RequestContext,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        query: Mapping[str, str] | None = None,
        only_reads: bool = False,
    ) -> dict[str, Any]:
        """Return the JSON object that the registry answers, empty for an answer without one.

        ``path`` is made of ``segment``-quoted parts; ``only_reads`` says that a POST changes nothing. Raises the
        registry's own error; BadRequest for names that fit into no address; Unavailable when nothing was done;
        OutcomeUnknown when a write may or may not have happened.
        """
        target = f"{path}?{urlencode(query, quote_via=quote)}" if query else path
        if len(target) > MAX_TARGET:
            raise errors.BadRequest("the names in this request are too long")
        data = None if body is None else orjson.dumps(body)
        is_write = method != "GET" and not only_reads
        deadline = time.monotonic() + (self._timeouts.write_deadline if is_write else self._timeouts.read_deadline)
        may_have_happened = False
        for pause in (*_PAUSES, None):
            try:
                return self._once(context, method, target, data)
            except errors.Unavailable as error:
                may_have_happened |= is_write and isinstance(error, errors.OutcomeUnknown)
                if pause is not None and time.monotonic() + pause < deadline:
                    time.sleep(pause)
                    continue
                LOG.warning("%s %s: %s", method, path, _reason(error))
                if not may_have_happened:
                    raise _as_unavailable(error) from error
                raise errors.OutcomeUnknown(f"{_NO_ANSWER}: {method} {path} may or may not have happened") from error
        raise AssertionError("the last try returns or raises")

    def check(self) -> None:
        """Raise Unavailable with the reason when the registry does not answer, or cannot work itself. Asks once."""
        try:
            response = self.session.get(
                f"{self._base_url}/healthcheck",
                timeout=(self._timeouts.connect, self._timeouts.read),
                verify=self._tls.verify,
                cert=self._tls.cert,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            raise errors.Unavailable(_NO_ANSWER) from error
        if not response.ok:
            raise errors.Unavailable(f"the registry answers {response.status_code}: {response.text[:200]}")

    def close(self) -> None:
        """Close the kept connections."""
        self.session.close()

    def _once(self, context: RequestContext, method: str, target: str, data: bytes | None) -> dict[str, Any]:
        """Ask once. OutcomeUnknown means: sent, but no clear answer; Unavailable: not done for sure."""
        request = self._prepare(context, method, target, data)
        started, outcome = time.perf_counter(), "error"
        try:
            answer = self._ask(request)
            outcome = "ok"
            return answer
        except errors.OutcomeUnknown:
            outcome = "unknown"
            raise
        except errors.GlanceError as error:
            outcome = _OUTCOMES.get(error.code, "refused")
            raise
        finally:
            REGISTRY_CALLS.labels(method, outcome).observe(time.perf_counter() - started)

    def _ask(self, request: requests.PreparedRequest) -> dict[str, Any]:
        try:
            response = self.session.send(
                request,
                timeout=(self._timeouts.connect, self._timeouts.read),
                verify=self._tls.verify,
                cert=self._tls.cert,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            raise (errors.Unavailable if _never_sent(error) else errors.OutcomeUnknown)(_NO_ANSWER) from error
        return _read(response, is_write=request.method != "GET")

    def _prepare(
        self, context: RequestContext, method: str, target: str, data: bytes | None
    ) -> requests.PreparedRequest:
        # Built by hand: the library's own preparation would rewrite the signed path ("%2E%2E" becomes a step up).
        request = requests.PreparedRequest()
        request.method = method
        request.url = self._base_url + target
        request.headers = CaseInsensitiveDict(
            {HEADER: self._signer.sign(context, method, target), REQUEST_ID: context.request_id, "Accept": "*/*"}
        )
        if self._extra_headers is not None:
            request.headers.update(self._extra_headers())
        request.body = data
        if data is not None:
            request.headers["Content-Type"] = "application/json"
            request.headers["Content-Length"] = str(len(data))
        elif method != "GET":
            request.headers["Content-Length"] = "0"
        request.hooks = {"response": []}
        return request


def segment(text: str) -> str:
    """Return ``text`` quoted as one part of a path, whatever it holds; the names "." and ".." are no steps."""
    quoted = quote(text, safe="")
    return quoted.replace(".", "%2E") if text in (".", "..") else quoted


def _reason(error: errors.Unavailable) -> str:
    """Return why there was no answer, for the operator; clients are only told that there was none."""
    if not isinstance(error.__cause__, requests.RequestException):
        return error.message
    cause = error.__cause__.args[0] if error.__cause__.args else error.__cause__
    return f"{error.message}: {cause.reason if isinstance(cause, MaxRetryError) else cause}"


def _never_sent(error: requests.RequestException) -> bool:
    """Tell whether the request surely did not reach the registry."""
    if isinstance(error, requests.ConnectTimeout):
        return True
    cause = error.args[0] if error.args else None
    return isinstance(cause, MaxRetryError) and isinstance(cause.reason, NewConnectionError)


def _read(response: requests.Response, is_write: bool) -> dict[str, Any]:
    try:
        document = orjson.loads(response.content) if response.content else {}
    except orjson.JSONDecodeError:
        document = None
    if response.ok and isinstance(document, dict):
        return document
    error = errors.from_document(response.status_code, document)
    # A 503 of the registry says itself whether something was done; any other 5xx, and what a proxy says, does not.
    is_clear = 400 <= response.status_code < 500 or type(error) is errors.Unavailable
    if is_clear:
        raise error
    if is_write:
        raise errors.OutcomeUnknown(error.message)
    raise error if response.status_code == 500 else errors.Unavailable(_NO_ANSWER)


def _as_unavailable(error: errors.Unavailable) -> errors.Unavailable:
    """Return the error for something that was not done: a read without an answer is no unknown outcome."""
    return errors.Unavailable(error.message) if isinstance(error, errors.OutcomeUnknown) else error
