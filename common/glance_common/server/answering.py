"""The application's answer to one request, written by a thread or handed to the sender."""

import logging
from collections.abc import Callable
from typing import Any

from gunicorn.http import wsgi
from gunicorn.http.body import Body, EOFReader, LengthReader
from gunicorn.http.wsgi import FileWrapper

from glance_common.body import BYTES_SENT, READ_BODY, SENDS_FILES, ClientGone, FileBody
from glance_common.server.connection import Connection
from glance_common.server.response import TransferResponse
from glance_common.server.sender import conclude
from glance_common.server.sending import Sending, log_failure, refuse_unreadable

UNDERSCORED = "X-IMAGE-META-"
"""How the names begin that may hold underscores: v1 clients write ``x-image-meta-disk_format``."""

log = logging.getLogger(__name__)


class Answering:
    """Runs ``application`` for requests, with gunicorn's configuration ``cfg``."""

    def __init__(
        self, application: Callable[..., Any], cfg: Any, keeps_connections: Callable[[], bool]
    ) -> None:
        self._application = application
        self._cfg = cfg
        self._keeps_connections = keeps_connections

    def answer(self, request: Any, conn: Connection) -> bool | Sending:
        """Run the application for one request; return whether the connection may be used again, or what is to be sent.

        Raises what the application raises; a body that fails before its first byte is refused.
        """
        response, environ = self._prepare(request, conn)
        try:
            result = self._application(environ, response.start_response)
            if isinstance(result, FileBody) and response.has_known_body:
                return Sending(conn, request, response, environ, result)
            try:
                _send(result, response)
            except ClientGone:
                raise
            except Exception as error:
                if response.headers_sent:
                    raise
                log_failure("The response to %s %s could not begin", request, error)
                refuse_unreadable(conn, environ)
                return False
            finally:
                environ[BYTES_SENT] = response.sent
                with_close = getattr(result, "close", None)
                if with_close is not None:
                    with_close()
        except ClientGone as error:
            log.info("Client %s left during %s %s: %s", conn.client[0], request.method, request.path, error)
            return False
        except Exception as error:
            if not response.headers_sent:
                raise
            # Closing is the only way left to tell the client that its data is incomplete.
            log_failure("The response to %s %s was cut", request, error)
            return False
        return not response.should_close()

    def rest(self, sending: Sending) -> bool | Sending:
        """Send the rest of an answer whose file cannot give it, or return it when the file goes on."""
        try:
            if sending.body.resume():
                return sending
            sending.give_rest()
        except Exception as error:
            sending.error = error
        conclude(sending)
        return sending.keeps_connection

    def _prepare(self, request: Any, conn: Connection) -> tuple[TransferResponse, dict[str, Any]]:
        if isinstance(request.body.reader, EOFReader):
            request.body = Body(LengthReader(request.unreader, 0))
        # gunicorn would invite the body before the application has seen the request.
        if request._expected_100_continue:  # noqa: SLF001 - gunicorn has no public name for it
            request._expected_100_continue = False  # noqa: SLF001 - as above
            conn.expect_continue()
        request.headers = [pair for pair in request.headers if _is_plain(pair[0])]
        response, environ = wsgi.create(
            request, conn.sock, conn.client, conn.server, self._cfg, TransferResponse, (conn, self._keeps_connections)
        )
        environ["wsgi.multithread"] = True
        environ[READ_BODY] = conn.read_body
        environ[SENDS_FILES] = True
        return response, environ


def _send(result: Any, response: TransferResponse) -> None:
    """Write the whole body. Raises ClientGone, and what the body raises."""
    if isinstance(result, FileWrapper):
        response.write_file(result)
    else:
        for item in result:
            response.write(item)
    response.close()


def _is_plain(name: str) -> bool:
    """Say whether a header's name cannot be taken for another one's.

    The environ writes ``-`` as ``_``, so a name with underscores could pass for that of an identity header. Names of
    image metadata in v1 have them, and mean nothing else.
    """
    return "_" not in name or name.startswith(UNDERSCORED)
