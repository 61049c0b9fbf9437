"""The command line: what is refused before anything runs."""

import threading

import pytest

from glance_scrubber import main as program
from glance_scrubber.main import main

pytestmark = pytest.mark.usefixtures("root_logger")


@pytest.fixture(autouse=True)
def heaps(monkeypatch):
    """Return how many threads there were each time that they were told to share heaps; this process keeps its own."""
    seen = []
    monkeypatch.setattr(program, "share_heaps", lambda: seen.append(threading.active_count()))
    return seen


@pytest.fixture
def run(tmp_path, capsys):
    """Run the program with these lines in its file; return exit code and what it wrote to stderr."""
    secret = tmp_path / "secret"
    secret.touch(mode=0o600)
    secret.write_text("s" * 64)
    (tmp_path / "images").mkdir()

    def call(*arguments, default="", store=f"filesystem_store_datadir = {tmp_path}/images", registry=None):
        path = tmp_path / "glance-scrubber.conf"
        path.write_text(
            f"[DEFAULT]\nregistry_port = 1\ntransport_url = filesystem://{tmp_path}/queue\n{default}\n"
            f"[registry]\ncontext_secret_file = {registry or secret}\n[glance_store]\nstores = file\n{store}\n"
        )
        code = main(["--config-file", str(path), *arguments])
        return code, capsys.readouterr().err

    return call


def test_a_good_configuration(run):
    assert run("--check-config") == (0, "")


def test_an_unknown_option_is_named_and_fails_the_check(run):
    code, text = run("--check-config", default="wakeup_tiem = 5")
    assert code == 1
    assert "did you mean wakeup_time?" in text


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"default": "wakeup_time = soon"}, "wakeup_time"),
        ({"default": "scrub_pool_size = 0"}, "scrub_pool_size"),
        ({"default": "transport_url = carrier://pigeon"}, "transport_url"),
        ({"store": "filesystem_store_file_perm = 9"}, "filesystem_store_file_perm"),
        ({"registry": "/nowhere/secret"}, "context_secret_file"),
    ],
)
def test_bad_values_end_with_error_and_name(run, options, expected):
    code, text = run(**options)
    assert code == 1
    assert text.startswith("ERROR: ")
    assert expected in text


def test_restore_and_daemon_are_refused_together(run):
    code, text = run("--daemon", "--restore", "11111111-1111-4111-8111-111111111111")
    assert code == 1
    assert "cannot be used together" in text


@pytest.mark.parametrize("arguments", [("--daemon",), ("--verify",), ()])
def test_threads_share_heaps_from_the_first_one_on(run, heaps, monkeypatch, arguments):
    before = threading.active_count()
    for work in ("run", "command"):
        monkeypatch.setattr(program, work, lambda *_: 7 if len(heaps) == 1 else 1)
    assert run(*arguments)[0] == 7
    assert heaps[0] <= before, "threads that run already have heaps"


def test_a_check_leaves_the_heaps_alone(run, heaps):
    assert run("--check-config")[0] == 0
    assert heaps == []


@pytest.mark.parametrize("arguments", [(), ("--restore", "11111111-1111-4111-8111-111111111111")])
def test_without_a_registry_nothing_can_be_done(run, arguments):
    code, text = run(*arguments)
    assert code == 1
    assert "ERROR: the registry does not answer" in text
