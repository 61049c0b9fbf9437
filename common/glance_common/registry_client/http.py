"""One signed HTTP call to the registry, with its time limits, repetitions and errors.

A write that got no clear answer is *unknown*, never *failed*: it is repeated with the same attempt id, which the
registry answers with the row when the write happened already, and ends as OutcomeUnknown when no answer comes in time.
"""

import logging
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any
from urllib.parse import quote, urlencode

import orjson

from glance_common.model import errors, health
from glance_common.model.context import HEADER, ContextSigner, RequestContext
from glance_common.observability.metrics.catalog import REGISTRY_CALLS
from glance_common.registry_client.connections import Answer, KeptConnections, NoAnswer, NotSent, Transport
from glance_common.retry import pauses

LOG = logging.getLogger(__name__)

REQUEST_ID = "X-Openstack-Request-ID"
_NO_ANSWER = "the registry does not answer"
_PAUSES = (0.0, *islice(pauses(0.1, 1.6), 5))
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


class RegistryHttp:
    """The registry behind ``transport``, one per process: threads share its kept connections."""

    def __init__(
        self,
        transport: Transport,
        signer: ContextSigner,
        *,
        timeouts: Timeouts | None = None,
        extra_headers: Callable[[], Mapping[str, str]] | None = None,
    ) -> None:
        self._transport = transport
        self._signer = signer
        self._timeouts = timeouts or Timeouts()
        self._extra_headers = extra_headers

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
                return self._once(context, method, target, data, is_write=is_write)
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
        """Raise Unavailable with the reason when the registry does not answer, or cannot work itself. Asks once.

        One that stops works until then: behind a balancer another one would answer soon.
        """
        try:
            answer = self._transport.exchange("GET", health.PATH, {})
        except (NotSent, NoAnswer) as error:
            raise errors.Unavailable(_NO_ANSWER) from error
        if answer.status != 200 and answer.body != health.STOPPING:
            said = answer.body[:200].decode(errors="replace")
            raise errors.Unavailable(f"the registry answers {answer.status}: {said}")

    def close(self) -> None:
        """Close the kept connections."""
        self._transport.close()

    def _once(
        self, context: RequestContext, method: str, target: str, data: bytes | None, *, is_write: bool
    ) -> dict[str, Any]:
        """Ask once. OutcomeUnknown means: sent, but no clear answer; Unavailable: not done for sure."""
        started, outcome = time.perf_counter(), "error"
        try:
            document = _read(self._ask(context, method, target, data), is_write=is_write)
            outcome = "ok"
            return document
        except errors.OutcomeUnknown:
            outcome = "unknown"
            raise
        except errors.GlanceError as error:
            outcome = _OUTCOMES.get(error.code, "refused")
            raise
        finally:
            REGISTRY_CALLS.labels(method, outcome).observe(time.perf_counter() - started)

    def _ask(self, context: RequestContext, method: str, target: str, data: bytes | None) -> Answer:
        headers = {HEADER: self._signer.sign(context, method, target, data), REQUEST_ID: context.request_id}
        if self._extra_headers is not None:
            headers.update(self._extra_headers())
        try:
            return self._transport.exchange(method, target, headers, data)
        except NotSent as error:
            raise errors.Unavailable(_NO_ANSWER) from error
        except NoAnswer as error:
            raise errors.OutcomeUnknown(_NO_ANSWER) from error


def connect_to(
    base_url: str,
    signer: ContextSigner,
    *,
    timeouts: Timeouts | None = None,
    tls: ssl.SSLContext | None = None,
    pool_size: int = 32,
    extra_headers: Callable[[], Mapping[str, str]] | None = None,
) -> RegistryHttp:
    """Return the registry at ``base_url``; nothing is connected yet."""
    timeouts = timeouts or Timeouts()
    transport = KeptConnections(
        base_url, tls, connect_timeout=timeouts.connect, read_timeout=timeouts.read, size=pool_size
    )
    return RegistryHttp(transport, signer, timeouts=timeouts, extra_headers=extra_headers)


def segment(text: str) -> str:
    """Return ``text`` quoted as one part of a path, whatever it holds; the names "." and ".." are no steps."""
    quoted = quote(text, safe="")
    return quoted.replace(".", "%2E") if text in (".", "..") else quoted


def _reason(error: errors.Unavailable) -> str:
    """Return why there was no answer, for the operator; clients are only told that there was none."""
    return f"{error.message}: {error.__cause__}" if isinstance(error.__cause__, NotSent | NoAnswer) else error.message


def _read(answer: Answer, is_write: bool) -> dict[str, Any]:
    try:
        document = orjson.loads(answer.body) if answer.body else {}
    except orjson.JSONDecodeError:
        document = None
    if answer.status < 300 and isinstance(document, dict):
        return document
    error = errors.from_document(answer.status, document)
    # A 503 of the registry says itself whether something was done; any other 5xx, and what a proxy says, does not.
    is_clear = 400 <= answer.status < 500 or type(error) is errors.Unavailable
    if is_clear:
        raise error
    if is_write:
        raise errors.OutcomeUnknown(error.message)
    raise error if answer.status == 500 else errors.Unavailable(_NO_ANSWER)


def _as_unavailable(error: errors.Unavailable) -> errors.Unavailable:
    """Return the error for something that was not done: a read without an answer is no unknown outcome."""
    return errors.Unavailable(error.message) if isinstance(error, errors.OutcomeUnknown) else error
