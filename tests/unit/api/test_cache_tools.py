"""The tools that work on the directory of the cache, in this process: what they refuse and what they print."""

from collections.abc import Callable
from pathlib import Path

import pytest

from glance_api.cache.layout import CacheLayout
from glance_api.cache.locks import Locks
from glance_api.cache_tools import cleaner, prefetcher, pruner
from glance_api.cache_tools.fetch_line import fetch_line

MAINS = {"pruner": pruner.main, "cleaner": cleaner.main, "prefetcher": prefetcher.main}
NUMBERS = {"pruner": 0, "cleaner": 1, "prefetcher": 2}
ID = "11111111-1111-4111-8111-111111111111"
OTHER = "22222222-2222-4222-8222-222222222222"

Run = Callable[..., tuple[int, str, str]]


pytestmark = pytest.mark.usefixtures("root_logger")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def run(tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a tool with these lines in both files; return exit code, output and errors."""
    secret = tmp_path / "secret"
    secret.touch(mode=0o600)
    secret.write_text("s" * 64)
    etc = tmp_path / "etc"
    etc.mkdir()
    monkeypatch.setenv("OS_GLANCE_CONFIG_DIR", str(etc))

    def call(tool: str, *arguments: str, cache: str | None = None, api: str = "") -> tuple[int, str, str]:
        (etc / "glance-api.conf").write_text(
            f"[DEFAULT]\nregistry_port = 1\n{api}\n[registry]\ncontext_secret_file = {secret}\n"
        )
        text = f"image_cache_dir = {folder}" if cache is None else cache
        (etc / "glance-cache.conf").write_text(f"[DEFAULT]\n{text}\n")
        code = MAINS[tool](arguments)
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


@pytest.mark.parametrize(
    ("tool", "said"),
    [("pruner", "Pruned 0 images, 0 bytes.\n"), ("cleaner", "Removed 0 damaged or unfinished copies.\n"),
     ("prefetcher", "Fetched 0 images.\n")],
)
def test_an_empty_cache(run: Run, folder: Path, tool: str, said: str):
    code, output, errors = run(tool)
    assert (code, output) == (0, said), errors
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == ["incomplete", "invalid", "queue"]


def test_cac07_cac08_what_is_too_much_and_what_is_damaged_goes(run: Run, folder: Path):
    run("cleaner")
    (folder / ID).write_bytes(bytes(8192))
    (folder / "invalid" / OTHER).write_bytes(b"damaged")
    (folder / "invalid" / "note.txt").write_text("of an operator")
    assert run("cleaner")[:2] == (0, "Removed 1 damaged or unfinished copies.\n")
    small = f"image_cache_dir = {folder}\nimage_cache_max_size = 4096"
    assert run("pruner", cache=small)[:2] == (0, "Pruned 1 images, 8192 bytes.\n")
    assert not (folder / ID).exists()
    assert (folder / "invalid" / "note.txt").exists()


def test_cac05_glance_cache_conf_wins_over_glance_api_conf(run: Run, folder: Path, tmp_path: Path):
    assert run("pruner", api=f"image_cache_dir = {tmp_path}/other")[0] == 0
    assert folder.exists()
    assert not (tmp_path / "other").exists()
    assert run("pruner", api=f"image_cache_dir = {tmp_path}/other", cache="")[0] == 0
    assert (tmp_path / "other").exists()


def test_the_log_goes_to_the_terminal_not_to_the_file_of_the_api(run: Run, tmp_path: Path):
    code, _, errors = run("pruner", api=f"log_file = {tmp_path}/api.log")
    assert code == 0
    assert "image cache in" in errors
    assert not (tmp_path / "api.log").exists()
    for number, api in enumerate(("", f"log_file = {tmp_path}/api.log\nlog_dir = {tmp_path}")):
        own = tmp_path / f"own-{number}.log"
        code, _, errors = run("pruner", "--log-file", str(own), api=api)
        assert (code, errors) == (0, "")
        assert "image cache in" in own.read_text()
        assert not (tmp_path / "api.log").exists()


@pytest.mark.parametrize("tool", MAINS)
def test_one_process_of_a_tool_at_a_time(run: Run, folder: Path, tool: str):
    run("cleaner")
    (folder / "queue" / ID).touch()
    (folder / "invalid" / ID).touch()
    lock = Locks(str(folder / ".glance-cache")).tool(NUMBERS[tool])
    assert lock is not None
    try:
        assert run(tool)[:2] == (0, f"Another glance-cache-{tool} works on {folder}.\n")
    finally:
        lock.close()
    assert (folder / "queue" / ID).exists()
    assert (folder / "invalid" / ID).exists()


@pytest.mark.parametrize("tool", MAINS)
@pytest.mark.parametrize(
    ("cache", "words"),
    [
        ("", "image_cache_dir = None: must name"),
        ("image_cache_dir = relative", "must be an absolute path"),
        ("image_cache_dir = /dev/null/cache", "cannot be used"),
        ("image_cache_dir = /nowhere/at/all", "No such file"),
        ("image_cache_max_size = much", "image_cache_max_size = much: must be a number"),
        ("image_cache_max_size = -1", "image_cache_max_size = -1: must be a number"),
        ("image_cache_driver = paper", "must be one of sqlite"),
        ("image_cache_sqlite_db = ../x\nimage_cache_dir = /tmp/x", "must be a name without a path"),
    ],
)
def test_what_a_tool_cannot_work_on(run: Run, tool: str, cache: str, words: str):
    code, output, errors = run(tool, cache=cache)
    assert (code, output) == (1, "")
    assert words in errors
    assert "ERROR: " in errors
    assert "Traceback" not in errors


def test_the_directory_of_another_node_is_left_alone(run: Run, folder: Path):
    run("cleaner")
    (folder / "invalid" / ID).touch()
    lock, _ = Locks(str(folder / ".glance-cache")).node("http://another")
    assert lock is not None
    try:
        code, _, errors = run("cleaner")
    finally:
        lock.close()
    assert code == 1
    assert "belongs to the node http://another" in errors
    assert (folder / "invalid" / ID).exists()


def test_the_prefetcher_without_a_registry(run: Run, folder: Path):
    run("cleaner")
    (folder / "queue" / ID).touch()
    (folder / "queue" / "note.txt").touch()
    code, output, errors = run("prefetcher")
    assert (code, output) == (1, "Fetched 0 images, 1 could not be fetched.\n")
    assert "registry" in errors
    assert (folder / "queue" / ID).exists()


def test_the_configuration_is_checked(run: Run, folder: Path):
    assert run("pruner", "--check-config")[0] == 0
    assert not folder.exists()
    code, _, errors = run("pruner", "--check-config", cache=f"image_cache_dir = {folder}\nimage_cache_max_sise = 1")
    assert code == 1
    assert "did you mean image_cache_max_size?" in errors


def test_a_tool_explains_its_options_those_of_stores_too(run: Run, folder: Path):
    stores = "enabled_backends = fast:file\n[glance_store]\ndefault_backend = fast\n[fast]\n"
    code, output, _ = run("pruner", "--check-config", "--explain", api=f"{stores}filesystem_store_datadir = /there")
    assert code == 0
    assert f"[DEFAULT] image_cache_dir = {folder}  (" in output
    assert "[fast] filesystem_store_datadir = /there  (" in output


def test_what_is_told_of_a_fetch(folder: Path):
    folder.mkdir()
    layout = CacheLayout(str(folder))
    assert fetch_line(layout, ID) == f"{ID}: waiting"
    layout.prepare()
    descriptor = layout.create_incomplete(ID, 4 * 1024 * 1024)
    with open(descriptor, "wb") as file:
        file.write(bytes(1024 * 1024))
        file.flush()
        told = fetch_line(layout, ID)
    assert told.startswith(f"{ID}: 1.0 MiB")
