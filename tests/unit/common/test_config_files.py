"""Which configuration files are read, in which order, and that none counts twice."""

from __future__ import annotations

from pathlib import Path

import pytest
from oslo_config import cfg

from glance_common.config import files, loading
from glance_common.config.findings import explained, findings
from glance_common.config.loading import ConfigFileError

NAME = "glance-test"
TABLE = [("DEFAULT", [cfg.StrOpt("name"), cfg.StrOpt("color"), cfg.MultiStrOpt("place", default=[])])]


def written(path: Path, **values: object) -> str:
    path.parent.mkdir(exist_ok=True)
    lines = [f"{name} = {each}" for name, value in values.items() for each in str(value).split(",")]
    path.write_text("\n".join(["[DEFAULT]", *lines, ""]))
    return str(path)


def load(*argv: str) -> cfg.ConfigOpts:
    return loading.load(NAME, argv, TABLE)


@pytest.fixture
def etc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with two files, which no default names."""
    monkeypatch.setenv("HOME", str(tmp_path / "nowhere"))
    folder = tmp_path / "etc"
    written(folder / "glance-test.conf", name="first", color="red", place="a,b")
    written(folder / "more.conf", name="second", place="c")
    return folder


@pytest.mark.parametrize(("arguments", "name", "places"), [
    (["--config-dir", "{etc}"], "second", ["a", "b", "c"]),
    (["--config-dir", "{etc}", "--config-file", "{etc}/glance-test.conf"], "first", ["c", "a", "b"]),
    (["--config-file={etc}/glance-test.conf", "--config-dir={etc}"], "second", ["a", "b", "c"]),
    (["--config-file", "{etc}/glance-test.conf", "--config-file", "{etc}/glance-test.conf"], "first", ["a", "b"]),
    (["--config-file", "{etc}/more.conf", "--config-dir", "{etc}/", "--config-dir", "{etc}"], "second",
     ["a", "b", "c"]),
    (["--config-file", "{etc}/../etc/glance-test.conf", "--config-file", "{etc}/link"], "first", ["a", "b"]),
    (["--config-d", "{etc}", "--config-fi={etc}/glance-test.conf"], "first", ["c", "a", "b"]),
])
def test_a_file_counts_once_at_the_last_place_that_names_it(
    etc: Path, arguments: list[str], name: str, places: list[str]
) -> None:
    (etc / "link").symlink_to(etc / "glance-test.conf")
    conf = load(*(argument.format(etc=etc) for argument in arguments))
    assert (conf.name, conf.color, conf.place) == (name, "red", places)


def test_default_files_and_directories_count_once_too(etc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OS_GLANCE_CONFIG_DIR", str(etc))
    assert load().place == ["a", "b"]
    assert load("--config-dir", str(etc)).place == ["a", "b", "c"]


def test_the_directory_beside_a_default_file_is_read_after_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OS_GLANCE_CONFIG_DIR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    written(tmp_path / ".glance" / f"{NAME}.conf", name="file", color="red")
    written(tmp_path / ".glance" / f"{NAME}.conf.d" / "10.conf", name="part")
    assert (load().name, load().color) == ("part", "red")
    other = written(tmp_path / "other.conf", name="other")
    assert (load("--config-file", other).name, load("--config-file", other).color) == ("other", None)


def test_what_is_told_of_files_follows_the_same_order(etc: Path) -> None:
    other = etc.parent / "other"
    written(other / "x.conf", heading="wrong")
    conf = load("--config-dir", str(other), "--config-dir", str(etc), "--config-file", str(etc / "glance-test.conf"))
    assert [path for path, _ in files.read_files(conf)] == [
        str(etc / "glance-test.conf"), str(etc / "more.conf"), str(other / "x.conf"),
    ]
    assert f"[DEFAULT] name = first  ({etc}/glance-test.conf)" in explained(conf, TABLE)
    assert any("heading" in each.text and str(other / "x.conf") in each.text for each in findings(conf, TABLE))


def test_explain_names_the_file_that_has_the_option(etc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    last = written(etc / "last.conf", color="red")
    conf = load("--config-file", str(etc / "glance-test.conf"), "--config-file", last)
    lines = explained(conf, TABLE)
    assert f"[DEFAULT] name = first  ({etc}/glance-test.conf)" in lines
    assert f"[DEFAULT] color = red  ({etc}/last.conf)" in lines
    monkeypatch.setenv("OS_DEFAULT__NAME", "other")
    assert "[DEFAULT] name = other  (OS_DEFAULT__NAME)" in explained(load("--config-dir", str(etc)), TABLE)


def test_other_files_are_found_in_a_directory_without_configuration(tmp_path: Path, etc: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "policy.yaml").touch()
    (etc / "schema.json").touch()
    conf = load("--config-dir", str(bare), "--config-dir", str(etc))
    assert conf.find_file("policy.yaml") == str(bare / "policy.yaml")
    assert conf.find_file("schema.json") == str(etc / "schema.json")


def test_what_is_not_there_is_named(etc: Path) -> None:
    with pytest.raises(ConfigFileError, match="/not/there"):
        load("--config-dir", "/not/there")
    with pytest.raises(ConfigFileError, match=r"none\.conf"):
        load("--config-file", str(etc / "none.conf"))
    with pytest.raises(SystemExit):
        load("--config-file")


def test_policies_are_looked_for_first_in_the_directories_that_are_named(etc: Path, tmp_path: Path) -> None:
    main = written(tmp_path / "main" / "glance-test.conf", name="main")
    for folder in (etc, tmp_path / "main"):
        (folder / "policy.yaml").write_text("{}")
    conf = load("--config-dir", str(etc), "--config-file", main)
    assert conf.find_file("policy.yaml") == str(etc / "policy.yaml")
    assert load("--config-file", main).find_file("policy.yaml") == str(tmp_path / "main" / "policy.yaml")


def test_policies_are_found_in_a_directory_whose_files_count_elsewhere(tmp_path: Path) -> None:
    main = written(tmp_path / "main" / "glance-test.conf", name="main")
    (tmp_path / "extra").mkdir()
    (tmp_path / "extra" / "link.conf").symlink_to(main)
    (tmp_path / "extra" / "policy.yaml").write_text("{}")
    conf = load("--config-dir", str(tmp_path / "extra"), "--config-file", main)
    assert conf.find_file("policy.yaml") == str(tmp_path / "extra" / "policy.yaml")
    assert conf.find_file("other.yaml") is None
