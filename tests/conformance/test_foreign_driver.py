"""The example of docs/stores/writing-a-driver.md: a driver of another package, found by its entry point."""

import os
import re
import subprocess
import sys
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "stores" / "writing-a-driver.md").read_text()
DRIVER, SUITE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
FIXTURE = '''
from oslo_config import cfg
from glance_common.config import loading
from glance_common.stores import loader

class Identities:
    def __init__(self):
        self.table = {}
    def known(self, store, place):
        return self.table.get((store, place))
    def register(self, store, place, identity):
        return self.table.setdefault((store, place), identity)

@pytest.fixture
def make_folder_store(tmp_path):
    def make():
        folder = tmp_path / "data"
        folder.mkdir()
        (tmp_path / "glance.conf").write_text(
            f"[DEFAULT]\\nenabled_backends = mine:folder\\n[glance_store]\\ndefault_backend = mine\\n"
            f"[mine]\\nfolder_store_path = {folder}\\n"
        )
        conf = cfg.ConfigOpts()
        loading.register(conf, loader.list_opts())
        conf(["--config-file", str(tmp_path / "glance.conf")], project="glance", default_config_dirs=[])
        store = loader.load_stores(conf, Identities()).default
        while hasattr(store, "inner"):
            store = store.inner
        assert type(store).__module__ == "folder_store"
        return store
    return make
'''


def test_the_example_is_short():
    assert len(DRIVER.splitlines()) < 100


def test_the_loader_finds_it_and_it_passes_the_suite(tmp_path: Path):
    package = tmp_path / "package"
    facts = package / "folder_store-1.0.dist-info"
    facts.mkdir(parents=True)
    (package / "folder_store.py").write_text(DRIVER)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: folder-store\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[glance_services.stores]\nfolder = folder_store:FolderStore\n")
    tests = tmp_path / "tests"
    tests.mkdir()
    (tests / "test_folder.py").write_text(SUITE + FIXTURE)
    environ = {**os.environ, "PYTHONPATH": str(package), "HOME": str(tmp_path)}
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "-p", "no:cacheprovider", str(tests)],
        cwd=tests, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr
    assert int(re.findall(r"(\d+) passed", ran.stdout)[0]) >= 80
