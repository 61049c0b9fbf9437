"""TLS at the server: certificates, client certificates, versions, and the same limits as without."""

import json
import socket
import ssl
import subprocess

import pytest
from tests.support.waiting import wait_for

MIB = 1024 * 1024


def openssl(*arguments):
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    """A CA with a server certificate and a client certificate."""
    home = tmp_path_factory.mktemp("pki")

    def certificate(name, *extra):
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}",
                "-keyout", f"{home}/{name}.key", "-out", f"{home}/{name}.crt", *extra)

    certificate("ca")
    for name in ("localhost", "client"):
        certificate(name, "-CA", f"{home}/ca.crt", "-CAkey", f"{home}/ca.key", "-addext", f"subjectAltName=DNS:{name}")
    certificate("stranger")
    return home


@pytest.fixture
def serve(make_server, pki):
    def start(**settings):
        return make_server(cert_file=f"{pki}/localhost.crt", key_file=f"{pki}/localhost.key", **settings).start()

    return start


@pytest.fixture
def trust(pki):
    def context(client=None):
        context = ssl.create_default_context(cafile=f"{pki}/ca.crt")
        if client:
            context.load_cert_chain(f"{pki}/{client}.crt", f"{pki}/{client}.key")
        return context

    return context


def test_requests_uploads_and_downloads(serve, trust, tmp_path):
    server = serve()
    path = tmp_path / "image"
    path.write_bytes(bytes(range(256)) * 4096 * 9)
    assert server.hello(trust())["scheme"] == "https"
    with server.connect(trust()) as client:
        for _ in range(2):
            client.request("PUT", "/upload", Content_Length=3 * MIB + 5)
            client.send(b"x" * (3 * MIB + 5))
            assert json.loads(client.response()[2])["sizes"] == [MIB] * 3 + [5]
            client.request("GET", f"/file?path={path}")
            assert client.response()[2] == path.read_bytes()


def test_requests_sent_in_one_piece_are_all_answered(serve, trust):
    server = serve()
    with server.connect(trust()) as client:
        client.send(b"PUT /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 9000\r\n\r\n" + b"x" * 9000
                    + b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n")
        assert json.loads(client.response()[2])["sizes"] == [9000]
        assert json.loads(client.response()[2])["pid"]


def test_a_short_file_closes_the_connection(serve, trust, tmp_path):
    server = serve()
    path = tmp_path / "image"
    path.write_bytes(b"x" * (3 * MIB))
    with server.connect(trust()) as client:
        client.request("GET", f"/file?path={path}&promise={4 * MIB}")
        client.request("GET", "/hello")
        client.head()
        assert len(client.read_to_end()) <= 3 * MIB


@pytest.mark.parametrize("stall", ["handshake", "upload", "download"])
def test_a_stalled_client_is_cut(serve, trust, stall):
    # Enough for a handshake on a machine that is busy; the stalled client does not move at all.
    server = serve(threads=1, client_timeout=4)
    plain = socket.create_connection(("127.0.0.1", server.port))
    try:
        if stall == "handshake":
            plain.sendall(b"\x16\x03\x01")
            assert server.hello(trust())["pid"]
            return
        with server.connect(trust(), receive_buffer=65536) as client:
            if stall == "upload":
                client.request("PUT", "/upload", Content_Length=MIB)
            else:
                client.request("GET", f"/pieces?promise={64 * MIB}&give={64 * MIB}")
            server.wait_event(stall)
            assert server.hello(trust())["pid"]
    finally:
        plain.close()


def test_term_aborts_an_upload(serve, trust):
    server = serve(stop_timeout=0.5, client_timeout=60)
    with server.connect(trust()) as client:
        client.request("PUT", "/upload", Content_Length=2 * MIB)
        client.send(b"x" * MIB)
        server.wait_event("upload")
        assert server.stop() == 0
    assert server.events("cut")[0]["aborting"] is True


def test_a_client_without_tls_learns_nothing_and_breaks_nothing(serve, trust):
    server = serve()
    with server.connect() as client:
        client.request("GET", "/hello")
        assert b"HTTP" not in client.read_to_end()
    assert server.hello(trust())["pid"]


def test_versions_before_1_2_are_refused(serve, trust):
    server = serve()
    old = trust()
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError):
        server.connect(old)


def test_a_ca_file_asks_for_client_certificates(serve, trust, pki):
    server = serve(ca_file=f"{pki}/ca.crt")
    assert server.hello(trust("client"))["pid"]
    for client in (None, "stranger"):
        with pytest.raises((ssl.SSLError, ConnectionError, EOFError)):
            server.hello(trust(client))


def is_distrusted(server, context):
    try:
        server.hello(context)
    except ssl.SSLCertVerificationError:
        return True
    return False


def test_hup_takes_a_new_certificate(serve, trust, pki, tmp_path):
    server = serve()
    (tmp_path / "c.crt").write_bytes((pki / "stranger.crt").read_bytes())
    (tmp_path / "c.key").write_bytes((pki / "stranger.key").read_bytes())
    assert server.hello(trust())["pid"]
    settings = server.config["settings"] | {"cert_file": f"{tmp_path}/c.crt", "key_file": f"{tmp_path}/c.key"}
    server.reload(settings=settings)
    wait_for(lambda: is_distrusted(server, trust()), what="the new certificate alone")
    server.reload(settings=settings | {"key_file": f"{pki}/localhost.key"})
    assert "Reload refused: [DEFAULT] key_file" in server.log()
    wait_for(lambda: len(server.workers()) == 1)
