"""The daemons' own log files (ARC-24)."""

import subprocess
from pathlib import Path

import pytest
from tests.support.daemons import PROGRAMS


@pytest.mark.parametrize("program", ["glance-api", "glance-registry", "glance-scrubber"])
def test_arc24_a_daemon_names_its_log_after_itself(tmp_path: Path, program: str):
    secret, logs, images = tmp_path / "secret", tmp_path / "log", tmp_path / "images"
    secret.touch(mode=0o600)
    secret.write_text("s" * 64)
    logs.mkdir()
    images.mkdir()
    configuration = tmp_path / f"{program}.conf"
    configuration.write_text(
        f"[DEFAULT]\nlog_dir = {logs}\ntransport_url = filesystem://{tmp_path}/queue\nno_such_option = 1\n"
        f"[registry]\ncontext_secret_file = {secret}\n[database]\nconnection = postgresql://nobody@127.0.0.1:1/none\n"
        f"[glance_store]\nstores = file\nfilesystem_store_datadir = {images}\n"
    )
    command = [PROGRAMS / program, "--config-file", configuration, "--check-config"]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 1, "an option that is not known"
    assert [path.name for path in logs.iterdir()] == [f"{program}.log"]
    assert "no_such_option is not a known option" in (logs / f"{program}.log").read_text()
