"""amqps: the broker's certificate is always checked. A proxy in front of the real broker speaks TLS."""

import contextlib
import socket
import ssl
import threading

import pytest
from tests.support.certificates import server_certificate
from tests.support.waiting import wait_for


class TlsFront:
    """Ends TLS on a port of its own and hands the bytes on to the broker."""

    def __init__(self, context: ssl.SSLContext, target: int) -> None:
        self._context, self._target = context, target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            inner = self._context.wrap_socket(client, server_side=True)
            with inner, socket.create_connection(("127.0.0.1", self._target)) as broker:
                threading.Thread(target=self._pipe, args=(broker, inner), daemon=True).start()
                self._pipe(inner, broker)

    @staticmethod
    def _pipe(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def front(rabbitmq, rabbit_url, tmp_path):
    ca, context = server_certificate(tmp_path, "localhost")
    running = TlsFront(context, rabbitmq.port)
    running.ca = ca
    yield running
    running.close()


def test_a_broker_behind_tls(front, bench):
    url = f"amqps://guest:guest@localhost:{front.port}//?ca_file={front.ca}"
    locations = bench.add(3)
    bench.consume(url)
    bench.publisher(url).publish(locations, None)
    bench.wait_purged(locations)


@pytest.mark.parametrize(
    "url", ["amqps://guest:guest@localhost:{port}//", "amqps://guest:guest@127.0.0.1:{port}//?ca_file={ca}"]
)
def test_an_unknown_certificate_or_another_name_is_no_broker(front, bench, caplog, url):
    bench.publisher(url.format(port=front.port, ca=front.ca)).publish(bench.add(1), None)
    wait_for(lambda: "certificate verify failed" in caplog.text)
