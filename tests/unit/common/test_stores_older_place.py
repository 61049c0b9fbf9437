"""Options of stores in [DEFAULT] of older files: they count alone, or not at all."""

from pathlib import Path
from typing import Any

import pytest
from oslo_config import cfg
from tests.support.stores import MemoryIdentities, bare

from glance_common.config import loading
from glance_common.config.findings import explained, findings, report
from glance_common.config.loading import ConfigError
from glance_common.stores import loader
from glance_common.stores.contract import Store

TABLE = [*loading.list_opts(), *loader.list_opts()]


def configured(folder: Path, *texts: str, table: loading.OptionTable = TABLE) -> cfg.ConfigOpts:
    """Return the options of files with these texts; the last one wins."""
    arguments = []
    for number, text in enumerate(texts):
        path = folder / f"{number}.conf"
        path.write_text(text)
        arguments += ["--config-file", str(path)]
    return loading.load("glance-test", [*arguments, "--check-config", "--explain"], table)


def stores_of(conf: cfg.ConfigOpts) -> loader.Stores:
    return loader.load_stores(conf, MemoryIdentities())


def directories(store: Store) -> list[tuple[str, int]]:
    inner: Any = bare(store)
    return [(place.path, place.priority) for place in inner._options.directories]


def unused(folder: Path, *names: str, number: int = 0) -> list[str]:
    """Return the sentences about names in [DEFAULT] of a file."""
    return [f"{folder}/{number}.conf: [DEFAULT] {name} has no effect: [glance_store] is used" for name in names]


def said(conf: cfg.ConfigOpts) -> list[str]:
    assert not any(finding.is_wrong for finding in findings(conf, TABLE))
    return [finding.text for finding in findings(conf, TABLE)]


def test_older_files_have_them_in_default(tmp_path: Path):
    conf = configured(
        tmp_path,
        "[DEFAULT]\nfilesystem_store_datadir = /old\nknown_stores = glance.store.filesystem.Store\n[glance_store]\n",
    )
    stores = stores_of(conf)
    assert stores.ids == ("file",)
    assert directories(stores.default) == [("/old", 0)]
    assert said(conf) == []
    assert f"[glance_store] filesystem_store_datadir = /old  ({tmp_path}/0.conf)" in explained(conf, TABLE)


def test_older_files_may_be_several(tmp_path: Path):
    first = "[DEFAULT]\nfilesystem_store_datadirs = /a:1\n"
    conf = configured(tmp_path, first, "[DEFAULT]\nfilesystem_store_datadirs = /b:2\n")
    assert directories(stores_of(conf).default) == [("/b", 2), ("/a", 1)]


def test_explain_names_the_file_that_has_the_older_place(tmp_path: Path):
    conf = configured(tmp_path, "[DEFAULT]\nfilesystem_store_datadir = /old\n", "[DEFAULT]\ndebug = true\n")
    assert f"[glance_store] filesystem_store_datadir = /old  ({tmp_path}/0.conf)" in explained(conf, TABLE)


@pytest.mark.parametrize(
    ("older", "own", "expected"),
    [
        ("/a:1", ["/a:1", "/b:2"], [("/b", 2), ("/a", 1)]),
        ("/old:500", ["/new:100"], [("/new", 100)]),
    ],
)
def test_what_may_be_repeated_is_not_added_up(
    tmp_path: Path, older: str, own: list[str], expected: list[tuple[str, int]]
):
    lines = "\n".join(f"filesystem_store_datadirs = {each}" for each in own)
    conf = configured(tmp_path, f"[DEFAULT]\nfilesystem_store_datadirs = {older}\n[glance_store]\n{lines}\n")
    assert directories(stores_of(conf).default) == expected
    assert said(conf) == unused(tmp_path, "filesystem_store_datadirs")
    [line] = [line for line in explained(conf, TABLE) if line.startswith("[glance_store] filesystem_store_datadirs ")]
    assert line == f"[glance_store] filesystem_store_datadirs = {own}  ({tmp_path}/0.conf)"


def test_a_name_that_excludes_one_of_the_section_does_not_stop_the_start(tmp_path: Path):
    conf = configured(
        tmp_path, "[DEFAULT]\nfilesystem_store_datadir = /old\n[glance_store]\nfilesystem_store_datadirs = /new:1\n"
    )
    assert directories(stores_of(conf).default) == [("/new", 1)]
    assert said(conf) == unused(tmp_path, "filesystem_store_datadir")
    assert "[glance_store] filesystem_store_datadir = /var/lib/glance/images  (default)" in explained(conf, TABLE)


@pytest.mark.parametrize("section", ["glance_store", "GLANCE_STORE"])
def test_a_later_file_does_not_win_over_the_section(tmp_path: Path, section: str):
    own = f"[{section}]\nfilesystem_store_datadir = /new\nstores = file\n"
    conf = configured(tmp_path, own, "[DEFAULT]\nfilesystem_store_datadir = /old\nknown_stores = http, file\n")
    stores = stores_of(conf)
    assert stores.ids == ("file",)
    assert directories(stores.default) == [("/new", 0)]
    names = [text for text in (each.text for each in findings(conf, TABLE)) if "[DEFAULT]" in text]
    assert names == unused(tmp_path, "filesystem_store_datadir", "known_stores", number=1)


@pytest.mark.parametrize("line", ["default_store = file", "rbd_store_pool = images", "default_backend = fast"])
def test_a_forgotten_line_does_not_move_the_store(
    tmp_path: Path, line: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
):
    conf = configured(tmp_path, f"[DEFAULT]\nfilesystem_store_datadir = /old\n[glance_store]\n{line}\n")
    default = conf.glance_store.filesystem_store_datadir
    assert directories(stores_of(conf).default) == [("/var/lib/glance/images", 0)]
    assert report(conf, TABLE), "such a line is no mistake that --check-config fails for"
    assert [text for text in caplog.messages if "has no effect" in text] == unused(tmp_path, "filesystem_store_datadir")
    assert not any("Deprecated" in text and "datadir" in text for text in caplog.messages)
    assert f"[glance_store] filesystem_store_datadir = {default}  (default)" in capsys.readouterr().out


def test_a_store_by_id_has_nothing_of_default(tmp_path: Path):
    text = "enabled_backends = fast:file\n[glance_store]\ndefault_backend = fast\n[fast]\n"
    own = "filesystem_store_datadirs = /fast:1\n"
    conf = configured(tmp_path, f"[DEFAULT]\nfilesystem_store_datadirs = /old:5\n{text}{own}")
    assert directories(stores_of(conf).default) == [("/fast", 1)]
    found = findings(conf, [*TABLE, *loader.store_opts(conf)])
    assert [each.text for each in found] == unused(tmp_path, "filesystem_store_datadirs")


def test_a_program_without_stores_says_the_same(tmp_path: Path):
    text = "[DEFAULT]\nfilesystem_store_datadir = /old\n[glance_store]\nfilesystem_store_datadir = /new\n"
    conf = configured(tmp_path, text, table=loading.list_opts())
    older, own = (each.text for each in findings(conf, loading.list_opts()))
    assert [older] == unused(tmp_path, "filesystem_store_datadir")
    assert "glance-api" in own


def test_a_bad_value_is_told_with_the_place_where_it_stands(tmp_path: Path):
    text = "[DEFAULT]\nrbd_store_chunk_size = much\n"
    with pytest.raises(ConfigError, match=r"0\.conf: \[DEFAULT\] rbd_store_chunk_size = much: "):
        configured(tmp_path, text)
    conf = configured(tmp_path, f"{text}[glance_store]\nstores = file\n")
    assert said(conf) == unused(tmp_path, "rbd_store_chunk_size")
