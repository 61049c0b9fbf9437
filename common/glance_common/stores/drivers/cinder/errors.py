"""What went wrong with a call to Cinder, Keystone or os-brick, and what an operator has to mend: one table.

The texts are ours. What servers and libraries say stays out: it may quote the request, or how a volume is reached.
"""

from dataclasses import dataclass

from glance_common.stores.contract import StoreError, StoreFull, StoreUnavailable


class CinderFailed(StoreUnavailable):
    """A call failed. ``status`` is that of the answer, 0 when none came.

    ``may_pass``: the next try may work, as after a connection that was closed. ``silent``: the peer let us wait.
    ``state`` is that of a volume that came into a state of error.
    """

    def __init__(
        self, text: str, status: int = 0, *, may_pass: bool = False, silent: bool = False, state: str = ""
    ) -> None:
        super().__init__(text)
        self.status = status
        self.state = state
        self.may_pass = may_pass
        self.silent = silent


@dataclass(frozen=True, slots=True)
class _Meaning:
    """What to tell the operator, and whether another try may help."""

    text: str
    may_pass: bool = False
    silent: bool = False


_BUSY = _Meaning("the server is busy or has a fault of its own", may_pass=True)
_SILENT = _Meaning("the server does not answer in time: does it hang, or is a firewall in between?", silent=True)
_BROKEN = _Meaning("the connection broke", may_pass=True)
_NOTHING = _Meaning(
    "nothing answers at this address: see cinder_store_auth_address, cinder_endpoint_template and the catalog",
    may_pass=True,
)
_LOGIN = _Meaning("the login is refused: compare user, password, project and domains of the store")

_STATUSES: dict[int, _Meaning] = {
    400: _Meaning("the server refuses it in the present state of the volume, or does not know cinder_volume_type"),
    401: _Meaning("the token is refused: compare user and password of the store"),
    403: _Meaning("the server forbids it: may this user have volumes in this project?"),
    404: _Meaning("the server does not know it: compare cinder_volume_type and the endpoint"),
    406: _Meaning("the server is too old: it must offer the microversion 3.54"),
    409: _Meaning("the volume is used otherwise at this moment"),
    429: _BUSY,
}

_KINDS: dict[str, _Meaning] = {
    # Names of classes of requests, urllib3, keystoneauth, cinderclient and Python.
    "ConnectTimeout": _SILENT,
    "ReadTimeout": _SILENT,
    "Timeout": _SILENT,
    "TimeoutError": _SILENT,
    "NewConnectionError": _NOTHING,
    "ConnectFailure": _NOTHING,
    "Unauthorized": _LOGIN,
    "AuthorizationFailure": _LOGIN,
    "EndpointNotFound": _Meaning(
        "the catalog has no such service: see cinder_catalog_info and cinder_os_region_name"
    ),
    "DiscoveryFailure": _Meaning("this is no Keystone: see cinder_store_auth_address"),
    "InvalidResponse": _Meaning("the answer is none of a Keystone: see cinder_store_auth_address"),
    "HttpServerError": _BUSY,
    "HttpError": _Meaning("the login is refused: see cinder_store_auth_address"),
    "ConnectionError": _BROKEN,
    "RetriableConnectionFailure": _BROKEN,
    "ChunkedEncodingError": _BROKEN,
    "HTTPError": _BROKEN,
    "HTTPException": _BROKEN,
    "OSError": _BROKEN,
    "RequestException": _Meaning("the address cannot be used"),
    "KeyError": _Meaning("the answer is none of a Cinder: see cinder_endpoint_template and the catalog"),
    "ValueError": _Meaning("the answer is none of a Cinder: see cinder_endpoint_template and the catalog"),
}

_PRECISE = ("NewConnectionError", "ConnectTimeout", "ReadTimeout", "TimeoutError")


def too_slow(reason: str, operation: str, place: str) -> CinderFailed:
    """Return the error for a peer that does not keep the limits; ``reason`` continues the words "the server"."""
    text = f"{place}: {operation}: the server {reason}: does it hang, or is a firewall in between?"
    return CinderFailed(text, silent=True)


def translated(error: Exception, operation: str, place: str) -> StoreError:
    """Return the store's error for one of the client libraries or of Python."""
    status = int(getattr(error, "code", None) or 0)
    if status and "cinderclient" in type(error).__module__:
        return of_status(status, operation, place)
    seen = list(_chain(error))
    names = [kind.__name__ for each in seen for kind in type(each).__mro__]
    if "SSLError" in names:
        return CinderFailed(f"{place}: {operation}: {_certificate(seen)}")
    # The innermost is the most precise: requests wraps "nothing listens" into a ConnectionError.
    name = next((name for name in (*_PRECISE, *[n for n in names if n in _KINDS]) if name in names), names[0])
    return _failed(operation, place, name, _KINDS.get(name, _Meaning("the call cannot be made")))


def of_status(status: int, operation: str, place: str) -> StoreError:
    """Return the error for an answer of Cinder."""
    if status == 413:
        return StoreFull(f"{place}: {operation}: {status}: a quota of the project is reached")
    meaning = _STATUSES.get(status)
    if meaning is None:
        meaning = _BUSY if status >= 500 else _Meaning("the server does not take the call")
    return _failed(operation, place, str(status), meaning, status)


def of_device(error: BaseException, operation: str, place: str) -> StoreError:
    """Return the error for what os-brick or an attached device did not do on this host; only its type is told."""
    reason = _DEVICES.get(type(error).__name__)
    if reason is None:
        number = getattr(error, "errno", None)
        reason = "this host cannot use the volume" + (f" (error {number})" if isinstance(number, int) else "")
    name = type(error).__name__
    return CinderFailed(f"{place}: {operation}: {reason} ({name})", silent=name == "CallHangs")


_DEVICES = {
    "BrickException": "os-brick cannot reach the volume: are the network of the storage, and the keys of this host "
    "(/etc/ceph/<cluster>.client.<user>.keyring), in place?",
    "RequiredOptError": "os-brick has no folder for its locks: see [oslo_concurrency] lock_path",
    "FailedToDropPrivileges": "os-brick's helper cannot be started: see [privsep_osbrick] helper_command and sudoers",
    "InvalidConnectorProtocol": "os-brick does not know this kind of storage",
    "CallHangs": "no answer in time, or too many calls hang: look at the path from this host to the storage",
}


def _failed(operation: str, place: str, code: str, meaning: _Meaning, status: int = 0) -> CinderFailed:
    text = f"{place}: {operation}: {code}: {meaning.text}"
    return CinderFailed(text, status, may_pass=meaning.may_pass, silent=meaning.silent)


def _certificate(seen: list[BaseException]) -> str:
    """The reason of the TLS library, which is inside of errors of urllib3 and requests."""
    reason = next((text for each in seen if (text := getattr(each, "verify_message", None))), None)
    if reason is None:
        return "TLS fails: does the server speak https, and with these versions?"
    text = str(reason).rstrip(".")
    return f"the certificate of the server does not fit: {text}; see cinder_ca_certificates_file"


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
