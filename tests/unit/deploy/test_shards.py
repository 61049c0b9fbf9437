"""The shards of deploy/test, with small scripts in place of pytest."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from deploy import shards
from deploy.local import processes

CHECKOUT = Path(__file__).resolve().parents[3]
RUNNER = """
import sys
from deploy import shards
sys.exit(shards.run({name: [script] for name, script in zip(sys.argv[1::2], sys.argv[2::2])}, ["sh", "-c"], 2))
"""
GOOD = "echo 'tests/a.py::test_one PASSED [100%]'; echo '===== 2 passed, 1 skipped in 0.10s ====='"


@pytest.fixture
def start(tmp_path):
    """A function that starts a run of shards, each a shell script, with its temporary files in ``tmp_path``."""
    started = []

    def begin(**scripts):
        pairs = [word for pair in scripts.items() for word in pair]
        env = {"TMPDIR": str(tmp_path), "PATH": "/usr/bin:/bin"}
        process = subprocess.Popen(
            [sys.executable, "-c", RUNNER, *pairs], cwd=CHECKOUT, env=env,
            start_new_session=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        processes.signal_group(process, signal.SIGKILL)
        process.communicate()


@pytest.fixture
def run(start):
    """A function that runs shards to their end and returns exit code and output."""

    def to_the_end(**scripts):
        process = start(**scripts)
        said, _ = process.communicate(timeout=60)
        return process.returncode, said

    return to_the_end


def test_results_are_summed_and_the_logs_go(run, tmp_path):
    code, said = run(one=GOOD, two=GOOD)
    assert code == 0
    assert re.fullmatch(r"4 passed, 2 skipped in \d+\.\d\ds", said.splitlines()[-1])
    assert list(tmp_path.iterdir()) == []


def test_what_storms_report_is_shown_although_all_passed(run):
    code, said = run(one=f"echo 'storm: GLANCE_CHAOS_SEED=1200, 0 violations'; {GOOD}", two=GOOD)
    assert code == 0
    assert said.splitlines()[-4] == "storm: GLANCE_CHAOS_SEED=1200, 0 violations"


def test_the_shards_run_at_the_same_time(run, tmp_path):
    """Each waits for what the other one makes."""
    meet = "touch {0}/{1}; until [ -e {0}/{2} ]; do sleep 0.05; done;" + GOOD
    code, _ = run(one=meet.format(tmp_path, "a", "b"), two=meet.format(tmp_path, "b", "a"))
    assert code == 0


def test_no_more_than_two_at_once_and_the_next_follows_the_first_that_ends(run, tmp_path):
    """The first lasts until the third has run; the third looks for the second."""
    last = f"until [ -e {tmp_path}/three ]; do sleep 0.05; done; {GOOD}"
    next_to_it = f"touch {tmp_path}/two; sleep 0.5; rm {tmp_path}/two; {GOOD}"
    third = f"[ -e {tmp_path}/two ] && exit 1; touch {tmp_path}/three; {GOOD}"
    code, said = run(one=last, two=next_to_it, three=third)
    assert code == 0, said
    steps = re.findall(r"^shard (\w+ (?:started|ended))", said, re.MULTILINE)
    assert steps[:4] == ["one started", "two started", "two ended", "three started"]
    assert sorted(steps[4:]) == ["one ended", "three ended"]


@pytest.mark.parametrize("bad", ["one", "two"])
def test_a_failure_in_any_shard_fails_the_run_and_is_shown(bad, run):
    script = (
        "echo 'Using --randomly-seed=77'; echo 'tests/a.py::test_bad[x y] FAILED   [ 50%]'; echo 'the traceback';"
        "echo '= 1 failed, 2 passed, 1 error in 1.00s ='; exit 1"
    )
    code, said = run(**{"one": GOOD, "two": GOOD, bad: script})
    assert code == 1
    assert f"{bad}: tests/a.py::test_bad[x y] FAILED   [ 50%]" in said
    assert f"== shard {bad} FAILED (exit code 1) Using --randomly-seed=77" in said
    assert "the traceback" in said
    assert said.splitlines()[-2].startswith("1 error, 1 failed, 4 passed, 1 skipped in ")
    log = Path(re.search(rf"\S+/{bad}\.log", said)[0])
    assert "the traceback" in log.read_text()


def test_a_killed_shard_is_a_failure(run):
    code, said = run(one=GOOD, two=f"{GOOD}; kill -KILL $$")
    assert code == 1
    assert "shard two FAILED (killed by signal 9)" in said


def test_a_shard_that_says_nothing_is_a_failure(run):
    code, said = run(one=GOOD, two="exit 0")
    assert code == 1
    assert "shard two FAILED (no result)" in said


def test_skips_are_listed_with_their_reason(run):
    _, said = run(one=f"echo 'SKIPPED [1] tests/a.py:1: no kernel for it'; {GOOD}")
    assert "SKIPPED [1] tests/a.py:1: no kernel for it" in said.splitlines()


def test_the_slowest_tests_of_all_shards_come_in_one_order(run):
    slow = "for s in {}; do echo \"$s.00s call     tests/a.py::test_$s\"; done;" + GOOD
    _, said = run(one=slow.format("9 5"), two=slow.format("17 8"))
    assert re.findall(r"^(\d+)\.00s call     tests/", said, re.MULTILINE) == ["17", "9", "8", "5"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_lets_every_shard_clean_up_once_and_ends_the_run(number, start, tmp_path):
    """Ctrl-C reaches the whole foreground group, TERM only the run."""
    script = 'trap "echo cleaned >>{0}/{1}; exit 2" INT; echo $$ >{0}/{1}; while :; do sleep 0.05; done'
    never = f"touch {tmp_path}/never; {GOOD}"
    process = start(one=script.format(tmp_path, "one.txt"), two=script.format(tmp_path, "two.txt"), three=never)
    files = [tmp_path / "one.txt", tmp_path / "two.txt"]
    for file in files:
        processes.wait_until(lambda file=file: file.exists() and file.read_text(), what="a shard", process=process)
    if number == signal.SIGINT:
        processes.signal_group(process, number)
    else:
        process.send_signal(number)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + number, said
    assert "The end of its log" not in said
    assert not (tmp_path / "never").exists()
    for file in files:
        pid, *words = file.read_text().split()
        assert words == ["cleaned"]
        assert not processes.is_running(int(pid))


def test_a_shard_that_does_not_end_is_killed_at_the_third_interrupt(start, tmp_path):
    heard = tmp_path / "heard"
    process = start(one=f"trap 'echo INT >>{heard}' INT; trap 'echo TERM >>{heard}' TERM; echo $$ >>{heard};"
                        "while :; do sleep 0.05; done")
    for words in ([], ["INT"], ["INT", "TERM"]):
        processes.wait_until(
            lambda words=words: heard.exists() and heard.read_text().split()[1:] == words and heard.stat().st_size,
            what=f"the shard after {words}", process=process,
        )
        process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT
    assert not processes.is_running(int(heard.read_text().split()[0]))


def test_the_tables_hold_every_folder_of_tests_once():
    paths = [path for row in shards.ALL.values() for path in row]
    folders = {f"tests/{path.parent.relative_to(CHECKOUT / 'tests').parts[0]}"
               for path in (CHECKOUT / "tests").glob("*/**/test_*.py")}
    assert sorted(paths) == sorted(folders - {"tests/benchmarks"})
    quick = [path for row in shards.QUICK.values() for path in row]
    assert sorted(quick) == ["tests/contract", "tests/house", "tests/unit"]


def test_pytest_reports_as_the_shards_read_it(tmp_path):
    """Real pytest, so that a change of its words is noticed."""
    (tmp_path / "test_some.py").write_text(
        "import pytest\ndef test_good(): pass\ndef test_bad(): assert 0\n"
        "@pytest.mark.skip(reason='why')\ndef test_left(): pass\n"
        "@pytest.fixture\ndef broken(): raise OSError\ndef test_broken(broken): pass\n"
    )
    log = tmp_path / "one.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "pytest", "-v", "-ra", "--durations=2", "--durations-min=0", "--color=yes", "tests"],
            cwd=_beside(tmp_path), stdout=output, stderr=subprocess.STDOUT,
        )
        process.wait(120)
    shard = shards.Shard(log, process)
    assert sorted(re.sub(r" .*", "", line) for line in shard.news()) == [
        "tests/test_some.py::test_bad", "tests/test_some.py::test_broken",
    ]
    assert (shard.percent, shard.verdict) == (100, "exit code 1")
    assert shard.result == "1 failed, 1 passed, 1 skipped, 1 error"
    assert shard.seed.startswith("Using --randomly-seed=")
    assert len(shard.skipped) == 1
    assert len(shard.durations) == 2
    assert shard.news() == []


def _beside(folder):
    """Return a folder in which ``tests`` is this one."""
    place = folder / "place"
    place.mkdir()
    (place / "tests").mkdir()
    (folder / "test_some.py").rename(place / "tests" / "test_some.py")
    (place / "tox.ini").write_text("[pytest]\n")
    return place
