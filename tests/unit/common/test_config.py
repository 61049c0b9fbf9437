"""Options: bad values stop the start and say everything, unknown names warn, secrets are guarded."""

import json
from importlib.metadata import entry_points, version
from pathlib import Path

import pytest
from oslo_config import cfg

from glance_common.config import loading
from glance_common.config.findings import explained, findings

TABLE = [*loading.list_opts(), ("image_format", [cfg.ListOpt("disk_formats", default=["raw"])])]


@pytest.fixture
def load(tmp_path):
    def make(text, *arguments):
        path = tmp_path / "glance-test.conf"
        path.write_text(text)
        return loading.load("glance-test", ["--config-file", str(path), *arguments], TABLE)

    return make


def test_values_come_from_the_file(load):
    conf = load("[DEFAULT]\nregistry_port = 9999\ndelayed_delete = true\n[registry]\ncontext_secret_file = /x\n")
    assert (conf.registry_port, conf.delayed_delete, conf.registry.context_secret_file) == (9999, True, "/x")


def test_the_command_line_wins(load):
    assert load("[DEFAULT]\nlog_file = a.log\n", "--log-file", "b.log").log_file == "b.log"


@pytest.mark.parametrize(
    ("line", "allowed"),
    [
        ("scrub_time = soon", "number"),
        ("scrub_time = -1", "number from 0"),
        ("delayed_delete = perhaps", "perhaps"),
        ("registry_client_protocol = ftp", "one of http, https"),
        ("registry_port = 70000", "number from 0 to 65535"),
    ],
)
def test_a_bad_value_names_file_group_option_value_and_what_is_allowed(load, tmp_path, line, allowed):
    with pytest.raises(loading.ConfigError) as caught:
        load(f"[DEFAULT]\n{line}\n")
    text = str(caught.value)
    name, _, value = line.partition(" = ")
    assert f"{tmp_path}/glance-test.conf: [DEFAULT] {name} = {value}: " in text
    assert allowed in text


def test_a_bad_secret_value_is_not_repeated(tmp_path):
    table = [("DEFAULT", [cfg.IntOpt("pin", secret=True)])]
    path = tmp_path / "x.conf"
    path.write_text("[DEFAULT]\npin = hunter2\n")
    with pytest.raises(loading.ConfigError) as caught:
        loading.load("x", ["--config-file", str(path)], [*loading.list_opts(), *table])
    assert "[DEFAULT] pin = ***" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("no section\n", 1, "No ':' or '=' found in assignment"),
        ("[DEFAULT\n", 1, "Invalid section (must end with ])"),
        ("[DEFAULT]\ndebug = true\nadmin_password hunter2\n", 3, "No ':' or '=' found in assignment"),
        ("[DEFAULT]\n  hunter2 = 1\n", 2, "Unexpected continuation line"),
    ],
)
def test_a_file_that_cannot_be_parsed_is_told_with_its_line(load, tmp_path, text, line, reason):
    with pytest.raises(loading.ConfigError) as caught:
        load(text)
    assert str(caught.value) == f"{tmp_path}/glance-test.conf, line {line}: {reason}"


def test_a_file_that_is_no_text_or_no_file(tmp_path):
    (tmp_path / "x.conf").write_bytes(b"[DEFAULT]\nlog_file = \xff\n")
    with pytest.raises(loading.ConfigError, match="not UTF-8"):
        loading.load("x", ["--config-file", str(tmp_path / "x.conf")], TABLE)
    with pytest.raises(loading.ConfigError, match="Is a directory"):
        loading.load("x", ["--config-file", str(tmp_path)], TABLE)


def test_a_missing_file_is_named():
    with pytest.raises(loading.ConfigError, match="/no/such"):
        loading.load("x", ["--config-file", "/no/such.conf"], TABLE)


def test_unknown_names_warn_with_the_nearest_match(load):
    conf = load("[DEFAULT]\nregistry_prot = 1\n[image_formats]\ndisk_formats = raw\n[fast]\nx = 1\n")
    found = findings(conf, [*TABLE, ("fast", [cfg.StrOpt("x")])])
    sentences = "\n".join(each.text for each in found)
    assert "[DEFAULT] registry_prot is not a known option; did you mean registry_port?" in sentences
    assert "[image_formats] is not a known group; did you mean [image_format]?" in sentences
    assert "fast" not in sentences
    assert all(each.is_wrong for each in found)


@pytest.mark.parametrize("name", ["os_region_name", "socket_timeout", "log_color", "rpc_ping_enabled", "sort_dirs"])
def test_no_hint_leads_to_another_option(load, name):
    table = [*TABLE, ("elsewhere", [cfg.StrOpt("os_region"), *loading.QUEUE_OPTS])]
    [found] = findings(load(f"[elsewhere]\n{name} = 1\n"), table)
    assert found.text.endswith(f"[elsewhere] {name} is not a known option")


def test_options_without_effect_say_why(load):
    conf = load("[DEFAULT]\ndata_api = x\n[database]\nconnection = y\n[keystone_authtoken]\nanything = 1\n")
    assert [(each.text.partition(": ")[2], each.is_wrong) for each in findings(conf, TABLE)] == [
        ("[DEFAULT] data_api has no effect: metadata always go through the registry", False),
        ("[database] connection has no effect: glance-manage and glance-registry read it", False),
    ]


@pytest.mark.parametrize("group", ["cinder", "glance.store.rbd.store", "os_brick"])
def test_sections_of_the_samples_of_stores_say_where_their_options_stand(load, group):
    conf = load(f"[{group}]\nsome_option = 1\n")
    [found] = findings(conf, TABLE)
    assert found.text.endswith("stand in [glance_store], or in the section of its id in enabled_backends")
    assert not found.is_wrong
    [typo] = findings(conf, [*TABLE, (group, [cfg.StrOpt("known")])])
    assert typo.is_wrong, "a store may have such an id"


def test_options_of_another_program_name_it(load):
    found = findings(load("[DEFAULT]\nimage_size_cap = 1\nwakeup_time = 5\n[task]\nwork_dir = /x\n"), TABLE)
    assert [each.text.partition(": ")[2] for each in found] == [
        "[DEFAULT] image_size_cap has no effect: glance-api reads it",
        "[DEFAULT] wakeup_time has no effect: glance-scrubber reads it",
        "[task] work_dir has no effect: glance-api and glance-manage read it",
    ]
    assert not any(each.is_wrong for each in found)


ORIGINAL = json.loads((Path(__file__).parents[1] / "recorded" / "original_options.json").read_text())
"""Names of options, old ones too, in the original's sample files of 2017 (15.0.2) and of today (33.0.0)."""


@pytest.mark.parametrize("program", ["glance_api", "glance_registry", "glance_scrubber"])
def test_cfg01_every_option_of_the_original_is_obeyed_or_has_a_reason(tmp_path, program):
    table = next(point.load()() for point in entry_points(group="oslo.config.opts") if point.name == program)
    known = {(group, name) for group, options in table for opt in options for name in (opt.name, opt.dest)}
    text = "".join(
        f"[{group}]\n" + "".join(f"{name} = 1\n" for name in names if (group, name) not in known)
        for group, names in ORIGINAL.items()
    )
    path = tmp_path / "x.conf"
    path.write_text(text)
    conf = cfg.ConfigOpts()
    conf([], default_config_files=[str(path)])
    stores = [("glance_store", [])]
    assert [each.text for each in findings(conf, [*table, *stores]) if each.is_wrong] == []


OLDER = """
db_auto_create lock_path notifier_strategy rabbit_notification_exchange rabbit_notification_topic rabbit_max_retries
rabbit_retry_backoff qpid_hostname qpid_port qpid_username qpid_password qpid_sasl_mechanisms qpid_protocol
qpid_heartbeat qpid_tcp_nodelay qpid_reconnect_interval_max qpid_notification_topic rpc_zmq_concurrency
sqlalchemy_debug default_store known_stores filesystem_store_datadir filesystem_store_metadata_file swift_store_user
swift_store_auth_address swift_store_auth_version swift_store_key swift_store_container swift_store_large_object_size
swift_store_multi_tenant swift_store_admin_tenants swift_enable_snet s3_store_host s3_store_access_key
s3_store_secret_key s3_store_bucket s3_store_object_buffer_dir s3_store_enable_proxy rbd_store_ceph_conf rbd_store_user
rbd_store_pool rbd_store_chunk_size sheepdog_store_address cinder_catalog_info cinder_http_retries
vmware_datacenter_path vmware_datastore_name policy_file
"""
"""Names in [DEFAULT] of files of 2013 to 2016, which sites brought along."""


@pytest.mark.parametrize("program", ["glance_api", "glance_registry", "glance_scrubber"])
def test_cfg01_names_in_default_of_older_files_are_obeyed_or_have_a_reason(load, program):
    table = next(point.load()() for point in entry_points(group="oslo.config.opts") if point.name == program)
    conf = load("[DEFAULT]\n" + "".join(f"{name} = 1\n" for name in OLDER.split()))
    assert [each.text for each in findings(conf, table) if each.is_wrong] == []


def test_explain_says_where_a_value_comes_from(load, tmp_path):
    conf = load("[DEFAULT]\nregistry_port = 9999\ntransport_url = amqp://a:hidden@b\n", "--log-file", "x.log")
    lines = explained(conf, TABLE)
    assert f"[DEFAULT] registry_port = 9999  ({tmp_path}/glance-test.conf)" in lines
    assert "[DEFAULT] registry_host = 127.0.0.1  (default)" in lines
    assert "[DEFAULT] log_file = x.log  (command line)" in lines
    assert f"[DEFAULT] transport_url = ***  ({tmp_path}/glance-test.conf)" in lines
    assert "hidden" not in "".join(lines)


def test_explain_repeats_what_stands_there_for_libraries(load, tmp_path):
    conf = load("[keystone_authtoken]\nusername = glance\npassword = hunter2\nmemcache_secret_key = hunter2\n")
    lines = explained(conf, TABLE)
    assert f"[keystone_authtoken] username = glance  ({tmp_path}/glance-test.conf)" in lines
    assert f"[keystone_authtoken] password = ***  ({tmp_path}/glance-test.conf)" in lines
    assert "hunter2" not in "".join(lines)


def test_every_program_tells_its_version(load, capsys):
    with pytest.raises(SystemExit) as caught:
        load("", "--version")
    assert caught.value.code == 0
    assert capsys.readouterr().out.strip() == version("glance-services")


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ("enable_v2_api", "v2 is always served"), ("enable_v1_registry", "one protocol"),
        ("enable_v2_registry", "one protocol"), ("admin_role", "context_is_admin"),
        ("owner_is_tenant", "always the project"), ("use_user_token", "context_secret_file"),
        ("send_identity_headers", "context_secret_file"),
    ],
)
def test_ver05_pol05_reg03_switches_of_the_original_are_named_as_without_effect(load, option, reason):
    [found] = findings(load(f"[DEFAULT]\n{option} = false\n"), TABLE)
    assert f"[DEFAULT] {option} has no effect: " in found.text
    assert reason in found.text


def test_options_of_the_image_cache_mean_nothing_to_other_daemons(load):
    conf = load("[DEFAULT]\nimage_cache_max_size = 1\nimage_cache_dir = /x\n")
    found = findings(conf, TABLE)
    assert all("has no effect: the image cache is a part of glance-api" in each.text for each in found)
    assert len(found) == 2


def test_the_environment_names_the_configuration_directory(tmp_path, monkeypatch):
    (tmp_path / "glance-test.conf").write_text("[DEFAULT]\nregistry_port = 7777\n")
    monkeypatch.setenv("OS_GLANCE_CONFIG_DIR", str(tmp_path))
    assert loading.load("glance-test", [], TABLE).registry_port == 7777


def test_secrets_are_read_newest_first(tmp_path):
    path = tmp_path / "secret"
    path.write_text("n" * 32 + "\n\n" + "o" * 40 + "\n")
    path.chmod(0o640)
    assert loading.read_secrets(str(path)) == [b"n" * 32, b"o" * 40]


@pytest.mark.parametrize(
    ("content", "mode", "reason"),
    [("s" * 32, 0o644, "mode 0644"), ("s" * 32, 0o660, "mode 0660"), ("short", 0o600, "32 char"), ("", 0o600, "32")],
)
def test_s79_a_secret_that_is_not_one_is_refused(tmp_path, content, mode, reason):
    path = tmp_path / "secret"
    path.write_text(content)
    path.chmod(mode)
    with pytest.raises(loading.ConfigError, match=reason):
        loading.read_secrets(str(path))


def test_a_missing_secret_file_is_named(tmp_path):
    with pytest.raises(loading.ConfigError, match=r"context_secret_file = .*none: cannot be read"):
        loading.read_secrets(str(tmp_path / "none"))
