"""pyVmomi's calls over our own requests: the only module here that imports the library."""

from typing import Any
from xml.parsers.expat import ExpatError

from pyVmomi import SoapAdapter, vim

from glance_common.stores.contract import StoreError
from glance_common.stores.drivers.vmware.errors import VmwareFailed, failed
from glance_common.stores.drivers.vmware.transport import HttpsClient

# The library has no types.
_LIBRARY: Any = SoapAdapter
_VIM: Any = vim

VERSION = "vim.version.version10"
"""vSphere 6.0, which later servers speak as well."""

COOKIE = "vmware_soap_session"
_ANSWERS = (200, 500)
"""A fault comes with 500."""


class SoapLine(_LIBRARY.SoapStubAdapterBase):
    """Sends the calls of managed objects; keeps the cookie of its session, as the server wrote it.

    Faults come out as StoreError.
    """

    requestContext = None  # noqa: N815 - the library's name

    def __init__(self, transport: HttpsClient, host: str) -> None:
        super().__init__(VERSION)
        self.cookie = ""
        self.content: Any = None
        """The root objects of the server, once they were asked for."""
        self._transport = transport
        self._host = host

    def InvokeMethod(  # noqa: N802 - the library's name
        self, mo: Any, info: Any, args: Any, outerStub: Any = None  # noqa: ARG002, N803 - as above
    ) -> Any:
        """Return what the method returns."""
        what = f"{self._host}, {info.name}"
        headers = {"SOAPAction": self.versionId, "Content-Type": "text/xml; charset=UTF-8", "Cookie": self.cookie}
        request = self.SerializeRequest(mo, info, args)
        answer = self._transport.send("POST", f"https://{self._host}/sdk", headers, request)
        document = answer.document()
        if answer.status not in _ANSWERS:
            raise failed(str(answer.status), what)
        try:
            result = _LIBRARY.SoapResponseDeserializer(self).Deserialize(document, info.result)
        except (ExpatError, AttributeError, LookupError, TypeError, ValueError):
            raise VmwareFailed(f"{what}: the server does not answer as a vCenter or an ESX host", "answer") from None
        if answer.status != 200:
            raise fault_error(result, what)
        for text in answer.cookies:
            value = text.partition(";")[0].strip()
            if value.startswith(f"{COOKIE}="):
                self.cookie = value
        return result

    def __deepcopy__(self, memo: Any) -> "SoapLine":
        """Return itself: the library copies objects with what they are called through."""
        return self


def fault_error(fault: Any, what: str) -> StoreError:
    """Return the error for a fault of the server."""
    names = [each.__name__.rpartition(".")[2] for each in type(fault).__mro__]
    return failed(names[0], what, *names[1:])


def log_in(line: SoapLine, user: str, password: str) -> None:
    """Begin a session, whose cookie the line keeps. Raises StoreError."""
    content(line).sessionManager.Login(user, password, None)


def content(line: SoapLine) -> Any:
    """Return the root objects of the server."""
    if line.content is None:
        line.content = _VIM.ServiceInstance("ServiceInstance", line).RetrieveContent()
    return line.content


def ticket(line: SoapLine, method: str, url: str) -> str | None:
    """Return the ticket for one request to a host that the server manages; None from servers without tickets."""
    request = _VIM.SessionManager.HttpServiceRequestSpec(method=f"http{method.capitalize()}", url=url)
    try:
        acquired = content(line).sessionManager.AcquireGenericServiceTicket(request)
    except VmwareFailed as error:
        if error.code in {"NotSupported", "NotImplemented"}:
            return None
        raise
    return str(acquired.id)


def bound(kind: str, identity: str, line: SoapLine) -> Any:
    """Return a managed object, called through ``line``."""
    return getattr(_VIM, kind)(identity, line)


def search_spec(pattern: str) -> Any:
    """Return what to ask a datastore browser for: sizes and times of the files that match."""
    return _VIM.host.DatastoreBrowser.SearchSpec(
        matchPattern=[pattern],
        details=_VIM.host.DatastoreBrowser.FileInfo.Details(
            fileType=False, fileSize=True, modification=True, fileOwner=False
        ),
    )


def datastores_below(folder: Any) -> dict[str, str]:
    """Return name → id of the datastores of a folder and those in it, pods included."""
    found: dict[str, str] = {}
    waiting = [folder]
    while waiting:
        for child in waiting.pop().childEntity:
            if isinstance(child, _VIM.Datastore):
                found[child.name] = child._moId  # noqa: SLF001 - the library has no public way
            elif isinstance(child, _VIM.Folder):  # a pod is a folder as well
                waiting.append(child)
    return found
