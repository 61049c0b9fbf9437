"""Options, URLs and errors of the vmware driver; its work is tested on a simulator (tests/conformance)."""

from __future__ import annotations

import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyVmomi import vim
from tests.support.stores import bare, load

from glance_common.config.loading import ConfigError
from glance_common.stores.contract import BadLocation, InUse, StoreFull, StoreUnavailable, UnknownStore
from glance_common.stores.drivers.vmware import errors
from glance_common.stores.drivers.vmware.driver import VmwareStore
from glance_common.stores.drivers.vmware.errors import VmwareFailed
from glance_common.stores.drivers.vmware.options import VmwareOptions
from glance_common.stores.drivers.vmware.place import Datastore, DatastoreFile, VmwarePlace
from glance_common.stores.drivers.vmware.soap import SoapLine, bound, fault_error
from glance_common.stores.drivers.vmware.window import WINDOW, Replayable
from glance_common.stores.settings import StoreConfigError

KEY = "11111111-1111-4111-8111-111111111111"
LEAST: dict[str, Any] = {
    "vmware_server_host": "vc.example.org", "vmware_server_username": "glance", "vmware_server_password": "hidden",
    "vmware_datastores": "DC:one",
}


def store(folder: Path, **options: Any) -> VmwareStore:
    groups = {"glance_store": {"stores": "vmware", "default_store": "vmware", **LEAST, **options}}
    made = bare(load(folder, groups).default)
    assert isinstance(made, VmwareStore)
    return made


def parsed(folder: Path, **options: Any) -> VmwareOptions:
    return store(folder, **options)._options


def test_the_defaults_are_those_of_the_original(tmp_path: Path):
    options = parsed(tmp_path)
    assert options.place == VmwarePlace("vc.example.org", "openstack_glance", (Datastore("DC", "one", 0),))
    assert (options.logins, options.poll_interval, options.verify, options.thumbprint) == (10, 5.0, True, None)
    assert (options.task_timeout, options.connect_timeout, options.read_timeout) == (300.0, 10.0, 60.0)
    assert "hidden" not in repr(options)


def test_datastores_are_sorted_by_weight(tmp_path: Path):
    entries = ["DC:one", "folder/DC:two:20", "/DC : three :7", "DC:four:", "D:C:five:1"]
    assert parsed(tmp_path, vmware_datastores=entries).place.datastores == (
        Datastore("folder/DC", "two", 20), Datastore("DC", "three", 7), Datastore("D:C", "five", 1),
        Datastore("DC", "one"), Datastore("DC", "four"),
    )


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"vmware_server_host": ""}, "vmware_server_host = ***: must be a name or an address"),
        ({"vmware_server_host": "https://u:s3cret@vc"}, "vmware_server_host = ***: must be a name or an address"),
        ({"vmware_server_host": "vc:70000"}, "vmware_server_host"),
        ({"vmware_server_host": "vc/path"}, "vmware_server_host"),
        ({"vmware_server_username": ""}, "vmware_server_username = : must be set"),
        ({"vmware_server_password": ""}, "vmware_server_password = ***: must be set"),
        ({"vmware_datastores": []}, "vmware_datastores = None: must name at least one"),
        ({"vmware_datastores": "DC"}, "vmware_datastores = DC: must be datacenter:datastore[:weight]"),
        ({"vmware_datastores": "DC:one:much"}, "vmware_datastores = DC:one:much: must be datacenter"),
        ({"vmware_datastores": ":one"}, "vmware_datastores = :one: must be datacenter"),
        ({"vmware_datastores": "DC: :3"}, "must be datacenter"),
        ({"vmware_datastores": "DC:o]ne"}, "must not have control characters, brackets"),
        ({"vmware_datastores": ["DC:one", "DC:one:5"]}, "DC:one:5: must not name a datastore twice"),
        ({"vmware_store_image_dir": "/"}, "vmware_store_image_dir = /: must be a directory"),
        ({"vmware_store_image_dir": "a/../b"}, "vmware_store_image_dir = a/../b: must be a directory"),
        ({"vmware_ca_file": "/missing.pem"}, "vmware_ca_file = /missing.pem: must be a readable file"),
        ({"vmware_thumbprint": "ab:cd"}, "vmware_thumbprint = ab:cd: must be the 64"),
        ({"vmware_thumbprint": "g" * 40}, "must be the 64"),
    ],
)
def test_bad_options_are_named_with_group_and_value(tmp_path: Path, options: dict[str, Any], told: str):
    with pytest.raises(StoreConfigError) as caught:
        store(tmp_path, **options)
    assert told in str(caught.value)
    assert str(caught.value).startswith("[glance_store] vmware_")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "option", ["api_retry_count", "task_poll_interval", "task_timeout", "connect_timeout", "read_timeout"]
)
def test_numbers_must_be_positive(tmp_path: Path, option: str):
    groups: dict[str, dict[str, Any]] = {
        "DEFAULT": {"enabled_backends": "a:vmware"}, "glance_store": {"default_backend": "a"},
        "a": {**LEAST, f"vmware_{option}": 0},
    }
    with pytest.raises(ConfigError, match=rf"\[a\] vmware_{option} = 0"):
        load(tmp_path, groups)


def test_two_stores_cannot_share_a_directory(tmp_path: Path):
    groups: dict[str, dict[str, Any]] = {
        "DEFAULT": {"enabled_backends": "a:vmware, b:vmware"}, "glance_store": {"default_backend": "a"},
        "a": {**LEAST, "vmware_datastores": ["DC:one", "DC:two"]},
        "b": {**LEAST, "vmware_server_host": "VC.example.org:443", "vmware_datastores": ["DC:two:9"]},
    }
    with pytest.raises(StoreConfigError, match=r"\[b\] vmware_datastores .*DC/two.*already used by the store a"):
        load(tmp_path, groups)
    groups["b"]["vmware_store_image_dir"] = "/other"
    assert load(tmp_path, groups).ids == ("a", "b")


def test_a_missing_library_stops_the_start_and_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pyVmomi", None)
    with pytest.raises(StoreConfigError, match=r"glance-services\[vmware\]"):
        store(tmp_path)


def test_the_driver_is_loaded_without_the_library():
    program = (
        "import sys; sys.modules['pyVmomi'] = None\n"
        "from glance_common.stores.kinds import drivers\n"
        "assert 'vmware' in drivers()"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=240)


# URLs


NAMES = {"vmware_datastores": ["my DC/x:data & more", "DC:two"], "vmware_store_image_dir": "/image dir/é"}


def test_urls_are_those_of_the_original(tmp_path: Path):
    assert store(tmp_path).url(KEY) == f"vsphere://vc.example.org/folder/openstack_glance/{KEY}?dcPath=DC&dsName=one"
    place = parsed(tmp_path, **NAMES).place
    url = place.url(place.datastores[0], KEY)
    assert url == (
        f"vsphere://vc.example.org/folder/image%20dir/%C3%A9/{KEY}?dcPath=my+DC%2Fx&dsName=data+%26+more"
    )
    assert place.parse(url) == (place.datastores[0], KEY)
    assert place.parse(url.replace("vc.example.org", "VC.example.org:443")) == (place.datastores[0], KEY)
    assert place.parse(url.replace("dcPath=my+DC%2Fx", "dcPath=/my%20DC/x")) == (place.datastores[0], KEY)
    file = place.file(place.datastores[0], KEY)
    assert file.name == f"[data & more] image dir/é/{KEY}"
    assert place.address(file) == (
        f"https://vc.example.org/folder/image%20dir/%C3%A9/{KEY}?dcPath=my%20DC%2Fx&dsName=data%20%26%20more"
    )


@pytest.mark.parametrize(
    "url",
    [
        "vsphere://other.example.org/folder/openstack_glance/{key}?dcPath=DC&dsName=one",
        "vsphere://vc.example.org:444/folder/openstack_glance/{key}?dcPath=DC&dsName=one",
        "vsphere://u:p@vc.example.org/folder/openstack_glance/{key}?dcPath=DC&dsName=one",
        "vsphere://vc.example.org/folder/openstack_glance/{key}?dcPath=DC&dsName=two",
        "vsphere://vc.example.org/folder/openstack_glance/{key}?dcPath=other&dsName=one",
        "vsphere://vc.example.org/folder/openstack_glance/{key}?dcPath=DC",
        "vsphere://vc.example.org/folder/openstack_glance/{key}?dcPath=DC&dsName=one&dsName=one",
        "vsphere://vc.example.org/folder/openstack_glance/{key}?dcPath=DC&dcPath=DC",
        "vsphere://vc.example.org/folder/openstack_glance/{key}?dcPath=DC&dsName=one&x=y",
        "vsphere://vc.example.org/folder/openstack_glance/{key}?dcPath=DC&dsName=one#x",
        "vsphere://vc.example.org/folder/openstack_glance/{key}",
        "vsphere://vc.example.org/folder/{key}?dcPath=DC&dsName=one",
        "vsphere://vc.example.org/folder/openstack_glance/x/{key}?dcPath=DC&dsName=one",
        "vsphere://vc.example.org/folder/openstack_glance/../{key}?dcPath=DC&dsName=one",
        "vsphere://vc.example.org/folder/openstack_glance/..%2F{key}?dcPath=DC&dsName=one",
        "vsphere://vc.example.org/folder/openstack_glance/vm.vmx?dcPath=DC&dsName=one",
        "vsphere://vc.example.org/folder/openstack_glance/incoming~{key}~1?dcPath=DC&dsName=one",
        "vsphere://vc.example.org/folder/openstack_glance/{key}?dcPath=DC&dsName=one\r\nX: y",
        "vsphere://vc.example.org/folder/openstack_\tglance/{key}?dcPath=DC&dsName=one",
        "vsphere://vc.example.org/folder/openstack_glance/{key} ?dcPath=DC&dsName=one",
        "vsphere://vc.example.org/folder/openstack_glance/{key}%0A?dcPath=DC&dsName=one",
        "vsphere://vc.example.org/folder/openstack_glance/{key}?dcPath=DC&dsName=%FF",
        "https://vc.example.org/folder/openstack_glance/{key}?dcPath=DC&dsName=one",
        "vsphere://[::1/folder/openstack_glance/{key}?dcPath=DC&dsName=one",
    ],
)
def test_urls_of_other_places_or_with_injected_characters_are_refused(tmp_path: Path, url: str):
    stores = load(tmp_path, {"glance_store": {"stores": "vmware", "default_store": "vmware", **LEAST}})
    with pytest.raises((UnknownStore, BadLocation)):
        stores.user_location(url.format(key=KEY))


# Errors


@pytest.mark.parametrize(
    ("fault", "error", "told"),
    [
        (vim.fault.InvalidLogin(), VmwareFailed, "refuses the user or the password"),
        (vim.fault.NoPermission(), VmwareFailed, "lacks a privilege"),
        (vim.fault.NoDiskSpace(), StoreFull, "no room"),
        (vim.fault.FileLocked(), InUse, "in use"),
        (vim.fault.FileNotFound(), VmwareFailed, "missing"),
        (vim.fault.NotAuthenticated(), VmwareFailed, "session expired"),
        (vim.fault.InvalidDatastore(), VmwareFailed, "no such datastore"),
        (vim.fault.InaccessibleDatastore(), VmwareFailed, "cannot be reached"),
        (vim.fault.TaskInProgress(), VmwareFailed, "cannot do it (TaskInProgress)"),
    ],
)
def test_faults_are_told_in_our_words(fault: Any, error: type[Exception], told: str):
    fault.msg = "a text with s3cret"
    found = fault_error(fault, "vc, deleting x")
    assert type(found) is error
    assert told in str(found)
    assert str(found).startswith("vc, deleting x: ")
    assert "s3cret" not in str(found)


def test_connections_that_fail_are_told_without_their_texts():
    certificate = ssl.SSLCertVerificationError("s3cret")
    for error, told in ((OSError("s3cret"), "failed or broke (OSError)"), (certificate, "does not fit")):
        assert told in str(errors.broken(error, "vc, GET", None))
        assert "s3cret" not in str(errors.broken(error, "vc, GET", None))
    assert errors.broken(OSError(), "vc, GET", "was silent for 2 seconds").code == errors.SILENT


# Redirects


class Redirect:
    """An answer that leads somewhere."""

    def __init__(self, location: str) -> None:
        self.headers = {"Location": location}


@pytest.mark.parametrize(
    "location",
    [
        "", "http://esx1/folder/x", "https://u:p@esx1/folder/x", "https://esx1/other", "//esx1/sdk",
        "https://[::1/folder/x", "https://esx1:99999/folder/x", "ftp://esx1/folder/x", "file:///folder/x",
    ],
)
def test_redirects_lead_to_files_of_https_servers_alone(tmp_path: Path, location: str):
    folder: Any = store(tmp_path)._folder
    with pytest.raises(StoreUnavailable, match="redirects to what is no /folder of https"):
        folder._target(Redirect(location), "https://vc.example.org/other/x")
    assert folder._target(Redirect("//esx1/folder/x?y=z"), "https://vc/folder/x") == "https://esx1/folder/x?y=z"


# Cookies


class LoginAnswer:
    """The answer of a vCenter to a login."""

    status = 200
    cookies = ("other=1; Path=/", 'vmware_soap_session="5f3a/b+c="; Path=/; HttpOnly; Secure')

    def document(self) -> bytes:
        """Return the document."""
        return (
            b'<?xml version="1.0"?><soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/">'
            b'<soapenv:Body><LogoutResponse xmlns="urn:vim25"></LogoutResponse></soapenv:Body></soapenv:Envelope>'
        )


class Recorder:
    """Takes requests in place of a server."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    def send(self, *request: Any) -> LoginAnswer:
        """Keep the request."""
        self.sent.append(request)
        return LoginAnswer()


def test_the_cookie_is_sent_back_as_it_came():
    recorder: Any = Recorder()
    line = SoapLine(recorder, "vc.example.org")
    for _ in range(2):
        bound("SessionManager", "SessionManager", line).Logout()
    assert line.cookie == 'vmware_soap_session="5f3a/b+c="'
    assert [(method, url, headers["Cookie"]) for method, url, headers, _ in recorder.sent] == [
        ("POST", "https://vc.example.org/sdk", ""), ("POST", "https://vc.example.org/sdk", line.cookie),
    ]


# Data that are sent again


def test_the_beginning_is_kept_until_more_is_on_its_way():
    asked: list[int] = []

    def pieces() -> Iterator[bytes]:
        for number in range(4):
            asked.append(number)
            yield bytes([number]) * (WINDOW // 2 + 1)

    data = Replayable(pieces(), None)
    assert asked == [0, 1]
    first = data.begin().pieces
    assert next(first)[:1] + next(first)[:1] == b"\0\1"
    assert not data.is_gone
    again = data.begin()
    assert (again.length, [piece[0] for piece in again.pieces]) == (None, [0, 1, 2, 3])
    assert data.is_gone
    assert data.written == 4 * (WINDOW // 2 + 1)


@pytest.mark.parametrize("announced", [None, 0, 3, 99])
def test_short_data_have_the_length_that_came(announced: int | None):
    data = Replayable(iter([b"ab", b"", b"c"]), announced)
    for _ in range(2):
        body = data.begin()
        assert (body.length, b"".join(body.pieces), data.written, data.is_gone) == (3, b"abc", 3, False)


def test_paths_of_files():
    assert DatastoreFile(Datastore("DC", "one"), "a b/c").name == "[one] a b/c"
