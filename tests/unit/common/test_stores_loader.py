"""From options to stores: several by id, older files with one group, and every bad value named."""

import json
import re
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from oslo_config import cfg
from tests.support.stores import MemoryIdentities, bare, configuration, load

from glance_common.config import loading
from glance_common.config.findings import findings
from glance_common.config.loading import ConfigError
from glance_common.stores import loader
from glance_common.stores.contract import BadLocation, Store, UnknownStore
from glance_common.stores.decorators.base import Logged, Retrying
from glance_common.stores.decorators.encryption import EncryptedKeys
from glance_common.stores.decorators.metrics import MeasuredStore
from glance_common.stores.drivers.file.driver import FileStore
from glance_common.stores.settings import StoreConfigError


def options_of(store: Store) -> Any:
    inner = bare(store)
    assert isinstance(inner, FileStore)
    return inner._options


def directories(store: Store) -> list[tuple[str, int]]:
    return [(place.path, place.priority) for place in options_of(store).directories]


TWO: dict[str, dict[str, Any]] = {
    "DEFAULT": {"enabled_backends": "fast:file, slow:file, web:http"},
    "glance_store": {"default_backend": "fast"},
    "fast": {"filesystem_store_datadir": "/fast", "store_description": "NVMe", "weight": 10},
    "slow": {"filesystem_store_datadir": "/slow", "weight": 20},
}


def test_several_stores(tmp_path: Path):
    stores = load(tmp_path, TWO)
    assert stores.ids == ("fast", "slow", "web")
    assert stores.default is stores.get("fast")
    assert [store.id for store in stores] == ["slow", "fast", "web"]
    fast = stores.get("fast")
    assert (fast.id, fast.kind, fast.description, fast.weight) == ("fast", "file", "NVMe", 10)
    assert (stores.get("web").kind, stores.get("web").weight, stores.get("web").description) == ("http", 0, None)
    assert directories(stores.get("slow")) == [("/slow", 0)]


def test_equal_weights_keep_the_order_of_the_configuration(tmp_path: Path):
    groups = {name: {"filesystem_store_datadir": f"/{name}"} for name in ("b", "a", "c")}
    groups["c"]["weight"] = "1"
    stores = load(
        tmp_path,
        {
            "DEFAULT": {"enabled_backends": "b:file,a:file,c:file"},
            "glance_store": {"default_backend": "a"},
            **groups,
        },
    )
    assert [store.id for store in stores] == ["c", "b", "a"]


def test_loading_touches_nothing(tmp_path: Path):
    stores = load(tmp_path, {"glance_store": {"filesystem_store_datadir": tmp_path / "missing"}})
    assert stores.ids == ("file", "http")
    assert not (tmp_path / "missing").exists()


def test_older_files_make_one_store_a_kind(tmp_path: Path):
    stores = load(tmp_path, {})
    assert stores.ids == ("file", "http")
    assert stores.default.id == "file"
    assert directories(stores.default) == [("/var/lib/glance/images", 0)]


@pytest.mark.parametrize(
    ("stores", "default", "expected"),
    [
        ("file", "file", ("file",)),
        ("http,file", "filesystem", ("http", "file")),
        ("filesystem,file,https", "file", ("file", "http")),
        ("glance.store.http.Store,glance.store.filesystem.Store", "file", ("http", "file")),
        ("glance_store._drivers.filesystem.Store", "file", ("file",)),
    ],
)
def test_older_names_of_kinds(tmp_path: Path, stores: str, default: str, expected: tuple[str, ...]):
    loaded = load(tmp_path, {"glance_store": {"stores": stores, "default_store": default}})
    assert loaded.ids == expected
    assert loaded.default.id == "file"


def test_defaults_of_all_stores(tmp_path: Path):
    stores = load(
        tmp_path,
        {
            **TWO,
            "backend_defaults": {
                "filesystem_store_chunk_size": 131072,
                "filesystem_thin_provisioning": "true",
                "weight": 5,
            },
            "slow": {"filesystem_store_datadir": "/slow", "filesystem_thin_provisioning": "false"},
        },
    )
    fast, slow = options_of(stores.get("fast")), options_of(stores.get("slow"))
    assert (fast.piece, fast.thin, slow.piece, slow.thin) == (131072, True, 131072, False)
    assert [store.weight for store in stores] == [10, 5, 5]


def test_loading_twice_from_the_same_options(tmp_path: Path):
    conf = configuration(tmp_path, TWO)
    for _ in range(2):
        assert loader.load_stores(conf, MemoryIdentities()).ids == ("fast", "slow", "web")


def test_unknown_options_of_store_groups_can_be_named(tmp_path: Path):
    conf = configuration(tmp_path, {**TWO, "slow": {"filesystem_store_datadirr": "/x"}})
    sentences = [each.text for each in findings(conf, [*loader.list_opts(), *loader.store_opts(conf)])]
    assert len(sentences) == 1
    assert (
        sentences[0].endswith(
            "[slow] filesystem_store_datadirr is not a known option; did you mean filesystem_store_datadir?"
        )
        or "did you mean filesystem_store_datadirs?" in sentences[0]
    )


def test_an_unknown_id(tmp_path: Path):
    with pytest.raises(UnknownStore, match="no store 'gold' is configured"):
        load(tmp_path, TWO).get("gold")


def test_wrappers(tmp_path: Path):
    stores = load(tmp_path, TWO)
    fast: Any = stores.get("fast")
    web: Any = stores.get("web")
    for store in (fast, web.inner):
        assert isinstance(store, MeasuredStore)
        assert isinstance(store.inner, Logged)
    assert isinstance(fast.inner.inner, FileStore)
    assert isinstance(web.inner.inner.inner, Retrying)
    assert isinstance(web, EncryptedKeys)


# URLs


def test_store_of_a_url(tmp_path: Path):
    stores, key = load(tmp_path, TWO), str(uuid4())
    assert stores.by_url(f"file:///fast/{key}").id == "fast"
    assert stores.by_url(f"filesystem:///slow/{key}").id == "slow"
    assert stores.by_url("https://example.org/x.img").id == "web"
    for url in (f"file:///fastest/{key}", "rbd://a", "", "http://[::1"):
        with pytest.raises(UnknownStore):
            stores.by_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd", "FILE:///etc/passwd", "filesystem:///etc/passwd", "FileSystem:///fast/{key}",
        "file:///fast/{key}", "swift+config://ref1/container/x", "sheepdog://127.0.0.1:7000:{key}",
        "os_glance_staging_store://x", "fi\nle:///etc/passwd", " file:///etc/passwd", "/etc/passwd", "",
        "http://[::1", "data:,x", "ftp://example.org/x", "gridfs://{key}",
    ],
)
def test_s09_s10_users_cannot_register_local_or_internal_schemes(tmp_path: Path, url: str):
    with pytest.raises(BadLocation):
        load(tmp_path, TWO).user_location(url.format(key=uuid4()))


def test_s09_schemes_of_stores_that_are_not_enabled(tmp_path: Path):
    with pytest.raises(UnknownStore):
        load(tmp_path, TWO).user_location("rbd://fsid/pool/image/snap")


def test_users_may_register_web_locations(tmp_path: Path):
    stores = load(tmp_path, TWO)
    assert stores.user_location("HTTPS://example.org/x.img") == (stores.get("web"), "HTTPS://example.org/x.img")


# Bad options


def refused(folder: Path, groups: dict[str, dict[str, Any]]) -> str:
    with pytest.raises(ConfigError) as caught:
        load(folder, groups)
    return str(caught.value)


@pytest.mark.parametrize(
    ("enabled", "text"),
    [
        ("fast", "must be id:kind"),
        ("fast:", "must be id:kind"),
        (":file", "must be id:kind"),
        ("a b:file", "must be id:kind"),
        ("fast:file,fast:http", "names the store fast twice"),
        ("os_glance_x:file", "ids that begin with os_glance_ are reserved"),
        ("fast:swfit", "kind of the store fast must be one of cinder, file, gridfs"),
        ("glance_store:file", "has another meaning"),
        ("DEFAULT:file", "has another meaning"),
        ("enabled_backends:file", "an option has that name"),
    ],
)
def test_bad_enabled_backends(tmp_path: Path, enabled: str, text: str):
    message = refused(tmp_path, {**TWO, "DEFAULT": {"enabled_backends": enabled}})
    assert message.startswith("[DEFAULT] enabled_backends = ")
    assert text in message


@pytest.mark.parametrize(
    ("groups", "text"),
    [
        (
            {**TWO, "glance_store": {}},
            "[glance_store] default_backend = None: must be one of the enabled stores: fast, slow, web",
        ),
        (
            {**TWO, "glance_store": {"default_backend": "gold"}},
            "default_backend = gold: must be one of the enabled stores",
        ),
        ({"glance_store": {"stores": "http"}}, "default_store = file: must be one of the enabled stores: http"),
        ({"glance_store": {"stores": "file,nfs"}}, "stores = file,nfs: must be out of cinder, file, gridfs"),
        ({"glance_store": {"stores": ""}}, "must be out of cinder, file, gridfs"),
        (
            {**TWO, "slow": {"filesystem_store_datadir": "/fast/"}},
            "[slow] filesystem_store_datadir = /fast: is already used by the store fast",
        ),
        ({**TWO, "slow": {"weight": "heavy"}}, "[slow] weight = heavy"),
        ({**TWO, "slow": {"filesystem_thin_provisioning": "perhaps"}}, "[slow] filesystem_thin_provisioning = perhaps"),
    ],
)
def test_bad_choices(tmp_path: Path, groups: dict[str, dict[str, Any]], text: str):
    assert text in refused(tmp_path, groups)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            {"filesystem_store_datadir": "/a", "filesystem_store_datadirs": "/b"},
            "cannot be used together with filesystem_store_datadir",
        ),
        ({"filesystem_store_datadir": ""}, "must be set, or filesystem_store_datadirs"),
        ({"filesystem_store_datadir": "images"}, "'images' must be an absolute path"),
        ({"filesystem_store_datadirs": ["/a:1", "/b:high"]}, "'/b:high' must be path or path:priority with an integer"),
        ({"filesystem_store_datadirs": ["/a:"]}, "'/a:' must be path or path:priority"),
        ({"filesystem_store_datadirs": [":1"]}, "'' must be an absolute path"),
        ({"filesystem_store_datadirs": ["/a:1", "/a:2"]}, "names /a twice with different priorities"),
        ({"filesystem_store_datadirs": ["/a:1", "//a/:2"]}, "names /a twice with different priorities"),
        ({"filesystem_store_file_perm": "rw-r--r--"}, "must be an octal mode"),
        ({"filesystem_store_file_perm": "888"}, "must be an octal mode"),
        ({"filesystem_store_file_perm": "7777"}, "must be an octal mode"),
        ({"filesystem_store_file_perm": "0200"}, "must let the owner read"),
        ({"filesystem_store_metadata_file": "/does/not/exist"}, "cannot be read: No such file"),
        ({"http_proxy_information": "ftp:10.0.0.1:21"}, "must be scheme:host:port"),
        ({"https_ca_certificates_file": "/does/not/exist"}, "must be a readable file"),
    ],
)
def test_bad_store_options(tmp_path: Path, options: dict[str, Any], text: str):
    message = refused(tmp_path, {"glance_store": options})
    assert text in message
    assert message.startswith("[glance_store] ")


@pytest.mark.parametrize(
    "document",
    [
        "{", "[]x", '"text"', '[{"id": "x"}]', '{"mountpoint": "/a"}', '{"id": 1, "mountpoint": "/"}',
        '{"id": "x", "mountpoint": "a"}',
    ],
)
def test_bad_metadata_file(tmp_path: Path, document: str):
    path = tmp_path / "metadata.json"
    path.write_text(document)
    assert "filesystem_store_metadata_file" in refused(
        tmp_path, {"glance_store": {"filesystem_store_metadata_file": path}}
    )


def test_the_error_of_a_store_is_a_config_error():
    error = StoreConfigError("fast", "weight", "x", "must be a number")
    assert isinstance(error, ConfigError)
    assert str(error) == "[fast] weight = x: must be a number"


# Directories


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            {"filesystem_store_datadirs": ["/a", "/b:200", "/c:100", "/d:200"]},
            [("/b", 200), ("/d", 200), ("/c", 100), ("/a", 0)],
        ),
        ({"filesystem_store_datadirs": ["/a:1", "/a:1", "/b:-5"]}, [("/a", 1), ("/b", -5)]),
        ({"filesystem_store_datadir": "", "filesystem_store_datadirs": ["/x:y:3"]}, [("/x:y", 3)]),
        ({"filesystem_store_datadir": "/a/../b//c/"}, [("/b/c", 0)]),
        ({"filesystem_store_datadirs": [""]}, [("/var/lib/glance/images", 0)]),
    ],
)
def test_directories(tmp_path: Path, options: dict[str, Any], expected: list[tuple[str, int]]):
    assert directories(load(tmp_path, {"glance_store": options}).default) == expected


def test_a_store_may_differ_from_the_defaults_of_all_in_both_ways(tmp_path: Path):
    groups = {
        "DEFAULT": {"enabled_backends": "one:file, two:file"},
        "glance_store": {"default_backend": "one"},
        "backend_defaults": {"filesystem_store_datadirs": "/shared:7"},
        "two": {"filesystem_store_datadir": "/own"},
    }
    stores = load(tmp_path, groups)
    assert directories(stores.get("one")) == [("/shared", 7)]
    assert directories(stores.get("two")) == [("/own", 0)]


def test_init_directories(tmp_path: Path):
    there, missing = tmp_path / "there", tmp_path / "deep" / "missing"
    there.mkdir()
    groups = {
        **TWO,
        "fast": {"filesystem_store_datadirs": [str(there), f"{missing}:5"]},
        "slow": {"filesystem_store_datadir": tmp_path / "s"},
    }
    conf = configuration(tmp_path, groups)
    assert loader.init_directories(conf) == [("fast", str(missing)), ("slow", str(tmp_path / "s"))]
    assert missing.stat().st_mode & 0o7777 == 0o750
    assert list(missing.iterdir()) == [], "the sentinel comes at first use"
    assert loader.init_directories(conf) == []


def test_options_keep_the_names_and_defaults_of_the_original(tmp_path: Path):
    conf = configuration(tmp_path, {})
    found = {
        opt.name: conf.glance_store[opt.dest]
        for group, opts in loader.list_opts()
        if group == "glance_store"
        for opt in opts
    }
    assert json.loads(json.dumps(found)) == {
        "stores": ["file", "http"],
        "default_store": "file",
        "default_backend": None,
        "presigned_downloads_for": [],
        "presigned_download_seconds": 30,
        "cinder_catalog_info": "volumev3::publicURL",
        "cinder_endpoint_template": None,
        "cinder_os_region_name": None,
        "cinder_ca_certificates_file": None,
        "cinder_api_insecure": False,
        "cinder_http_retries": 3,
        "cinder_state_transition_timeout": 300,
        "cinder_store_auth_address": None,
        "cinder_store_user_name": None,
        "cinder_store_user_domain_name": "Default",
        "cinder_store_password": None,
        "cinder_store_project_name": None,
        "cinder_store_project_domain_name": "Default",
        "cinder_store_application_credential_id": None,
        "cinder_store_application_credential_secret": None,
        "rootwrap_config": "/etc/glance/rootwrap.conf",
        "cinder_volume_type": None,
        "cinder_use_multipath": False,
        "cinder_enforce_multipath": False,
        "cinder_mount_point_base": "/var/lib/glance/mnt",
        "cinder_do_extend_attached": False,
        "cinder_attachment_retry_attempts": 5,
        "cinder_attachment_lease": 90,
        "cinder_connect_timeout": 10.0,
        "cinder_read_timeout": 60.0,
        "cinder_io_timeout": 60,
        "filesystem_store_datadir": "/var/lib/glance/images",
        "filesystem_store_datadirs": None,
        "filesystem_store_metadata_file": None,
        "filesystem_store_file_perm": "0",
        "filesystem_store_chunk_size": 65536,
        "filesystem_thin_provisioning": False,
        "filesystem_store_timeout": 0,
        "filesystem_store_thread_pool_size": 10,
        "filesystem_store_threadpool_threshold": 75,
        "https_ca_certificates_file": None,
        "https_insecure": False,
        "http_proxy_information": {},
        "http_connect_timeout": 10.0,
        "http_read_timeout": 60.0,
        "http_answer_timeout": 30.0,
        "mongodb_store_uri": None,
        "mongodb_store_db": None,
        "mongodb_store_timeout": 30.0,
        "rbd_store_pool": "images",
        "rbd_store_user": None,
        "rbd_store_ceph_conf": "",
        "rbd_store_chunk_size": 8,
        "rbd_thin_provisioning": False,
        "rados_connect_timeout": -1,
        "rbd_store_operation_timeout": 60,
        "s3_store_host": None,
        "s3_store_region_name": "",
        "s3_store_access_key": None,
        "s3_store_secret_key": None,
        "s3_store_bucket": None,
        "s3_store_create_bucket_on_put": False,
        "s3_store_bucket_url_format": "auto",
        "s3_store_large_object_size": 100,
        "s3_store_large_object_chunk_size": 10,
        "s3_store_thread_pools": 10,
        "s3_store_cacert": "",
        "s3_store_enable_data_integrity_protection": False,
        "s3_store_request_checksum_calculation": "when_required",
        "s3_store_response_checksum_validation": "when_required",
        "s3_store_connect_timeout": 10.0,
        "s3_store_read_timeout": 60.0,
        "swift_store_auth_version": "3",
        "swift_store_auth_address": None,
        "swift_store_user": None,
        "swift_store_key": None,
        "swift_store_application_credential_id": None,
        "swift_store_application_credential_secret": None,
        "swift_store_project_name": None,
        "swift_store_project_id": None,
        "swift_store_config_file": None,
        "default_swift_reference": "ref1",
        "swift_store_region": None,
        "swift_store_endpoint": None,
        "swift_store_endpoint_type": "publicURL",
        "swift_store_service_type": "object-store",
        "swift_store_container": "glance",
        "swift_store_create_container_on_put": False,
        "swift_store_multiple_containers_seed": 0,
        "swift_store_multi_tenant": False,
        "swift_store_admin_tenants": [],
        "swift_store_large_object_size": 5120,
        "swift_store_large_object_chunk_size": 200,
        "swift_store_segments_at_once": 1,
        "swift_store_retry_get_count": 0,
        "swift_store_expire_soon_interval": 60,
        "swift_store_auth_insecure": False,
        "swift_store_cacert": None,
        "swift_store_use_trusts": True,
        "swift_store_ssl_compression": True,
        "swift_buffer_on_upload": False,
        "swift_upload_buffer_dir": None,
        "swift_store_temp_url_key": None,
        "swift_store_connect_timeout": 10.0,
        "swift_store_read_timeout": 60.0,
        "vmware_server_host": None,
        "vmware_server_username": None,
        "vmware_server_password": None,
        "vmware_datastores": None,
        "vmware_store_image_dir": "/openstack_glance",
        "vmware_api_retry_count": 10,
        "vmware_task_poll_interval": 5.0,
        "vmware_task_timeout": 300.0,
        "vmware_connect_timeout": 10.0,
        "vmware_read_timeout": 60.0,
        "vmware_ca_file": None,
        "vmware_insecure": False,
        "vmware_thumbprint": None,
        "sheepdog_store_address": "localhost",
        "sheepdog_store_port": 7000,
        "sheepdog_store_chunk_size": 64,
        "sheepdog_store_timeout": 60.0,
        "sheepdog_store_program": "dog",
    }


def test_options_without_effect_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    conf = configuration(tmp_path, {"glance_store": {"filesystem_store_timeout": 30}})
    loading.check_values(conf, loader.list_opts())
    assert re.search(r'Deprecated: Option "filesystem_store_timeout" from group "glance_store"', caplog.text)


def test_every_option_has_a_help_text():
    silent = [opt.name for _, opts in loader.list_opts() for opt in opts if not opt.help]
    assert silent == []


def test_no_option_is_registered_twice_with_different_meanings():
    conf = cfg.ConfigOpts()
    loading.register(conf, loader.list_opts())
    loading.register(conf, loader.list_opts())
