"""Options, URLs, and runs of the program of the sheepdog store; its work is tested in tests/conformance."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from tests.support.stores import MemoryIdentities, bare, load
from tests.support.waiting import wait_for

from glance_common.config.loading import ConfigError
from glance_common.stores.contract import StoreFull, StoreUnavailable
from glance_common.stores.drivers.sheepdog.cluster import Cluster, ListedVdi
from glance_common.stores.drivers.sheepdog.driver import SheepdogStore
from glance_common.stores.drivers.sheepdog.place import SheepdogPlace
from glance_common.stores.drivers.sheepdog.program import Run, VdiExists, VdiMissing
from glance_common.stores.settings import StoreConfigError

KEY = "11111111-1111-4111-8111-111111111111"
PATIENT = 60.0


def program(folder: Path, text: str) -> str:
    """Return a program that the shell runs."""
    path = folder / "dog"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def store(folder: Path, **options: object) -> SheepdogStore:
    options = {"sheepdog_store_program": program(folder, "exit 1"), **options}
    groups: dict[str, dict[str, object]] = {
        "DEFAULT": {"enabled_backends": "main:sheepdog"}, "glance_store": {"default_backend": "main"}, "main": options,
    }
    made = bare(load(folder, groups, MemoryIdentities()).default)
    assert isinstance(made, SheepdogStore)
    return made


def output(folder: Path, text: str, seconds: float = PATIENT, data: bytes = b"") -> bytes:
    """Return what a run of this program prints."""
    with Run([program(folder, text), "vdi", "read"], seconds, data) as run:
        return b"".join(run.pieces())


# Options


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("node-1.example.org", "sheepdog://node-1.example.org:7000"), ("Node_1", "sheepdog://node_1:7000"),
        ("10.0.0.1", "sheepdog://10.0.0.1:7000"), ("fd00:0::1", "sheepdog://fd00::1:7000"),
    ],
)
def test_addresses(tmp_path: Path, address: str, place: str):
    made = store(tmp_path, sheepdog_store_address=address)
    assert made.url(KEY) == f"{place}:{KEY}"
    assert made.key_of(made.url(KEY)) == KEY


@pytest.mark.parametrize(
    "address",
    [
        "", "-a", "--help", "-1.2.3.4", "a;id", "a b", "$(id)", "`id`", "a|b", "a/b", "a:7000", "10.0.0.256", "1.2.3",
        "a..b", "a-", "[::1]", "a\\n", "é.example.org", "a" * 64, ".".join(["a" * 60] * 5),
    ],
)
def test_s07_an_address_that_is_none_stops_the_start(tmp_path: Path, address: str):
    with pytest.raises(StoreConfigError, match=r"sheepdog_store_address = .*must be a host name or an IP address"):
        store(tmp_path, sheepdog_store_address=address)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("sheepdog_store_port", "0"), ("sheepdog_store_port", "65536"), ("sheepdog_store_port", "7000;id"),
        ("sheepdog_store_port", "-1"), ("sheepdog_store_chunk_size", "0"), ("sheepdog_store_chunk_size", "1025"),
        ("sheepdog_store_timeout", "0"), ("sheepdog_store_timeout", "soon"),
    ],
)
def test_s07_numbers_out_of_their_range_stop_the_start(tmp_path: Path, option: str, value: str):
    with pytest.raises(ConfigError, match=rf"\[main\] {option} = {value}"):
        store(tmp_path, **{option: value})


@pytest.mark.parametrize("name", ["", "-dog", "dog -x", "../dog", "./dog", "dog;id", "bin/dog"])
def test_a_name_that_is_none_of_a_program_stops_the_start(tmp_path: Path, name: str):
    with pytest.raises(StoreConfigError, match="must be the name of a program or an absolute path"):
        store(tmp_path, sheepdog_store_program=name)


@pytest.mark.parametrize("name", ["dog-that-is-not-installed", "/usr/sbin/dog-that-is-not-installed", "/etc/passwd"])
def test_a_missing_program_stops_the_start_and_names_the_package(tmp_path: Path, name: str):
    with pytest.raises(StoreConfigError, match="is no program here: install the package sheepdog"):
        store(tmp_path, sheepdog_store_program=name)


def test_two_stores_of_one_cluster_stop_the_start(tmp_path: Path):
    groups: dict[str, dict[str, object]] = {
        "DEFAULT": {"enabled_backends": "one:sheepdog, two:sheepdog"}, "glance_store": {"default_backend": "one"},
        "one": {"sheepdog_store_address": "Node1"}, "two": {"sheepdog_store_address": "node1"},
    }
    with pytest.raises(StoreConfigError, match=r"sheepdog_store_address = .*is already used by the store one"):
        load(tmp_path, groups)


# URLs


@pytest.mark.parametrize(
    "url", [f"sheepdog://{KEY}", f"sheepdog://node:7000:{KEY}", f"sheepdog://NODE:7000:{KEY}.3", f"sheepdog://node:07000:{KEY}"]
)
def test_older_forms_of_urls(tmp_path: Path, url: str):
    assert store(tmp_path, sheepdog_store_address="node").key_of(url) == url.rpartition(":")[2].removeprefix("//")


@pytest.mark.parametrize(
    "url",
    [
        f"sheepdog://other:7000:{KEY}", f"sheepdog://node:7001:{KEY}", "sheepdog://node:7000:image;id", "sheepdog://",
        f"sheepdog://node:7000:{KEY};id", f"sheepdog://node;id:7000:{KEY}", f"sheepdog://node:7000;id:{KEY}",
        f"sheepdog://node:{KEY}", f"sheepdog://a:node:7000:{KEY}", f"sheepdog://-a:7000:{KEY}", f"sheepdog://:7000:{KEY}",
        f"sheepdog://node::{KEY}", f"sheepdog://node:7000:{KEY}\n", f"sheepdog://node:७०००:{KEY}", f"SHEEPDOG://{KEY}",
        f"sheepdog://user@node:7000:{KEY}", f"sheepdog:{KEY}", f"sheepdog://node:7000/{KEY}",
    ],
)
def test_s07_other_urls_are_none_of_its_own(tmp_path: Path, url: str):
    assert store(tmp_path, sheepdog_store_address="node").key_of(url) is None


# Runs


def test_s07_arguments_pass_no_shell(tmp_path: Path):
    path = tmp_path / "dog"
    path.write_text("#!/usr/bin/env python3\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\n")
    path.chmod(0o755)
    words = ["vdi", "read", "a b", "$(id)", "`id`", "';id", "\\", "*"]
    with Run([str(path), *words], PATIENT) as run:
        assert json.loads(b"".join(run.pieces())) == words


def test_the_environment_is_the_path_and_the_language_of_c(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OS_PASSWORD", "s3cret")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    found = dict(line.split("=", 1) for line in output(tmp_path, "exec /usr/bin/env").decode().splitlines())
    found.pop("PWD")  # the shell's own
    assert found == {"PATH": os.environ["PATH"], "LC_ALL": "C"}


@pytest.mark.parametrize("text", ["sleep 600", "sleep 600 & echo $! >&2; sleep 600", "exec >&- 2>&-; sleep 600"])
def test_a_program_that_hangs_is_killed_with_its_children(tmp_path: Path, text: str):
    run = Run([program(tmp_path, text), "vdi", "read"], 0.5)
    began = time.monotonic()
    with run, pytest.raises(StoreUnavailable, match=r"dog vdi read has not ended within 0\.5 seconds and was killed"):
        list(run.pieces())
    assert time.monotonic() - began < PATIENT
    wait_for(lambda: group_is_gone(run._process.pid), "the end of the process group")


def group_is_gone(group: int) -> bool:
    """Say whether no process of the group runs; the dead ones that init has not buried yet do not count."""
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, number = entry.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(number) == group and state != "Z":
            return False
    return True


def test_a_program_whose_child_keeps_the_output_open_is_killed(tmp_path: Path):
    run = Run([program(tmp_path, "sleep 600 &"), "vdi", "read"], 0.5)
    with run, pytest.raises(StoreUnavailable, match="has not ended"):
        list(run.pieces())
    wait_for(lambda: group_is_gone(run._process.pid), "the end of the process group")


def test_output_that_trickles_ends_at_the_deadline_of_the_whole_run(tmp_path: Path):
    with pytest.raises(StoreUnavailable, match="has not ended"):
        output(tmp_path, "while :; do echo x; sleep 0.05; done", seconds=1)


def test_a_program_that_takes_no_input_ends_at_the_deadline(tmp_path: Path):
    with pytest.raises(StoreUnavailable, match="has not ended"):
        output(tmp_path, "sleep 600", seconds=0.5, data=bytes(2**20))


def test_the_time_of_a_slow_reader_does_not_count(tmp_path: Path):
    with Run([program(tmp_path, "head -c 3000000 /dev/zero"), "vdi", "read"], PATIENT) as run:
        pieces = run.pieces()
        size = len(next(pieces))
        before = run._left
        time.sleep(0.3)
        assert run._left == before
        assert size + sum(map(len, pieces)) == 3_000_000


def test_output_has_a_bound(tmp_path: Path):
    cluster = Cluster(program(tmp_path, "exec cat /dev/zero"), SheepdogPlace("node", 7000), PATIENT)
    with pytest.raises(StoreUnavailable, match="dog printed more than"):
        cluster.vdis()


def test_a_text_without_end_on_stderr_takes_no_memory(tmp_path: Path):
    with pytest.raises(StoreUnavailable) as caught:
        output(tmp_path, "head -c 50000000 /dev/zero >&2; exit 1")
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("text", "expected", "told"),
    [
        ("exit 1", StoreUnavailable, "ended with 1: it did not say why"),
        ("kill -9 $$", StoreUnavailable, "ended with -9"),
        ("echo 'failed to connect to 10.0.0.1:7000: Connection refused' >&2", StoreUnavailable, "Connection refused"),
        ("echo 'Failed to open VDI x: No VDI found' >&2", VdiMissing, "ended with 0"),
        ("echo 'Failed to open VDI x: Failed to find requested tag' >&2; exit 1", VdiMissing, "requested tag"),
        ("echo 'Failed to create VDI x: VDI exists already' >&2; exit 1", VdiExists, "exists already"),
        ("echo 'Failed to write: Server has no space for new objects' >&2; exit 1", StoreFull, "no space"),
        ("echo 'New VDI size is too large.' >&2; exit 64", StoreFull, "too large"),
        ("echo 'Failed to create VDI x: Maximum number of VDIs reached' >&2; exit 1", StoreFull, "Maximum"),
        ("printf 'a\\033[2Jb\\nc\\377' >&2; exit 2", StoreUnavailable, "ended with 2: a \\[2Jb c"),
    ],
)
def test_what_an_end_means(tmp_path: Path, text: str, expected: type[Exception], told: str):
    with pytest.raises(StoreUnavailable if issubclass(expected, StoreUnavailable) else expected, match=told) as caught:
        output(tmp_path, text)
    assert type(caught.value) is expected


def test_a_program_that_goes_away_later_is_told(tmp_path: Path):
    made = store(tmp_path)
    (tmp_path / "dog").unlink()
    with pytest.raises(StoreUnavailable, match=r"there is no program .*: install the package sheepdog"):
        made.check()
    (tmp_path / "dog").write_text("")
    with pytest.raises(StoreUnavailable, match="cannot be run: Permission denied"):
        made.check()


# Lists


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("= t1 0 52428800 54525952 0 1795225919 6a5e16 2  22", ListedVdi("t1", None, 52428800, 1795225919, (2, 1))),
        ("c t1 0 5 0 0 7 6a5e16 3  22", ListedVdi("t1", None, 5, 7, (3, 1))),
        ("s a\\ b\\\\ 12 5 0 0 7 6a 4:2 my tag 22", ListedVdi("a b\\", "my tag", 5, 7, (6, 4))),
        ("s t1 1 5 0 0 7 6a 2 3 4 5 22", ListedVdi("t1", "3 4 5", 5, 7, (2, 1))),
    ],
)
def test_lines_of_a_list(tmp_path: Path, line: str, expected: ListedVdi):
    path = program(tmp_path, f"cat <<'END'\n{line}\nEND")
    assert Cluster(path, SheepdogPlace("node", 7000), PATIENT).vdis() == [expected]


@pytest.mark.parametrize("text", ["", "echo Total 1 2 3", "echo Total 1 2 -3 4% 5", "echo 0 1 2 3 4%"])
def test_a_free_space_that_is_not_told(tmp_path: Path, text: str):
    with pytest.raises(StoreUnavailable, match="does not tell the free space"):
        Cluster(program(tmp_path, text), SheepdogPlace("node", 7000), PATIENT).free()


def test_free_space_is_that_of_all_nodes(tmp_path: Path):
    path = program(tmp_path, "echo 0 1000 100 900 10%; echo Total 2000 200 1800 10% 50")
    assert Cluster(path, SheepdogPlace("node", 7000), PATIENT).free() == 1800
