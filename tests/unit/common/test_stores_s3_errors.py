"""The error table of the s3 driver: each fault is told with what an operator has to mend, and without credentials."""

import ssl
from typing import Any

import pytest
from botocore import exceptions as boto
from botocore.parsers import ResponseParserError
from urllib3.exceptions import ProtocolError
from urllib3.exceptions import SSLError as TLSFailed

from glance_common.stores.contract import StoreError, StoreFull
from glance_common.stores.drivers.s3.errors import S3Failed, translated

PLACE = "s3://s3.example.org/images"
URL = "http://AKIA:hidden@s3.example.org/images/x?X-Amz-Signature=hidden"


def answered(code: str, status: int = 400) -> StoreError:
    answer: dict[str, Any] = {
        "Error": {"Code": code, "Message": "hidden", "AWSAccessKeyId": "hidden", "StringToSign": "hidden"},
        "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": {"x": "hidden"}},
    }
    return translated(boto.ClientError(answer, "PutObject"), "put_object", PLACE)


@pytest.mark.parametrize(
    ("code", "status", "told"),
    [
        ("NoSuchBucket", 404, "create it"),
        ("AccessDenied", 403, "does the bucket belong to this user"),
        ("403", 403, "does the bucket belong to this user"),
        ("BucketAlreadyExists", 409, "belongs to another user"),
        ("InvalidAccessKeyId", 403, "compare the access key"),
        ("ExpiredToken", 400, "renew them"),
        ("SignatureDoesNotMatch", 403, "compare the keys of the store"),
        ("RequestTimeTooSkewed", 403, "compare the clocks"),
        ("PermanentRedirect", 301, "s3_store_region_name"),
        ("AuthorizationHeaderMalformed", 400, "s3_store_region_name"),
        ("MissingContentLength", 411, "s3_store_request_checksum_calculation"),
        ("NoSuchUpload", 404, "deleted while it was written"),
        ("SlowDown", 503, "busy"),
        ("Unheard", 500, "busy"),
        ("Unheard", 418, "status 418"),
        ("", 502, "502"),
        ("hidden <tag>", 404, "404"),
    ],
)
def test_answers_of_servers(code: str, status: int, told: str):
    error = answered(code, status)
    assert isinstance(error, S3Failed)
    assert str(error).startswith(f"{PLACE}: put_object: ")
    assert told in str(error)
    assert "hidden" not in str(error)
    assert not error.permanent
    assert not error.silent


@pytest.mark.parametrize(
    ("code", "status", "may_pass"),
    [("SlowDown", 503, True), ("InternalError", 500, True), ("TooManyRequests", 429, True),
     ("AccessDenied", 403, False), ("NoSuchBucket", 404, False), ("RequestTimeTooSkewed", 403, False),
     ("NoSuchUpload", 404, False)],
)
def test_only_passing_faults_are_tried_again(code: str, status: int, may_pass: bool):
    error = answered(code, status)
    assert isinstance(error, S3Failed)
    assert error.may_pass is may_pass


@pytest.mark.parametrize(("code", "status"), [("QuotaExceeded", 403), ("EntityTooLarge", 400), ("Other", 507)])
def test_a_full_store(code: str, status: int):
    assert isinstance(answered(code, status), StoreFull)


@pytest.mark.parametrize(
    ("error", "told", "may_pass", "silent"),
    [
        (boto.ConnectTimeoutError(endpoint_url=URL, error="hidden"), "does not answer in time", False, True),
        (boto.ReadTimeoutError(endpoint_url=URL, error="hidden"), "does not answer in time", False, True),
        (TimeoutError("hidden"), "does not answer in time", False, True),
        (boto.EndpointConnectionError(endpoint_url=URL, error="hidden"), "nothing answers", True, False),
        (boto.ConnectionClosedError(endpoint_url=URL), "the connection broke", True, False),
        (boto.ResponseStreamingError(error="hidden"), "the connection broke", True, False),
        (boto.IncompleteReadError(actual_bytes=1, expected_bytes=2), "the connection broke", True, False),
        (boto.HTTPClientError(error="hidden"), "the connection broke", True, False),
        (ProtocolError("hidden"), "the connection broke", True, False),
        (ConnectionResetError("hidden"), "the connection broke", True, False),
        (boto.NoCredentialsError(), "no credentials", False, False),
        (boto.PartialCredentialsError(provider="hidden", cred_var="hidden"), "no credentials", False, False),
        (boto.FlexibleChecksumError(error_msg="hidden"), "damaged", False, False),
        (ResponseParserError("hidden"), "none of an S3 server", False, False),
        (boto.ParamValidationError(report="hidden"), "cannot be made", False, False),
    ],
)
def test_calls_without_an_answer(error: Exception, told: str, may_pass: bool, silent: bool):
    failed = translated(error, "get_object", PLACE)
    assert isinstance(failed, S3Failed)
    assert told in str(failed)
    assert (failed.may_pass, failed.silent) == (may_pass, silent)
    assert "hidden" not in str(failed)


def test_a_certificate_that_does_not_fit_is_told():
    reason = ssl.SSLCertVerificationError("certificate verify failed")
    reason.verify_message = "Hostname mismatch, certificate is not valid for 's3.example.org'."
    failed = translated(boto.SSLError(endpoint_url=URL, error=TLSFailed(reason)), "get_object", PLACE)
    assert "Hostname mismatch" in str(failed)
    assert "s3_store_cacert" in str(failed)
    assert "hidden" not in str(failed)
    other = translated(boto.SSLError(endpoint_url=URL, error="hidden"), "get_object", PLACE)
    assert "does the server speak https" in str(other)
    assert "hidden" not in str(other)
