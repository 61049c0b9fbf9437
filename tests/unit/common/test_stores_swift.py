"""Options, logins, keys and URLs of the swift driver."""

import sys
from pathlib import Path
from typing import Any

import pytest
import responses
from tests.support.stores import MemoryIdentities, bare, load

from glance_common.config.loading import ConfigError
from glance_common.stores.contract import BadLocation, StoreUnavailable, UnknownStore
from glance_common.stores.drivers.swift.logins import SwiftLogin
from glance_common.stores.drivers.swift.options import MIB, SwiftOptions
from glance_common.stores.drivers.swift.place import SwiftPlace
from glance_common.stores.drivers.swift.store import SwiftStore
from glance_common.stores.settings import StoreConfigError

KEY = "1f234567-89ab-4cde-8111-111111111111"
ADDRESS = "https://keystone.example.org:5000/v3"
LEAST = {
    "swift_store_auth_address": ADDRESS, "swift_store_user": "service:glance", "swift_store_key": "hidden",
}


def swift_store(folder: Path, **options: Any) -> SwiftStore:
    chosen = {name: value for name, value in {**LEAST, **options}.items() if value is not None}
    groups = {"glance_store": {"stores": "swift", "default_store": "swift", **chosen}}
    store = bare(load(folder, groups).default)
    assert isinstance(store, SwiftStore)
    return store


def parsed(folder: Path, **options: Any) -> SwiftOptions:
    return swift_store(folder, **options)._options


def test_the_defaults_are_those_of_the_original(tmp_path: Path):
    options = parsed(tmp_path)
    assert (options.container, options.creates_container, options.seed) == ("glance", False, 0)
    assert (options.large_object, options.segment, options.at_once) == (5120 * MIB, 200 * MIB, 1)
    assert (options.resumes, options.expire_soon, options.temp_url_key) == (0, 60, None)
    assert (options.endpoint.service, options.endpoint.interface) == ("object-store", "public")
    assert (options.endpoint.region, options.endpoint.url) == (None, None)
    transport = options.transport
    assert (transport.verify, transport.connect_timeout, transport.read_timeout) == (True, 10.0, 60.0)
    login = options.login
    assert (login.version, login.address, login.project, login.user) == (3, ADDRESS, "service", "glance")
    assert login.domains == {"user_domain_id": "default", "project_domain_id": "default"}
    assert "hidden" not in repr(options)


def test_the_options_of_the_guides_are_taken(tmp_path: Path):
    (tmp_path / "ca.pem").touch()
    options = parsed(
        tmp_path, swift_store_auth_version=2, swift_store_region="RegionTwo", swift_store_endpoint_type="internalURL",
        swift_store_service_type="object", swift_store_container="images", swift_store_cacert=tmp_path / "ca.pem",
        swift_store_create_container_on_put="true", swift_store_multiple_containers_seed=3,
        swift_store_large_object_size=7, swift_store_large_object_chunk_size=5, swift_store_retry_get_count=9,
        swift_store_expire_soon_interval=90, swift_store_ssl_compression="false", swift_buffer_on_upload="true",
        swift_upload_buffer_dir="/tmp", swift_store_segments_at_once=4, swift_store_temp_url_key="signing",
        swift_store_endpoint="https://swift.example.org/v1/AUTH_x/",
    )
    assert options.login.version == 2
    endpoint = options.endpoint
    assert (endpoint.service, endpoint.interface, endpoint.region) == ("object", "internal", "RegionTwo")
    assert endpoint.url == "https://swift.example.org/v1/AUTH_x"
    assert (options.container, options.creates_container, options.seed) == ("images", True, 3)
    assert (options.large_object, options.segment, options.at_once) == (7 * MIB, 5 * MIB, 4)
    assert (options.resumes, options.expire_soon) == (9, 90)
    assert options.transport.verify == str(tmp_path / "ca.pem")
    assert "signing" not in repr(options)


def test_certificates_are_not_checked_only_when_the_option_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    assert parsed(tmp_path, swift_store_auth_insecure="true").transport.verify is False
    assert "certificates of Swift and Keystone are not checked" in caplog.text


@pytest.mark.parametrize(
    ("options", "name", "rule"),
    [
        ({"swift_store_auth_address": None}, "swift_store_auth_address", "must be set"),
        ({"swift_store_auth_address": "ftp://x"}, "swift_store_auth_address", "http or https"),
        ({"swift_store_auth_address": "https://u:hidden@x"}, "swift_store_auth_address", "no user, password"),
        ({"swift_store_auth_address": "https://x:port"}, "swift_store_auth_address", "must be a host"),
        ({"swift_store_user": None}, "swift_store_user", "project:user"),
        ({"swift_store_user": "glance"}, "swift_store_user", "must name a project as well"),
        ({"swift_store_key": None}, "swift_store_key", "must be set"),
        ({"swift_store_auth_version": "4"}, "swift_store_auth_version", "1.0"),
        ({"swift_store_application_credential_id": "a"}, "swift_store_application_credential_secret", "must be set"),
        ({"swift_store_application_credential_id": "a", "swift_store_application_credential_secret": "hidden",
          "swift_store_auth_version": "1"}, "swift_store_application_credential_id", "needs auth_version 3"),
        ({"swift_store_container": "a/b"}, "swift_store_container", "without '/'"),
        ({"swift_store_container": ""}, "swift_store_container", "must be a name"),
        ({"swift_store_endpoint": "swift.example.org"}, "swift_store_endpoint", "must be a URL of an account"),
        ({"swift_store_endpoint_type": "otherURL"}, "swift_store_endpoint_type", "publicURL"),
        ({"swift_store_multiple_containers_seed": 33}, "swift_store_multiple_containers_seed", "32"),
        ({"swift_store_large_object_size": 0}, "swift_store_large_object_size", "1"),
        ({"swift_store_cacert": "/missing"}, "swift_store_cacert", "readable file"),
        ({"swift_store_config_file": "/missing"}, "swift_store_config_file", "readable file"),
    ],
)
def test_bad_options_stop_the_start(tmp_path: Path, options: dict[str, Any], name: str, rule: str):
    own = {option: value for option, value in {**LEAST, **options}.items() if value is not None}
    groups = {"DEFAULT": {"enabled_backends": "main:swift"}, "glance_store": {"default_backend": "main"}, "main": own}
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, groups)
    text = str(caught.value)
    assert f"[main] {name}" in text
    assert rule in text
    assert "hidden" not in text


def test_the_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for module in [name for name in sys.modules if name.startswith("glance_common.stores.drivers.swift.")]:
        if module.rpartition(".")[2] in {"accounts", "client", "tokens", "wire"}:
            monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "swiftclient", None)
    with pytest.raises(StoreConfigError, match=r"pip install glance-services\[swift\]"):
        swift_store(tmp_path)


def test_addresses_for_clients_need_a_key(tmp_path: Path):
    groups = {
        "DEFAULT": {"enabled_backends": "main:swift"}, "glance_store": {"default_backend": "main"},
        "main": {**LEAST, "presigned_downloads_for": "10.0.0.0/8"},
    }
    with pytest.raises(StoreConfigError, match="swift_store_temp_url_key"):
        load(tmp_path, groups)
    groups["main"]["swift_store_temp_url_key"] = "signing"
    load(tmp_path, groups)


REFERENCES = """
[ref1]
user = old:glance
key = hidden%1
auth_address = http://old.example.org/v1
auth_version = 1
[ref2]
auth_address = https://keystone.example.org:5000/v3
user = service:glance
key = hidden
user_domain_id = users
project_domain_name = Projects
[cred]
auth_address = keystone.example.org:5000/v3
application_credential_id = some-id
application_credential_secret = hidden
"""


def with_references(folder: Path, text: str = REFERENCES, **options: Any) -> SwiftStore:
    (folder / "glance-swift.conf").write_text(text)
    own = {"swift_store_auth_address": None, "swift_store_user": None, "swift_store_key": None}
    return swift_store(folder, **own, swift_store_config_file=folder / "glance-swift.conf", **options)


def test_cfg07_accounts_in_a_file(tmp_path: Path):
    options = with_references(tmp_path)._options
    assert options.reference == "ref1"
    old, new, credential = (options.logins[name] for name in ("ref1", "ref2", "cred"))
    assert (old.version, old.project, old.user, old.key) == (1, "old", "glance", "hidden%1")
    assert (new.version, new.domains) == (3, {"user_domain_id": "users", "project_domain_name": "Projects"})
    assert (credential.credential_id, credential.credential_secret) == ("some-id", "hidden")
    assert credential.address == "https://keystone.example.org:5000/v3"
    assert "hidden" not in repr(options)


@pytest.mark.parametrize(
    ("written", "meant"),
    [("plain", "plain"), ('"in quotes"', "in quotes"), ("'it''s'", "it''s"), ("9%% %1", "9% %1"), ("a'b\"", "a'b\"")],
)
def test_cfg07_values_of_the_file_are_read_as_the_original_reads_them(tmp_path: Path, written: str, meant: str):
    text = f'[ref1]\nauth_version = "3"\nauth_address = "https://x/v3"\nuser = \'a:b\'\nkey = {written}\n'
    login = with_references(tmp_path, text)._options.login
    assert (login.version, login.address, login.project, login.user) == (3, "https://x/v3", "a", "b")
    assert login.key == meant


@pytest.mark.parametrize(
    ("text", "reference", "told"),
    [
        ("[ref1]\nuser = a:b\nkey = hidden\n", "ref1", r"\[ref1\] auth_address: must be set"),
        ("[ref1]\nauth_address = x\nuser = hidden\n", "ref1", r"\[ref1\] key: must be set"),
        ("[ref1]\nauth_address = x\nuser = hidden\nkey = hidden\n", "ref1", r"\[ref1\] user: must name a project"),
        ("[ref1]\nauth_address = x\nuser = a:b\nkey = hidden\nauth_version = 7\n", "ref1", r"auth_version: must be 1"),
        ("[ref1]\nauth_address = x\nuser = a:b\nkey = 'hidden\n", "ref1", r"\[ref1\] key: must end with the quote"),
        ("[ref1]\nauth_address = x\nuser = a:b\nkey = \"\n", "ref1", r"\[ref1\] key: must end with the quote"),
        ("hidden = 1\n", "ref1", "must have sections"),
        (REFERENCES, "ref9", "must be one of the sections of .*: ref1, ref2, cred"),
    ],
)
def test_cfg07_bad_files_stop_the_start(tmp_path: Path, text: str, reference: str, told: str):
    with pytest.raises(StoreConfigError, match=told) as caught:
        with_references(tmp_path, text, default_swift_reference=reference)
    assert "hidden" not in str(caught.value)
    assert "[glance_store]" in str(caught.value)


def test_urls_of_references(tmp_path: Path):
    store = with_references(tmp_path, default_swift_reference="ref2")
    assert store.url(KEY) == f"swift+config://ref2/glance/{KEY}"
    assert store.key_of(f"swift+config://ref2/glance/{KEY}") == KEY
    assert store.key_of(f"swift+config://ref1/glance/{KEY}") == f"ref1/glance/{KEY}"
    assert store.key_of(f"swift+config://ref3/glance/{KEY}") is None
    # Rows that were written before there was a file, with the credentials of that time.
    assert store.key_of(f"swift+http://old%3Aglance:x@old.example.org/v1/glance/{KEY}") == f"ref1/glance/{KEY}"
    assert store.key_of(f"swift+https://service%3Aglance:x@keystone.example.org:5000/v3/glance/{KEY}") == KEY
    assert store.key_of(f"swift+https://stranger%3Aglance:x@keystone.example.org:5000/v3/glance/{KEY}") is None


@pytest.mark.parametrize(
    "url",
    [
        f"swift+https://keystone.example.org:5000/v3/glance/{KEY}",
        f"swift+https://service%3Aglance:pass%2Fword@keystone.example.org:5000/v3/glance/{KEY}",
        f"swift://service%3Aglance:p@KEYSTONE.example.org:5000/v3/glance/{KEY}",
        f"SWIFT+http://service%3Aglance:p@keystone.example.org:5000/v3/glance/{KEY}",
    ],
)
def test_urls_of_older_installations(tmp_path: Path, url: str):
    store = swift_store(tmp_path)
    assert store.key_of(url) == KEY
    assert store.url(KEY) == f"swift+https://keystone.example.org:5000/v3/glance/{KEY}"


@pytest.mark.parametrize(
    "url",
    [
        f"swift+https://keystone.example.org:5000/v3/other/{KEY}", f"swift+https://other.example.org/v3/glance/{KEY}",
        "swift+https://keystone.example.org:5000/v3/glance/x", f"swift+config://ref1/glance/{KEY}",
        f"s3://keystone.example.org:5000/v3/glance/{KEY}", f"swift://glance/{KEY}", f"swift://{KEY}",
        f"swift+https://other%3Aglance:p@keystone.example.org:5000/v3/glance/{KEY}",
    ],
)
def test_urls_of_others(tmp_path: Path, url: str):
    assert swift_store(tmp_path).key_of(url) is None


def test_a_url_finds_its_store(tmp_path: Path):
    stores = load(tmp_path, {"glance_store": {"stores": "file,swift", "default_store": "swift", **LEAST}})
    url = f"swift+https://keystone.example.org:5000/v3/glance/{KEY}"
    assert stores.by_url(url).id == "swift"
    assert stores.user_location(url)[1] == KEY
    with pytest.raises(UnknownStore):
        stores.by_url(f"swift+https://other.example.org/v3/glance/{KEY}")
    with pytest.raises(BadLocation, match="cannot be registered"):
        stores.user_location(f"swift+config://ref1/glance/{KEY}")


@pytest.mark.parametrize(
    ("seed", "container"),
    [(0, "glance"), (1, "glance_1"), (2, "glance_1f"), (8, "glance_1f234567"), (9, "glance_1f234567-8"),
     (12, "glance_1f234567-89ab"), (32, f"glance_{KEY}")],
)
def test_the_container_of_an_image(tmp_path: Path, seed: int, container: str):
    place = SwiftPlace({"": LOGIN}, "", "glance", seed)
    assert place.container_of(KEY) == place.container_of(KEY.upper()) == container
    assert place.find(KEY).container == container
    assert place.find(f"{container}/{KEY}").container == container
    assert place.key_of(place.url(KEY)) == KEY


LOGIN = SwiftLogin(3, ADDRESS, "glance", "service", "", "hidden", "", "", {})


@pytest.mark.parametrize(
    "key", [f"other/{KEY}", f"../{KEY}", f"/{KEY}", f"glance//{KEY}", f"ref/glance/{KEY}", f"a/b/c/{KEY}", f"{KEY}/",
            f"glance/{KEY}/", "glance/x"],
)
def test_odd_keys(key: str):
    place = SwiftPlace({"": LOGIN}, "", "glance", 0)
    with pytest.raises(BadLocation):
        place.find(key)


def test_the_place_is_the_same_for_all_versions_of_the_login(tmp_path: Path):
    names = {
        swift_store(tmp_path, swift_store_auth_version=version, swift_store_auth_address=address)._place.name
        for version, address in (
            ("1", "https://Keystone.example.org/auth/v1.0"), ("2", "https://keystone.example.org:443/v2.0"),
            ("3", "keystone.example.org"),
        )
    }
    assert names == {"swift://keystone.example.org/service/glance"}


def test_two_stores_cannot_share_a_container(tmp_path: Path):
    groups: dict[str, dict[str, Any]] = {
        "DEFAULT": {"enabled_backends": "a:swift,b:swift"}, "glance_store": {"default_backend": "a"},
        "a": LEAST, "b": LEAST,
    }
    with pytest.raises(StoreConfigError, match="already used by the store a"):
        load(tmp_path, groups)
    groups["b"] = {**LEAST, "swift_store_container": "other"}
    assert load(tmp_path, groups, MemoryIdentities()).ids == ("a", "b")


def test_how_it_is_set_up_holds_no_credentials(tmp_path: Path):
    store = swift_store(tmp_path)
    assert store.details() == {"container": "glance", "large_object_size": 5120, "large_object_chunk_size": 200}


STORAGE = "http://swift.example.org/v1/AUTH_1"


def v2_answer(region: str = "one") -> dict[str, Any]:
    endpoint = {"region": region, "publicURL": STORAGE, "internalURL": f"{STORAGE}i"}
    return {"access": {
        "token": {"id": "token-2", "expires": "2099-01-01T00:00:00Z", "tenant": {"id": "1", "name": "service"}},
        "serviceCatalog": [{"type": "object-store", "name": "swift", "endpoints": [endpoint]}],
        "user": {"id": "u", "name": "glance", "roles": []},
    }}


@responses.activate
def test_a_login_of_version_2(tmp_path: Path):
    address = "http://keystone.example.org:5000/v2.0"
    asked = responses.post(f"{address}/tokens", json=v2_answer())
    store = swift_store(
        tmp_path, swift_store_auth_version=2, swift_store_auth_address=address, swift_store_endpoint_type="internalURL"
    )
    token = store._account._tokens.get()
    assert (token.url, token.secret, int(token.ends_at)) == (f"{STORAGE}i", "token-2", 4070908800)
    assert store._account._tokens.get() is token
    assert asked.call_count == 1
    body = asked.calls[0].request.body
    assert body is not None
    for part in ('"tenantName": "service"', '"username": "glance"', '"password": "hidden"'):
        assert part in (body if isinstance(body, str) else body.decode())


@responses.activate
@pytest.mark.parametrize(
    ("answer", "options", "told"),
    [
        ({"status": 401}, {}, "the login is refused: compare user, project, domains and key"),
        ({"status": 404}, {}, "see swift_store_auth_address"),
        ({"status": 503}, {}, "busy"),
        ({"body": "<html>"}, {}, "the answer is none of a Keystone"),
        ({"json": v2_answer()}, {"swift_store_region": "two"}, "see swift_store_service_type, swift_store_region"),
        ({"json": v2_answer()}, {"swift_store_service_type": "x"}, "see swift_store_service_type"),
    ],
)
def test_logins_that_fail_are_told(tmp_path: Path, answer: dict[str, Any], options: dict[str, Any], told: str):
    address = "http://keystone.example.org:5000/v2.0"
    responses.post(f"{address}/tokens", **answer)
    store = swift_store(tmp_path, swift_store_auth_version=2, swift_store_auth_address=address, **options)
    with pytest.raises(StoreUnavailable, match=told) as caught:
        store.check()
    assert "hidden" not in str(caught.value)
