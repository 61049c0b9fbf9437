"""S3 servers that answer slowly, without end or not at all: every call has one deadline (S-22, S-61)."""

import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.servers.scripted import deaf, dripping, flooding, scripted_peer, secured, silent
from tests.support.certificates import server_certificate
from tests.unit.common.test_stores_s3 import KEY, s3_store

from glance_common.stores.contract import StoreUnavailable
from glance_common.stores.drivers.s3 import client
from glance_common.stores.drivers.s3.driver import S3Store
from glance_common.stores.drivers.s3.options import MIB
from glance_common.stores.drivers.s3.upload import S3Upload

HEADER = b"HTTP/1.1 200 OK\r\nX-Long: "
DOCUMENT = b"HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nContent-Length: 9999999\r\n\r\n<?xml "
CONTINUE = b"HTTP/1.1 100 Continue\r\n"
OVERDUE = r"the server (took more than|was silent)"
"""Either may come first on a machine with much other work."""


def store_at(folder: Path, port: int, **options: Any) -> S3Store:
    """Return a store whose calls have half a second."""
    short = {"s3_store_connect_timeout": 0.25, "s3_store_read_timeout": 0.25}
    keys = {"s3_store_access_key": "AK", "s3_store_secret_key": "hidden", "s3_store_bucket_url_format": "path"}
    return s3_store(folder, **{"s3_store_host": f"http://127.0.0.1:{port}", **short, **keys, **options})


def calls(store: S3Store) -> list[Callable[[], object]]:
    bucket = store._bucket
    return [
        store.check,
        lambda: bucket.head(KEY),
        lambda: bucket.call("list_objects_v2"),
        lambda: bucket.call("put_object", Key=KEY, Body=b"data"),
        lambda: bucket.call("create_multipart_upload", Key=KEY),
        lambda: store.open(KEY),
    ]


def all_end(store: S3Store) -> None:
    """Make all calls side by side, since each waits for its end."""
    wanted = calls(store)
    with ThreadPoolExecutor(len(wanted)) as pool:
        errors = [done.exception() for done in [pool.submit(call) for call in wanted]]
    assert all(isinstance(error, StoreUnavailable) for error in errors), errors


@pytest.mark.parametrize(
    "script", [silent, dripping(HEADER), dripping(b"HTTP/1.1 100 Continue\r\n\r\n" + HEADER), dripping(CONTINUE)],
    ids=["silence", "header", "header after 100", "100"],
)
def test_s22_every_call_has_one_deadline(tmp_path: Path, script: Callable[[socket.socket], None]):
    with scripted_peer(script) as peer:
        all_end(store_at(tmp_path, peer.port))


def test_s22_a_document_has_it_too(tmp_path: Path):
    with scripted_peer(dripping(DOCUMENT)) as peer:
        store = store_at(tmp_path, peer.port)
        with pytest.raises(StoreUnavailable, match=OVERDUE):
            store._bucket.call("list_objects_v2")


def test_s22_tls_has_it_too(tmp_path: Path):
    authority, context = server_certificate(tmp_path, "localhost")
    for script in (silent, dripping(b"\x16\x03\x03\x40\x00"), secured(context, dripping(HEADER))):
        with scripted_peer(script) as peer:
            store = store_at(tmp_path, 0, s3_store_host=f"https://localhost:{peer.port}", s3_store_cacert=authority)
            all_end(store)


def test_a_server_that_ends_within_the_100(tmp_path: Path):
    """boto3 would look for the end of the line for ever."""

    def half(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(CONTINUE)

    with scripted_peer(half) as peer, pytest.raises(StoreUnavailable):
        store_at(tmp_path, peer.port)._bucket.call("put_object", Key=KEY, Body=b"data")


def test_s61_a_document_has_a_largest_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(client, "_LARGEST_DOCUMENT", 100_000)
    with scripted_peer(flooding(DOCUMENT, b"<Key>x</Key>")) as peer:
        store = store_at(tmp_path, peer.port, s3_store_read_timeout=3600)
        with pytest.raises(StoreUnavailable, match="a document of more than 100000 bytes"):
            store._bucket.call("list_objects_v2")


def test_s22_a_server_that_takes_no_data_is_given_up(tmp_path: Path):
    """Once, and not again for each try."""
    with scripted_peer(deaf) as peer:
        store = store_at(tmp_path, peer.port, s3_store_large_object_chunk_size=100)
        with pytest.raises(StoreUnavailable, match=OVERDUE):
            S3Upload(store._bucket, store._options, KEY).write([bytes(64 * MIB)], 64 * MIB)
        assert peer.connections <= 2, "the upload, and the question whether it is there"


def test_s61_data_come_at_the_least_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The server drips the data of each answer, and no try to go on helps."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\nETag: \"e\"\r\n\r\n"
    monkeypatch.setattr(client, "_WINDOW", 0.3)
    with scripted_peer(dripping(head)) as peer:
        store = store_at(tmp_path, peer.port, s3_store_read_timeout=3600)
        with closing(store.open(KEY)) as blob, pytest.raises(StoreUnavailable):
            list(blob)
