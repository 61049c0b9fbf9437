"""Configuration files say to oslo.config exactly what was meant."""

import stat

from deploy.local import configuration
from oslo_config import cfg


def read(folder):
    conf = cfg.ConfigOpts()
    conf.register_opts([cfg.StrOpt("text"), cfg.BoolOpt("flag"), cfg.IntOpt("number"), cfg.StrOpt("left_out")])
    conf.register_opts([cfg.MultiStrOpt("several")], "group")
    conf(["--config-dir", str(folder)], project="test")
    return conf


def test_values_arrive_as_they_were(tmp_path):
    options = {
        "DEFAULT": {"text": "a $path with $$ and = signs", "flag": False, "number": 7, "left_out": None},
        "group": {"several": ["/a:200", "/b:100"]},
    }
    configuration.write(tmp_path / "etc", "program", options)
    conf = read(tmp_path / "etc")
    assert (conf.text, conf.flag, conf.number, conf.left_out) == ("a $path with $$ and = signs", False, 7, None)
    assert conf.group.several == ["/a:200", "/b:100"]


def test_files_are_for_the_owner_only_and_written_anew(tmp_path):
    configuration.write(tmp_path, "program", {"DEFAULT": {"text": "first and longer"}})
    configuration.write(tmp_path, "program", {"DEFAULT": {"text": "second"}})
    assert stat.S_IMODE((tmp_path / "program.conf").stat().st_mode) == 0o600
    assert read(tmp_path).text == "second"


def test_later_parts_win(tmp_path):
    first = {"DEFAULT": {"a": 1, "b": 2}}
    assert configuration.merged(first, {"DEFAULT": {"b": 3}, "other": {"c": 4}}) == {
        "DEFAULT": {"a": 1, "b": 3},
        "other": {"c": 4},
    }
    assert first == {"DEFAULT": {"a": 1, "b": 2}}


def test_a_secret_is_made_once(tmp_path):
    path = tmp_path / "secret"
    configuration.make_secret(path)
    secret = path.read_text()
    assert len(secret.strip()) == 64
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    configuration.make_secret(path)
    assert path.read_text() == secret
