"""Files of datastores over HTTPS, at ``/folder``: sessions that expire, and redirects to the hosts (stores section 9).

The cookie of the session goes to the configured server and nowhere else; a host gets a ticket for one request.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from glance_common.fetch.deadlines import within
from glance_common.stores.contract import StoreUnavailable
from glance_common.stores.drivers.vmware.errors import BROKEN, VmwareFailed, failed
from glance_common.stores.drivers.vmware.options import VmwareOptions
from glance_common.stores.drivers.vmware.place import DatastoreFile
from glance_common.stores.drivers.vmware.transport import HttpsAnswer, HttpsClient
from glance_common.stores.drivers.vmware.vcenter import VCenter
from glance_common.stores.drivers.vmware.window import Replayable

if TYPE_CHECKING:
    from glance_common.stores.drivers.vmware.soap import SoapLine

REDIRECTS = 5
_REDIRECT = frozenset({301, 302, 307, 308})
_EXPIRED = 401
_WRITTEN = frozenset({200, 201, 204})


class Folder:
    """GET, HEAD and PUT of files. Calls raise StoreUnavailable, mostly VmwareFailed."""

    def __init__(self, options: VmwareOptions, transport: HttpsClient, vcenter: VCenter) -> None:
        self._options = options
        self._transport = transport
        self._vcenter = vcenter
        server = urlsplit(f"https://{options.place.host}")
        self._server = (server.hostname, server.port or 443)

    def ask(self, method: str, file: DatastoreFile, headers: Mapping[str, str]) -> HttpsAnswer:
        """Return the answer to GET or HEAD, whatever its status, but no redirect and no expired session."""
        with within(self._options.call_timeout):
            return self._asked(method, file, headers)

    def _asked(self, method: str, file: DatastoreFile, headers: Mapping[str, str]) -> HttpsAnswer:
        line = self._vcenter.line()
        for _ in range(self._options.logins):
            answer = self._followed(method, self._options.place.address(file), headers, line)
            if answer.status != _EXPIRED:
                return answer
            answer.close()
            line = self._vcenter.renewed(line)
        raise failed(str(_EXPIRED), self._what(method, file))

    def size(self, file: DatastoreFile) -> int | None:
        """Return the bytes of a file, None when the server has none. That alone proves nothing."""
        with within(self._options.call_timeout):
            answer = self._asked("HEAD", file, {})
            answer.document()
        if answer.status == 404:
            return None
        length = answer.headers.get("Content-Length", "")
        if answer.status != 200 or not length.isdecimal():
            raise failed(str(answer.status), self._what("HEAD", file))
        return int(length)

    def put(self, file: DatastoreFile, data: Replayable) -> None:
        """Write a file. While the data can be sent again, it begins anew at another server or in a new session.

        Raises what the source of the data raises, unchanged.
        """
        what = self._what("PUT", file)
        url = self._options.place.address(file)
        breaks = 0
        if not data.is_whole:
            self._renew_expired()
        for left in range(REDIRECTS + self._options.logins, -1, -1):
            with within(self._options.call_timeout):
                line = self._vcenter.line()
                headers = self._credentials("PUT", url, line)
            try:
                answer = self._transport.send("PUT", url, headers, data.begin())
                answer.document()
            except VmwareFailed as error:
                if error.code != BROKEN:
                    raise
                breaks += self._is_live_or_renewed(line, data, what)
                if data.is_gone or breaks > 1 or not left:
                    raise
                # A server that redirects may hang up as well, before the answer was read.
                url = self._landing(file)
                continue
            if answer.status in _WRITTEN:
                return
            url = self._elsewhere(answer, url, line, what)
            if data.is_gone or not left:
                raise VmwareFailed(f"{what}: the server did not take the data ({answer.status})", str(answer.status))

    def _renew_expired(self) -> None:
        """Begin a session when there is none: some servers say only behind the last byte that they know it no more."""
        with within(self._options.call_timeout):
            line = self._vcenter.line()
            if not self._vcenter.is_live(line):
                self._vcenter.renewed(line)

    def _elsewhere(self, answer: HttpsAnswer, url: str, line: "SoapLine", what: str) -> str:
        """Return where to send the data after an answer that did not take them. Raises StoreError for a refusal."""
        if answer.status in _REDIRECT:
            return self._target(answer, url)
        if answer.status != _EXPIRED:
            raise failed(str(answer.status), what)
        with within(self._options.call_timeout):
            self._vcenter.renewed(line)
        return url

    def _landing(self, file: DatastoreFile) -> str:
        """Return the URL that the redirects of a file lead to."""
        with within(self._options.call_timeout):
            answer = self._asked("HEAD", file, {})
            answer.close()
        return answer.url

    def _is_live_or_renewed(self, line: "SoapLine", data: Replayable, what: str) -> bool:
        """Say whether the session was there when a connection broke; otherwise another one is now.

        A server that does not know the session may hang up instead of an answer. Raises VmwareFailed when that is why
        an upload ends.
        """
        with within(self._options.call_timeout):
            try:
                if self._vcenter.is_live(line):
                    return True
                self._vcenter.renewed(line)
            except StoreUnavailable:
                return True  # not known; the break is what is told
        if data.is_gone:
            raise VmwareFailed(f"{what}: the session ended in the middle of the upload", str(_EXPIRED)) from None
        return False

    def _followed(self, method: str, url: str, headers: Mapping[str, str], line: "SoapLine") -> HttpsAnswer:
        for _ in range(REDIRECTS + 1):
            answer = self._transport.send(method, url, {**headers, **self._credentials(method, url, line)})
            if answer.status not in _REDIRECT:
                return answer
            url = self._target(answer, url)
            answer.close()
        raise VmwareFailed(f"{self._options.place.host}: more than {REDIRECTS} redirects", "redirect")

    def _target(self, answer: HttpsAnswer, url: str) -> str:
        """Return where a redirect leads. Raises VmwareFailed for what is no file of an https server."""
        try:
            target = urljoin(url, answer.headers.get("Location", ""))
            parts = urlsplit(target)
            is_good = parts.scheme == "https" and parts.hostname and parts.username is None and parts.port != 0
        except ValueError:
            is_good = False
        if not is_good or not parts.path.startswith("/folder/"):
            raise VmwareFailed(f"{self._options.place.host}: redirects to what is no /folder of https", "redirect")
        return target

    def _credentials(self, method: str, url: str, line: "SoapLine") -> dict[str, str]:
        from glance_common.stores.drivers.vmware.soap import ticket

        parts = urlsplit(url)
        if (parts.hostname, parts.port or 443) == self._server:
            return {"Cookie": line.cookie}
        found = ticket(line, method, url)
        return {} if found is None else {"Cookie": f'vmware_cgi_ticket="{found}"'}

    def _what(self, method: str, file: DatastoreFile) -> str:
        return f"{self._options.place.host}, {method} {file.name}"
