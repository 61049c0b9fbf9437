"""glance-cache-prefetcher, -pruner and -cleaner as processes, beside a glance-api that uses the same directory."""

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from deploy.local import configuration
from deploy.local.configuration import Options
from tests.e2e.calls import Caller
from tests.support.daemons import PROGRAMS, Services
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(600)

ABSENT = "11111111-1111-4111-8111-111111111111"
DATA = bytes(range(256)) * 1024
OTHER_USER = 65534


@dataclass
class Host:
    """A host with glance-api, whose workers fetch nothing by themselves, and with the files of the tools."""

    services: Services
    directory: Path
    etc: Path
    admin: Caller

    def run(
        self, tool: str, *arguments: str, options: Options | None = None, read: str = "glance-api"
    ) -> subprocess.CompletedProcess[str]:
        """Run a tool with these options in glance-cache.conf, read after the file of ``read``."""
        shutil.rmtree(self.etc, ignore_errors=True)
        configuration.write(self.etc, "glance-cache", options or {})
        if read:
            shutil.copy(self.services.api.folder / "etc" / f"{read}.conf", self.etc)
        return subprocess.run(
            [PROGRAMS / f"glance-cache-{tool}", *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL,
            env={**self.services.api.environment(), "OS_GLANCE_CONFIG_DIR": str(self.etc)}, timeout=120, check=False,
        )

    def queue(self, *images: str) -> None:
        """Queue images through the API."""
        for image in images:
            self.admin.call("PUT", f"/v2/queued_images/{image}", 200)

    def state(self) -> tuple[list[str], list[str]]:
        """Return the ids of the copies and of the queue."""
        document = self.admin.call("GET", "/v2/cache", 200).json()
        return [image["image_id"] for image in document["cached_images"]], document["queued_images"]


@pytest.fixture(scope="module")
def services(deploy: Callable[..., Services], tmp_path_factory: pytest.TempPathFactory) -> Services:
    """The three daemons without Keystone."""
    folder = tmp_path_factory.mktemp("host") / "cache"
    return deploy(api={
        "DEFAULT": {"image_cache_dir": folder, "image_cache_prefetch_workers": 0},
        "paste_deploy": {"flavor": "cachemanagement"},
    })


@pytest.fixture
def host(services: Services, tmp_path: Path) -> Host:
    """The host with an empty cache."""
    made = Host(
        services, Path(str(services.api.options["DEFAULT"]["image_cache_dir"])), tmp_path / "etc",
        Caller(services.api.url),
    )
    made.admin.call("DELETE", "/v2/cache", 204)
    return made


def test_cac09_the_prefetcher_fetches_what_is_queued(host: Host):
    first, second = host.admin.uploaded(DATA), host.admin.uploaded(DATA[1:])
    host.queue(first, second)
    done = host.run("prefetcher")
    assert (done.returncode, done.stdout) == (0, "Fetched 2 images.\n"), done.stderr
    assert host.state() == (sorted([first, second]), [])
    assert (host.directory / second).read_bytes() == DATA[1:]
    # The log comes here, wherever that of glance-api goes.
    assert f"image {first} is in the cache" in done.stderr
    assert "\r" not in done.stderr  # no terminal, no progress


def test_cac09_what_cannot_be_fetched_stays_queued_and_the_rest_comes(host: Host):
    lost, good = host.admin.uploaded(DATA), host.admin.uploaded(DATA[2:])
    (host.services.images / lost).unlink()
    host.queue(lost, ABSENT, good)
    done = host.run("prefetcher")
    assert (done.returncode, done.stdout) == (1, "Fetched 1 images, 1 could not be fetched.\n"), done.stderr
    assert host.state() == ([good], [lost])  # an image that is gone leaves the queue
    assert f"image {lost}" in done.stderr
    assert "Traceback" not in done.stderr


def test_cac05_a_glance_cache_conf_of_an_old_guide_is_enough(host: Host):
    image = host.admin.uploaded(DATA[3:])
    host.queue(image)
    own, registry = host.services.api.options["DEFAULT"], host.services.api.options["registry"]
    options: Options = {
        "DEFAULT": {
            "image_cache_dir": host.directory, "image_cache_max_size": 10 * 1024**3, "image_cache_stall_time": 86400,
            "registry_host": "127.0.0.1", "registry_port": own["registry_port"], "admin_user": "glance",
            "admin_password": "hush-hush", "admin_tenant_name": "service", "auth_url": "http://127.0.0.1:1/v2.0",
            "filesystem_store_datadir": host.services.images,
        },
        "registry": registry,
    }
    done = host.run("prefetcher", options=options, read="")
    assert (done.returncode, done.stdout) == (0, "Fetched 1 images.\n"), done.stderr
    assert (host.directory / image).read_bytes() == DATA[3:]
    for name in ("admin_user", "admin_password", "admin_tenant_name", "auth_url"):
        assert f"[DEFAULT] {name} has no effect" in done.stderr
    assert "[DEFAULT] filesystem_store_datadir has no effect" not in done.stderr
    assert "hush-hush" not in done.stderr
    both = {"DEFAULT": {**options["DEFAULT"], "filesystem_store_datadir": None,
                        "filesystem_store_datadirs": [f"{host.services.images}:10"]}, "registry": registry}
    host.admin.call("DELETE", "/v2/cache", 204)
    host.queue(image)
    assert host.run("prefetcher", options=both, read="").stdout == "Fetched 1 images.\n"


def test_cac07_the_pruner_keeps_what_was_used_last(host: Host):
    images = [host.admin.uploaded(DATA[number:]) for number in (4, 5, 6)]
    host.queue(*images)
    assert host.run("prefetcher").returncode == 0
    for number, image in enumerate(images):
        os.utime(host.directory / image, (1000 + number, 2000))
    assert host.admin.download(images[0]) == DATA[4:]  # is used now
    small: Options = {"DEFAULT": {"image_cache_max_size": 2 * len(DATA)}}
    done = host.run("pruner", options=small)
    assert (done.returncode, done.stdout) == (0, f"Pruned 1 images, {len(DATA) - 5} bytes.\n"), done.stderr
    assert host.state()[0] == sorted([images[0], images[2]])
    assert host.run("pruner", options=small).stdout == "Pruned 0 images, 0 bytes.\n"


def test_cac08_the_cleaner_removes_damaged_and_stalled_copies(host: Host):
    image = host.admin.uploaded(DATA[7:])
    host.queue(image)
    assert host.run("prefetcher").returncode == 0
    (host.directory / "invalid" / ABSENT).write_bytes(b"damaged")
    (host.directory / "incomplete" / ABSENT).write_bytes(b"half")
    done = host.run("cleaner")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Removed ")
    assert not list((host.directory / "invalid").iterdir())
    # The workers of glance-api look for what dead processes left, too.
    wait_for(lambda: not list((host.directory / "incomplete").iterdir()))
    assert host.state() == ([image], [])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a tool as another user")
def test_root_works_as_the_owner_of_the_directory(host: Host, data_dir: Path):
    """Otherwise glance-api could not read what root has fetched."""
    data_dir.mkdir()
    os.chown(data_dir, OTHER_USER, OTHER_USER)
    done = host.run("cleaner", options={"DEFAULT": {"image_cache_dir": data_dir}})
    assert (done.returncode, done.stdout) == (0, "Removed 0 damaged or unfinished copies.\n"), done.stderr
    made = [data_dir / name for name in (".glance-cache", "incomplete", "queue", "invalid")]
    assert {(path.stat().st_uid, path.stat().st_gid) for path in made} == {(OTHER_USER, OTHER_USER)}
