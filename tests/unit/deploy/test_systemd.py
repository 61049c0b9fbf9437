"""The systemd units: programs that exist, the promises about reload and stop, and systemd's own opinion."""

import configparser
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from glance_common.server import settings

CHECKOUT = Path(__file__).resolve().parents[3]
UNITS = CHECKOUT / "deploy" / "systemd"
PROGRAMS = "/opt/glance/bin/"
SERVICES = sorted(UNITS.glob("*.service"))
WEB_SERVICES = ["glance-api", "glance-registry"]
EXPOSURE = {
    "glance-api": 25, "glance-registry": 22, "glance-scrubber": 22, "glance-scrubber-cron": 22,
    "glance-cache-pruner": 22, "glance-cache-cleaner": 22,
}
"""The most that systemd may find, in tenths."""
HARDENING = {
    "User": "glance",
    "NoNewPrivileges": "yes",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "RestrictSUIDSGID": "yes",
    "CapabilityBoundingSet": "",
}


def unit(path):
    parsed = configparser.ConfigParser(strict=True, interpolation=None, delimiters=["="])
    parsed.optionxform = str  # systemd's names are case-sensitive
    assert parsed.read(path) == [str(path)]
    return parsed


def seconds(text):
    return {"s": 1, "min": 60}[re.sub(r"\d", "", text) or "s"] * int(re.sub(r"\D", "", text))


def console_scripts():
    setup = configparser.ConfigParser()
    setup.read(CHECKOUT / "setup.cfg")
    lines = setup["options.entry_points"]["console_scripts"].strip().splitlines()
    return {line.split("=")[0].strip() for line in lines}


def test_all_units_are_here():
    assert [path.name for path in SERVICES] == [
        "glance-api.service",
        "glance-cache-cleaner.service",
        "glance-cache-pruner.service",
        "glance-registry.service",
        "glance-scrubber-cron.service",
        "glance-scrubber.service",
    ]
    assert sorted(path.stem for path in UNITS.glob("*.timer")) == [
        "glance-cache-cleaner", "glance-cache-pruner", "glance-scrubber-cron",
    ]


@pytest.mark.parametrize("path", SERVICES, ids=lambda path: path.name)
def test_a_service_runs_a_program_that_the_project_installs(path):
    command = unit(path)["Service"]["ExecStart"].split()
    assert command[0].startswith(PROGRAMS)
    assert command[0].removeprefix(PROGRAMS) in console_scripts()


@pytest.mark.parametrize("path", SERVICES, ids=lambda path: path.name)
def test_a_service_is_hardened(path):
    service = unit(path)["Service"]
    assert {name: service[name] for name in HARDENING} == HARDENING


def test_s18_the_tools_of_imports_may_give_up_their_rights():
    allowed = unit(UNITS / "glance-api.service")["Service"]["SystemCallFilter"].split()
    assert {"landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"} <= set(allowed)


@pytest.mark.parametrize("path", SERVICES, ids=lambda path: path.name)
def test_every_writable_folder_is_made_by_tmpfiles(path):
    made = {line.split()[1] for line in (UNITS / "glance.tmpfiles").read_text().splitlines() if line.startswith("d ")}
    assert set(unit(path)["Service"]["ReadWritePaths"].split()) <= made


@pytest.mark.parametrize("name", WEB_SERVICES)
def test_a_stop_waits_longer_than_the_daemon_needs(name):
    options = {opt.name: opt for opt in settings._PROCESS_OPTS}
    clean_up = 10  # seconds after stop_timeout, as the option's help says
    service = unit(UNITS / f"{name}.service")["Service"]
    assert seconds(service["TimeoutStopSec"]) > options["stop_timeout"].default + clean_up
    # TERM to the workers too would end them before the master has told them to finish their requests.
    assert service["KillMode"] == "mixed"


@pytest.mark.parametrize("name", WEB_SERVICES)
def test_a_reload_is_a_hang_up_of_the_master(name):
    service = unit(UNITS / f"{name}.service")["Service"]
    assert service["ExecReload"] == "/bin/kill -HUP $MAINPID"


@pytest.mark.parametrize("name", [*WEB_SERVICES, "glance-scrubber"])
def test_a_start_is_over_when_the_daemon_says_so(name):
    assert unit(UNITS / f"{name}.service")["Service"]["Type"] == "notify"


def test_the_timer_starts_one_pass_and_never_two_at_once():
    assert unit(UNITS / "glance-scrubber-cron.service")["Service"]["Type"] == "oneshot"
    timer = unit(UNITS / "glance-scrubber-cron.timer")
    assert "OnUnitInactiveSec" in timer["Timer"]
    assert timer["Install"]["WantedBy"] == "timers.target"


@pytest.mark.parametrize("name", ["glance-cache-cleaner", "glance-cache-pruner"])
def test_cac07_cac08_timers_start_the_tools_of_the_cache(name):
    service = unit(UNITS / f"{name}.service")["Service"]
    assert (service["Type"], service["ExecStart"]) == ("oneshot", f"{PROGRAMS}{name}")
    timer = unit(UNITS / f"{name}.timer")
    assert {"OnUnitInactiveSec", "OnCalendar"} & set(timer["Timer"])
    assert timer["Install"]["WantedBy"] == "timers.target"


@pytest.fixture
def analyze(tmp_path):
    """A function that asks systemd-analyze about the units, which name programs that are there."""
    assert shutil.which("systemd-analyze"), "systemd-analyze is missing: apt-get install systemd"
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in console_scripts():
        (programs / name).symlink_to("/bin/true")
    for path in [*SERVICES, *UNITS.glob("*.timer")]:
        (tmp_path / path.name).write_text(path.read_text().replace(PROGRAMS, f"{programs}/"))

    def ask(*arguments):
        return subprocess.run(
            ["systemd-analyze", *arguments], cwd=tmp_path, env={**os.environ, "LC_ALL": "C.UTF-8"},
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    return ask


def test_systemd_accepts_the_units(analyze, tmp_path):
    verified = analyze("verify", *sorted(tmp_path.glob("glance-*")))
    # Older units of the machine itself may be complained about too.
    complaints = [line for line in verified.stderr.splitlines() if "glance" in line]
    assert (verified.returncode, complaints) == (0, [])


def test_systemd_complains_about_a_misspelled_option(analyze, tmp_path):
    path = tmp_path / "glance-api.service"
    path.write_text(path.read_text().replace("ProtectHome=", "ProtectHoem="))
    assert "'ProtectHoem'" in analyze("verify", path).stderr


@pytest.mark.parametrize("path", SERVICES, ids=lambda path: path.name)
def test_a_service_is_exposed_little(path, analyze, tmp_path):
    """Of at most 10.0; 10 has no protection at all. The API may make namespaces for the tools of imports."""
    judged = analyze("security", "--offline=true", f"--threshold={EXPOSURE[path.stem]}", tmp_path / path.name)
    assert judged.returncode == 0, judged.stdout
    assert f"Overall exposure level for {path.name}" in judged.stdout


def test_a_service_without_protection_is_found_out(analyze, tmp_path):
    path = tmp_path / "glance-registry.service"
    protections = ("SystemCall", "Protect", "Restrict")
    path.write_text("\n".join(line for line in path.read_text().splitlines() if not line.startswith(protections)))
    most = f"--threshold={EXPOSURE['glance-registry']}"
    assert analyze("security", "--offline=true", most, path).returncode != 0
