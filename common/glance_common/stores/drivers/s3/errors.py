"""What went wrong with a call to an S3 server, and what an operator has to mend: one table.

The texts are ours. What the server says stays out, except for its error code: an answer may quote the request.
"""

import re
from dataclasses import dataclass
from typing import Any

from glance_common.stores.contract import StoreError, StoreFull, StoreUnavailable

_CODE = re.compile(r"[A-Za-z0-9.]{1,60}")

MISSING_KEY = frozenset({"NoSuchKey", "404"})
"""Codes of an object that is not there; HEAD has no document, so that its code is the status."""


class S3Failed(StoreUnavailable):
    """A call failed. ``code`` is the server's word, or the name of the error when no answer came.

    ``may_pass``: the next try may work, as after a connection that was closed. ``silent``: the server let us wait.
    """

    def __init__(self, text: str, code: str, *, may_pass: bool = False, silent: bool = False) -> None:
        super().__init__(text)
        self.code = code
        self.may_pass = may_pass
        self.silent = silent


@dataclass(frozen=True, slots=True)
class _Meaning:
    """What to tell the operator, and whether another try may help."""

    text: str
    may_pass: bool = False
    silent: bool = False


_CREDENTIALS = _Meaning("the server does not know these credentials: compare the access key, or renew them")
_REGION = _Meaning("the bucket is in another region: set s3_store_region_name and s3_store_host to it")
_BUSY = _Meaning("the server is busy or has a fault of its own", may_pass=True)
_DENIED = _Meaning("the server forbids it: does the bucket belong to this user, and does its policy allow it?")
_SILENT = _Meaning("the server does not answer in time: does it hang, or is a firewall in between?", silent=True)
_BROKEN = _Meaning("the connection broke", may_pass=True)
_NO_CREDENTIALS = _Meaning("there are no credentials: set both keys of the store, or give boto3 some")

_CODES: dict[str, _Meaning] = {
    "NoSuchBucket": _Meaning("the bucket does not exist: create it, or set s3_store_create_bucket_on_put"),
    "AccessDenied": _DENIED,
    "AllAccessDisabled": _DENIED,
    "AccountProblem": _DENIED,
    "UserSuspended": _DENIED,
    "403": _DENIED,
    "BucketAlreadyExists": _Meaning("the bucket belongs to another user: choose another name"),
    "InvalidAccessKeyId": _CREDENTIALS,
    "InvalidToken": _CREDENTIALS,
    "ExpiredToken": _CREDENTIALS,
    "TokenRefreshRequired": _CREDENTIALS,
    "SignatureDoesNotMatch": _Meaning(
        "the signature does not fit: compare the keys of the store, s3_store_region_name, and proxies that change "
        "the host name"
    ),
    "RequestTimeTooSkewed": _Meaning("the times differ too much: compare the clocks of this host and of the server"),
    "RequestExpired": _Meaning("the request came too late: compare the clocks of this host and of the server"),
    "AuthorizationHeaderMalformed": _REGION,
    "PermanentRedirect": _REGION,
    "301": _REGION,
    "IllegalLocationConstraintException": _REGION,
    "InvalidLocationConstraint": _REGION,
    "MissingContentLength": _Meaning(
        "the server takes no checksums behind the data: set s3_store_request_checksum_calculation = when_required"
    ),
    "InvalidBucketName": _Meaning("the server takes no bucket of this name: see s3_store_bucket"),
    "NoSuchUpload": _Meaning("the upload is not there any more: the key was deleted while it was written"),
    "SlowDown": _BUSY,
    "RequestTimeout": _BUSY,
    "OperationAborted": _BUSY,
    "InternalError": _BUSY,
    "ServiceUnavailable": _BUSY,
    # Without an answer: names of classes of botocore and of Python.
    "ConnectTimeoutError": _SILENT,
    "ReadTimeoutError": _SILENT,
    "TimeoutError": _SILENT,
    "EndpointConnectionError": _Meaning("nothing answers at this address: see s3_store_host", may_pass=True),
    "ConnectionClosedError": _BROKEN,
    "ResponseStreamingError": _BROKEN,
    "IncompleteReadError": _BROKEN,
    "HTTPClientError": _BROKEN,
    "HTTPError": _BROKEN,
    "OSError": _BROKEN,
    "NoCredentialsError": _NO_CREDENTIALS,
    "PartialCredentialsError": _NO_CREDENTIALS,
    "CredentialRetrievalError": _Meaning("the source of the credentials does not answer: see the settings of boto3"),
    "MetadataRetrievalError": _Meaning("the source of the credentials does not answer: see the settings of boto3"),
    "UnauthorizedSSOTokenError": _CREDENTIALS,
    "FlexibleChecksumError": _Meaning("the data are not those of their checksum: the object is damaged"),
    "ResponseParserError": _Meaning("the answer is none of an S3 server: see s3_store_host"),
}
_FULL = frozenset({
    "QuotaExceeded", "EntityTooLarge", "InsufficientCapacity", "InsufficientStorage", "StorageFull",
    "XMinioStorageFull", "507",
})


def too_slow(reason: str, operation: str, place: str) -> S3Failed:
    """Return the error for a server that does not keep the limits; ``reason`` continues the words "the server"."""
    text = f"{place}: {operation}: the server {reason}: does it hang, or is a firewall in between?"
    return S3Failed(text, "TooSlow", silent=True)


def translated(error: Exception, operation: str, place: str) -> StoreError:
    """Return the store's error for one of botocore, urllib3 or Python."""
    answer: dict[str, Any] | None = getattr(error, "response", None)
    if isinstance(answer, dict):
        return _of_answer(answer, operation, place)
    names = [kind.__name__ for kind in type(error).__mro__]
    if "SSLError" in names:
        return S3Failed(f"{place}: {operation}: {_certificate(error)}", "SSLError")
    code = next((name for name in names if name in _CODES), names[0])
    meaning = _CODES.get(code, _Meaning("the call cannot be made"))
    return _failed(operation, place, code, meaning)


def _of_answer(answer: dict[str, Any], operation: str, place: str) -> StoreError:
    code = str(answer.get("Error", {}).get("Code") or "")
    status = int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0)
    if _CODE.fullmatch(code) is None:
        code = str(status)
    if code in _FULL or status == 507:
        return StoreFull(f"{place}: {operation}: {code}: the server has no room, or takes no object of this size")
    meaning = _CODES.get(code)
    if meaning is None:
        meaning = _BUSY if status >= 500 or status == 429 else _Meaning(f"the server answers with status {status}")
    return _failed(operation, place, code, meaning)


def _failed(operation: str, place: str, code: str, meaning: _Meaning) -> S3Failed:
    text = f"{place}: {operation}: {code}: {meaning.text}"
    return S3Failed(text, code, may_pass=meaning.may_pass, silent=meaning.silent)


def _certificate(error: Exception) -> str:
    """The reason of the TLS library, which is inside of errors of urllib3 and botocore."""
    seen: BaseException | None = error
    while seen is not None:
        reason = getattr(seen, "verify_message", None)
        if reason:
            reason = reason.rstrip(".")
            return f"the certificate of the server does not fit: {reason}; see s3_store_cacert and s3_store_host"
        seen = _inner(seen)
    return "TLS fails: does the server speak https, and with these versions?"


def _inner(error: BaseException) -> BaseException | None:
    found = [
        getattr(error, "kwargs", {}).get("error"), getattr(error, "reason", None), error.__cause__, error.__context__,
        *error.args,
    ]
    return next((each for each in found if isinstance(each, BaseException) and each is not error), None)
