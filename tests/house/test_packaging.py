"""What setup.cfg says about the packages is what the folders hold, and a wheel has every module."""

import configparser
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("api", "registry", "scrubber", "common")


def modules():
    for source in SOURCES:
        for path in (ROOT / source).rglob("*.py"):
            yield path.relative_to(ROOT / source)


def test_the_package_list_is_complete():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    listed = setup["options"]["packages"].split()
    assert listed == sorted(set(listed), key=listed.index), "a package is listed twice"
    assert set(listed) == {str(path.parent).replace("/", ".") for path in modules()}


def test_every_folder_of_modules_is_a_package():
    missing = {path.parent for path in modules() if path.with_name("__init__.py") not in set(modules())}
    assert missing == set()


def test_a_wheel_contains_every_module(tmp_path):
    # From a copy, because a build leaves its own folder behind and would ship deleted modules from it next time.
    source = tmp_path / "source"
    subprocess.run(["git", "-C", ROOT, "checkout-index", "-a", f"--prefix={source}/"], check=True)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(tmp_path), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    tracked = subprocess.run(["git", "-C", ROOT, "ls-files", *SOURCES], check=True, capture_output=True, text=True)
    expected = {name.partition("/")[2] for name in tracked.stdout.split() if "egg-info" not in name}
    assert expected <= set(zipfile.ZipFile(wheel).namelist())
