"""What went wrong with a call to Swift or Keystone, and what an operator has to mend: one table.

The texts are ours. What the server says stays out: an answer may quote the request.
"""

from dataclasses import dataclass

from glance_common.stores.contract import StoreError, StoreFull, StoreUnavailable


class SwiftFailed(StoreUnavailable):
    """A call failed. ``status`` is that of the answer, 0 when none came.

    ``may_pass``: the next try may work, as after a connection that was closed. ``silent``: the server let us wait.
    """

    def __init__(self, text: str, status: int = 0, *, may_pass: bool = False, silent: bool = False) -> None:
        super().__init__(text)
        self.status = status
        self.may_pass = may_pass
        self.silent = silent


class NoContainer(SwiftFailed):
    """The container does not exist."""

    def __init__(self, place: str) -> None:
        super().__init__(
            f"{place}: 404: the container does not exist: create it, or set swift_store_create_container_on_put", 404
        )


@dataclass(frozen=True, slots=True)
class _Meaning:
    """What to tell the operator, and whether another try may help."""

    text: str
    may_pass: bool = False
    silent: bool = False


_BUSY = _Meaning("the server is busy or has a fault of its own", may_pass=True)
_SILENT = _Meaning("the server does not answer in time: does it hang, or is a firewall in between?", silent=True)
_BROKEN = _Meaning("the connection broke", may_pass=True)
_NOTHING = _Meaning("nothing answers at this address: see swift_store_auth_address and the catalog", may_pass=True)
_LOGIN = _Meaning("the login is refused: compare user, project, domains and key of the store")

_STATUSES: dict[int, _Meaning] = {
    400: _Meaning("the server cannot make sense of the request"),
    401: _Meaning("the token is refused: compare user and key of the store, and who may use the account"),
    403: _Meaning("the server forbids it: may this user use the account and its containers?"),
    404: _Meaning("the object or the container does not exist"),
    405: _Meaning("the server does not offer this: see its middleware"),
    409: _Meaning("segments of the object are missing, or it is used otherwise at this moment"),
    412: _Meaning("the object is there"),
    422: _Meaning("the data did not arrive as they were sent"),
    429: _BUSY,
    498: _BUSY,
}

_KINDS: dict[str, _Meaning] = {
    # Names of classes of requests, urllib3, keystoneauth and Python.
    "ConnectTimeout": _SILENT,
    "ReadTimeout": _SILENT,
    "Timeout": _SILENT,
    "TimeoutError": _SILENT,
    "NewConnectionError": _NOTHING,
    "ConnectFailure": _NOTHING,
    "Unauthorized": _LOGIN,
    "AuthorizationFailure": _LOGIN,
    "EndpointNotFound": _Meaning(
        "the catalog has no such service: see swift_store_service_type, swift_store_region and "
        "swift_store_endpoint_type"
    ),
    "DiscoveryFailure": _Meaning("this is no Keystone: see swift_store_auth_address and swift_store_auth_version"),
    "InvalidResponse": _Meaning("the answer is none of a Keystone: see swift_store_auth_address"),
    "HttpServerError": _BUSY,
    "HttpError": _Meaning("the login is refused: see swift_store_auth_address and swift_store_auth_version"),
    "ConnectionError": _BROKEN,
    "ChunkedEncodingError": _BROKEN,
    "HTTPError": _BROKEN,
    "HTTPException": _BROKEN,
    "OSError": _BROKEN,
    "RequestException": _Meaning("the address cannot be used"),
    "ValueError": _Meaning("the answer is none of a Swift server: see swift_store_auth_address"),
}


def too_slow(reason: str, operation: str, place: str) -> SwiftFailed:
    """Return the error for a server that does not keep the limits; ``reason`` continues the words "the server"."""
    text = f"{place}: {operation}: the server {reason}: does it hang, or is a firewall in between?"
    return SwiftFailed(text, silent=True)


def translated(error: Exception, operation: str, place: str) -> StoreError:
    """Return the store's error for one of the client libraries or of Python."""
    seen = list(_chain(error))
    names = [kind.__name__ for each in seen for kind in type(each).__mro__]
    if "SSLError" in names:
        return SwiftFailed(f"{place}: {operation}: {_certificate(seen)}")
    status = int(getattr(error, "http_status", None) or 0)
    if status and "swiftclient" in type(error).__module__:
        return of_status(status, operation, place)
    # The innermost is the most precise: requests wraps "nothing listens" into a ConnectionError.
    precise = ("NewConnectionError", "ConnectTimeout", "ReadTimeout", "TimeoutError")
    name = next((name for name in (*precise, *[n for n in names if n in _KINDS]) if name in names), names[0])
    return _failed(operation, place, name, _KINDS.get(name, _Meaning("the call cannot be made")))


def of_status(status: int, operation: str, place: str) -> StoreError:
    """Return the error for an answer of Swift."""
    if status in (413, 507):
        return StoreFull(f"{place}: {operation}: {status}: the server has no room, or takes no object of this size")
    meaning = _STATUSES.get(status)
    if meaning is None:
        meaning = _BUSY if status >= 500 else _Meaning("the server does not take the call")
    return _failed(operation, place, str(status), meaning, status)


def _failed(operation: str, place: str, code: str, meaning: _Meaning, status: int = 0) -> SwiftFailed:
    text = f"{place}: {operation}: {code}: {meaning.text}"
    return SwiftFailed(text, status, may_pass=meaning.may_pass, silent=meaning.silent)


def _certificate(seen: list[BaseException]) -> str:
    """The reason of the TLS library, which is inside of errors of urllib3 and requests."""
    reason = next((text for each in seen if (text := getattr(each, "verify_message", None))), None)
    if reason is None:
        return "TLS fails: does the server speak https, and with these versions?"
    text = str(reason).rstrip(".")
    return f"the certificate of the server does not fit: {text}; see swift_store_cacert and swift_store_auth_address"


def _chain(error: BaseException) -> list[BaseException]:
    """Return the error and those that are inside of it, from the outside."""
    found: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting and len(found) < 20:
        each = waiting.pop(0)
        if isinstance(each, BaseException) and each not in found:
            found.append(each)
            waiting += [getattr(each, "reason", None), each.__cause__, each.__context__, *each.args]
    return found
