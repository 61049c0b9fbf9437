"""glance-manage db load_metadefs, unload_metadefs, export_metadefs (tools section 3; TOO-02)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from tests.support.registry_rows import ADMIN

from glance_common.model.metadef import Namespace
from glance_registry.db.session import read
from glance_registry.manage import main
from glance_registry.metadefs import files, namespaces

Run = Callable[..., int]

OLD: dict[str, Any] = {
    "namespace": "OS::Test", "display_name": "old", "visibility": "public", "protected": True,
    "resource_type_associations": [{"name": "OS::Nova::Flavor", "prefix": "hw:"}],
    "properties": {"kept": {"title": "old", "type": "string"}, "both": {"title": "old", "type": "string"}},
    "objects": [{"name": "both", "description": "old", "required": ["p"],
                 "properties": {"p": {"title": "P", "type": "integer", "minimum": 0}}}],
    "tags": [{"name": "kept"}],
}
NEW: dict[str, Any] = {
    "namespace": "OS::Test", "display_name": "new", "owner": "somebody",
    "resource_type_associations": [
        {"name": "OS::Nova::Flavor", "prefix": "hw_"},
        {"name": "OS::Glance::Image", "properties_target": "image"},
    ],
    "properties": {"both": {"title": "new", "type": "number"}, "more": {"title": "new", "type": "string"}},
    "objects": [{"name": "both", "description": "new"}],
    "tags": [{"name": "more"}],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "metadefs"
    path.mkdir()
    return path


@pytest.fixture
def run(engine: sa.Engine, tmp_path: Path, folder: Path) -> Run:
    """glance-manage on the database of ``engine``."""
    path = tmp_path / "glance-manage.conf"
    url = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    path.write_text(f"[DEFAULT]\nmetadata_source_path = {folder}\n[database]\nconnection = {url}\n")
    return lambda *arguments: main.main(["--config-file", str(path), *map(str, arguments)])


def write(folder: Path, **documents: Any) -> None:
    for name, document in documents.items():
        text = document if isinstance(document, str | bytes) else json.dumps(document)
        (folder / f"{name}.json").write_bytes(text.encode() if isinstance(text, str) else text)


def show(engine: sa.Engine) -> Namespace:
    return Namespace.from_document(json.loads(read(engine, namespaces.get, ADMIN, "OS::Test")))


def all_names(engine: sa.Engine) -> list[str]:
    return [document["namespace"] for document in read(engine, files.export)]


@pytest.mark.parametrize("command", [("db", "load_metadefs"), ("db_load_metadefs",)])
def test_too02_files_of_a_directory_are_loaded_and_what_exists_is_skipped(
    engine: sa.Engine, run: Run, folder: Path, command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    write(folder, a=OLD, b={"namespace": "Other"})
    (folder / "readme.txt").write_text("not a definition")
    assert run(*command) == 0
    assert capsys.readouterr().out.count(": loaded") == 2
    first = show(engine)
    assert (first.display_name, first.protected, first.owner) == ("old", True, None)
    write(folder, a=NEW)
    assert run(*command, folder) == 0
    assert capsys.readouterr().out.count("skipped") == 2
    assert run(*command, "--path", folder / "a.json") == 0
    assert show(engine) == first


@pytest.mark.parametrize(("flags", "expected"), [
    (["--merge"], ("old", "public", {"kept": "old", "both": "old", "more": "new"}, "old", "hw:", ["kept", "more"])),
    (["--merge", "--prefer_new"],
     ("new", "public", {"kept": "old", "both": "new", "more": "new"}, "new", "hw_", ["kept", "more"])),
    (["--merge", "--overwrite"], ("new", "private", {"both": "new", "more": "new"}, "new", "hw_", ["more"])),
])
@pytest.mark.parametrize("as_words", [False, True])
def test_too02_what_merging_does(
    engine: sa.Engine, run: Run, folder: Path, flags: list[str], expected: tuple[Any, ...], as_words: bool
) -> None:
    write(folder, a=OLD)
    assert run("db", "load_metadefs") == 0
    write(folder, a=NEW)
    words = [str(f"--{mode}" in flags) for mode in ("merge", "prefer_new", "overwrite")]
    assert run("db_load_metadefs", folder, *(words if as_words else flags)) == 0
    found = show(engine)
    assert (
        found.display_name,
        found.visibility,
        {each.name: each.definition["title"] for each in found.properties},
        found.objects[0].description,
        found.associations[0].prefix,
        [each.name for each in found.tags],
    ) == expected
    assert [each.name for each in found.associations] == ["OS::Nova::Flavor", "OS::Glance::Image"]


@pytest.mark.parametrize("flags", [["--prefer_new"], ["--overwrite"], ["--merge", "--prefer_new", "--overwrite"]])
def test_contradicting_ways_to_merge_are_refused(
    engine: sa.Engine, run: Run, folder: Path, flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    write(folder, a=OLD)
    assert run("db", "load_metadefs", *flags) == 1
    assert "prefer_new and overwrite" in capsys.readouterr().err
    assert all_names(engine) == []


@pytest.mark.parametrize(("content", "said"), [
    ('{"namespace": "Broken",\n "tags": [', r"not JSON: .*line 2"),
    ("[]", "must be a JSON object"),
    ({"display_name": "x"}, "'namespace' is a required property"),
    ({"namespace": "Broken", "properties": {"p": {"title": "x", "type": "text"}}}, r"properties.p.type: 'text'"),
    ({"namespace": "Broken", "properties": {"p": {"title": "x", "type": "string", "pattern": "[a-"}}},
     r"properties.p.pattern: '\[a-' is not a 'regex'"),
    ({"namespace": "Broken", "properties": {"p": {"title": "x", "type": "string", "pattern": "(?a)(?u)a"}}},
     "properties.p.pattern: .* is not a 'regex'"),
    *(('{"namespace": "Broken", "properties": {"p": {"title": "x", "type": "array", "default": ' + "[" * deep
       + "0" + "]" * deep + "}}}", "more than 16 objects and arrays within each other") for deep in (17, 250, 1_000)),
    ({"namespace": "Broken", "tags": [{"name": "t"}, {"name": "t"}]}, "tag t is given more than once"),
    ({"namespace": "Broken", "tags": [{"name": "t\0"}]}, "NUL"),
    ("[" * 10_000, "not JSON"),
    ('{"namespace": "Broken", "properties": {"p": {"title": "x", "type": "array", "default": ' + "[" * 10_000
     + "]" * 10_000 + "}}}", "not JSON"),
    (b'{"namespace": "caf\xe9"}', "UTF-8"),
    ({"namespace": "n" * 300}, "namespace: longer than 80 characters"),
    ({"namespace": "a/b"}, "namespace: .* does not match"),
    ({"namespace": ".."}, "namespace: .* does not match"),
    ({"namespace": "Broken", "tags": [{"name": "."}]}, r"tags\[0\].name: .* does not match"),
])
@pytest.mark.parametrize("flags", [[], ["--merge", "--overwrite"]])
def test_too02_nothing_of_a_broken_file_is_loaded_and_one_line_says_where(
    engine: sa.Engine, run: Run, folder: Path, content: Any, said: str, flags: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    write(folder, a=OLD, m=content, z={"namespace": "Last"})
    assert run("db", "load_metadefs", *flags) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("ERROR: ")
    assert str(folder / "m.json") in line
    assert re.search(said, line)
    assert len(line) < 600
    assert all_names(engine) == ["Last", "OS::Test"]


def test_a_place_without_files_is_an_error(run: Run, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (folder, folder / "missing"):
        assert run("db", "load_metadefs", path) == 1
        assert f"{path}: no *.json file" in capsys.readouterr().err
    assert run("db", "export_metadefs", folder / "missing") == 1
    assert "is not a directory" in capsys.readouterr().err


def test_too02_what_fits_no_file_name_holds_up_no_other_export(
    run: Run, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = "\U0001f600" * 63
    write(folder, a={"namespace": "\x01first"}, b={"namespace": long}, c={"namespace": "\U0001f600last"})
    assert run("db", "load_metadefs") == 0
    assert run("db", "export_metadefs", tmp_path) == 1
    assert f"ERROR: {long}.json: longer than the name of a file can be" in capsys.readouterr().err
    assert {path.name for path in tmp_path.glob("*.json")} == {"\x01first.json", "\U0001f600last.json"}


@pytest.mark.parametrize("old_form", [False, True])
def test_too02_export_unload_and_load_again(
    engine: sa.Engine, run: Run, folder: Path, tmp_path: Path, old_form: bool
) -> None:
    def db(command: str, *more: Any) -> int:
        return run(*([f"db_{command}"] if old_form else ["db", command]), *more)

    write(folder, a=OLD, b={"namespace": "Other", "tags": [{"name": "z"}, {"name": "a"}]}, c={"namespace": "Bare"})
    assert db("load_metadefs") == 0
    exported = tmp_path / "exported"
    exported.mkdir()
    (exported / "OS::Test.json").write_text("stale")
    assert db("export_metadefs", "--path", exported) == 0
    assert sorted(path.name for path in exported.iterdir()) == ["Bare.json", "OS::Test.json", "Other.json"]
    assert json.loads((exported / "OS::Test.json").read_text()) == OLD
    before = list(read(engine, files.export))
    assert db("unload_metadefs") == 0
    assert all_names(engine) == []
    with engine.begin() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM metadef_resource_types")).scalar_one() == 0
    assert db("load_metadefs", exported) == 0
    assert list(read(engine, files.export)) == before
