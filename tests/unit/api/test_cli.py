"""Start of glance-api: what stops it, what is only named, and what --check-config answers."""

import pytest

from glance_api import cli
from glance_common.server import command


@pytest.fixture
def start(tmp_path, monkeypatch, capsys):
    """Return a function that starts glance-api with this configuration as far as serving, which is replaced."""
    served = []
    monkeypatch.setattr(command, "serve", lambda settings, factory, **_: served.append((settings, factory)))
    monkeypatch.setattr(command.log, "setup", lambda *_, **__: None)
    secret = tmp_path / "secret"
    secret.write_text("x" * 64)
    secret.chmod(0o600)

    def run(text="", *arguments):
        (tmp_path / "images").mkdir(exist_ok=True)
        path = tmp_path / "glance-api.conf"
        path.write_text(
            f"[DEFAULT]\ntransport_url = filesystem://{tmp_path}/queue\n{text}\n"
            f"[registry]\ncontext_secret_file = {secret}\n"
            f"[glance_store]\nstores = file\nfilesystem_store_datadir = {tmp_path}/images\n"
        )
        code = cli.main(["--config-file", str(path), *arguments])
        return code, served, capsys.readouterr().err

    return run


def test_a_plain_start(start):
    code, served, err = start("bind_port = 19292\nworkers = 3")
    assert (code, err) == (0, "")
    settings, _factory = served[0]
    assert (settings.host, settings.port, settings.workers) == ("127.0.0.1", 19292, 3)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("limit_param_default = 0", "limit_param_default"),
        ("api_limit_max = many", "api_limit_max"),
        ("image_size_cap = 9223372036854775808", "image_size_cap"),
        ("hashing_algorithm = crc32", "hashing_algorithm"),
        ("bind_host = 0.0.0.0", "allow_insecure_bind"),
        ("[paste_deploy]\nflavor = keystoen", "flavor"),
        ("[oslo_policy]\npolicy_file = none.yaml", "policy_file"),
        ("[oslo_policy]\nenforce_new_defaults = maybe", "enforce_new_defaults"),
        ("[image_format]\ngpt_safety_checks_nonfatal = all", "gpt_safety_checks_nonfatal"),
        ("schema_image_file = none.json", "schema_image_file"),
        ("transport_url = carrier-pigeon://x", "transport_url"),
        ("[key_manager]\nbackend = vault", "backend = vault: must be one of barbican"),
        ("[oslo_messaging_notifications]\ndriver = routing", "routing_config"),
        ("[healthcheck]\nbackends = mine", "backends"),
        ("[healthcheck]\nallowed_source_ranges = here", "allowed_source_ranges"),
    ],
)
def test_what_stops_the_start(start, text, said):
    code, served, err = start(text)
    assert (code, served) == (1, [])
    assert err.startswith("glance-api: ")
    assert said in err
    assert "Traceback" not in err


@pytest.mark.parametrize("line", [
    "backend = barbican", "backend = castellan.key_manager.barbican_key_manager.BarbicanKeyManager",
    "api_class = castellan.key_manager.barbican_key_manager.BarbicanKeyManager",
])
def test_the_key_manager_has_the_names_that_castellan_gives_it(start, line):
    code, served, err = start(f"[key_manager]\n{line}")
    assert (code, err, len(served)) == (0, "", 1)


def test_a_paste_file_is_read_beside_the_configuration(start, tmp_path, caplog):
    (tmp_path / "glance-api-paste.ini").write_text("[pipeline:glance-api]\npipeline = authtoken rootapp\n")
    code, served, err = start()
    assert (code, served) == (1, []), "no part of it says how callers are authenticated"
    (tmp_path / "glance-api-paste.ini").write_text(
        "[pipeline:glance-api]\npipeline = unauthenticated-context cachee\n[filter:unauthenticated-context]\n"
        "paste.filter_factory = glance.api.middleware.context:UnauthenticatedContextMiddleware.factory\n"
    )
    assert start()[0] == 0
    assert "glance-api-paste.ini: the pipeline names cachee, which has no section" in caplog.text
    assert start("", "--check-config")[0] == 1
    (tmp_path / "glance-api-paste.ini").write_text("[pipeline:glance-api\n")
    code, _, err = start()
    assert code == 1
    assert err.count("\n") == 1
    assert "glance-api-paste.ini: cannot be parsed in line 1" in err


def test_more_rows_on_a_page_than_memory_allows_are_no_reason_not_to_start(start, caplog):
    code, served, _ = start("api_limit_max = 50000")
    assert (code, len(served)) == (0, 1)
    assert "[DEFAULT] api_limit_max = 50000: a page holds at most 10000 rows" in caplog.text


def test_an_open_door_on_purpose(start):
    code, served, _ = start("bind_host = 0.0.0.0\nallow_insecure_bind = true")
    assert code == 0
    assert served[0][0].host == "0.0.0.0"


def test_unknown_names_are_warnings_and_fail_the_check(start, caplog):
    assert start("limit_param_defualt = 5")[0] == 0
    assert "did you mean limit_param_default?" in caplog.text
    code, served, _ = start("limit_param_defualt = 5", "--check-config")
    assert (code, len(served)) == (1, 1)
    assert start("", "--check-config")[0] == 0
    caplog.clear()
    assert start("data_api = x", "--check-config")[0] == 0
    assert "data_api has no effect" in caplog.text


def test_all_names_are_told_although_something_stops_the_start(start, caplog):
    code, served, err = start("limit_param_defualt = 5\ntransport_url = carrier-pigeon://x", "--check-config")
    assert (code, served) == (1, [])
    assert "did you mean limit_param_default?" in caplog.text
    assert "[DEFAULT] transport_url" in err


def test_cfg07_the_file_of_imports_is_read_before_that_of_the_api(tmp_path, monkeypatch):
    monkeypatch.setenv("OS_GLANCE_CONFIG_DIR", str(tmp_path))
    (tmp_path / "glance-image-import.conf").write_text(
        "[DEFAULT]\nlimit_param_default = 7\n[image_import_opts]\nimage_import_plugins = [no_op]\n"
    )
    (tmp_path / "glance-api.conf").write_text("[DEFAULT]\nlimit_param_default = 9\n")
    conf = cli.load([])
    assert conf.image_import_opts.image_import_plugins == ["no_op"]
    assert conf.limit_param_default == 9


def test_groups_of_stores_are_known(start, tmp_path, caplog):
    text = (
        "enabled_backends = fast:file\n[glance_store]\ndefault_backend = fast\n"
        f"[fast]\nfilesystem_store_datadir = {tmp_path}/fast\nweight = 5\n"
    )
    (tmp_path / "fast").mkdir()
    assert start(text, "--check-config")[0] == 0
    assert "not a known" not in caplog.text
