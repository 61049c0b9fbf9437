"""systemd hears what a daemon has to say, and only from the daemon itself."""

import os
import socket

from glance_common.notify import Notifier


def test_systemd_hears_every_message_and_children_inherit_nothing(tmp_path, monkeypatch):
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(address)
        sock.settimeout(60)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        notifier = Notifier()
        assert "NOTIFY_SOCKET" not in os.environ
        notifier.send("READY=1", "STATUS=Serving")
        assert sock.recv(100) == b"READY=1\nSTATUS=Serving"
        notifier.send("STOPPING=1")
        assert sock.recv(100) == b"STOPPING=1"


def test_an_abstract_socket_works_too(monkeypatch):
    name = f"glance-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"\0{name}")
        sock.settimeout(60)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        Notifier().send("READY=1")
        assert sock.recv(100) == b"READY=1"


def test_a_supervisor_that_is_gone_is_no_reason_to_stop(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    Notifier().send("READY=1")
    assert "cannot be notified" in caplog.text


def test_without_systemd_nothing_is_sent(monkeypatch, caplog):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    Notifier().send("READY=1")
    assert caplog.text == ""
