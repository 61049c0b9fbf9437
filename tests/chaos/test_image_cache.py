"""Workers are killed while they fill the image cache: every download that ends as complete is right, nothing stays."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from hashlib import sha256
from pathlib import Path

import pytest
import requests
from tests.support.deployment import Deployment
from tests.support.ledger import Ledger
from tests.support.raw_data import random_bytes
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(900)

MIB = 1024 * 1024
SIZE = 24 * MIB + 11
CLIENTS = 10
SECONDS = float(os.environ.get("GLANCE_CHAOS_SECONDS", "6"))
ROUNDS = 20
"""Kills at least, however short the budget is."""

FAILPOINTS = ["cache.fill.piece", "cache.fill.before-sync", "cache.fill.before-link", "cache.fill.after-link"]


@pytest.fixture(scope="module")
def running(make_deployment: Callable[..., Deployment], tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """Two workers with a cache."""
    folder = tmp_path_factory.mktemp("node") / "cache"
    return make_deployment(api={"DEFAULT": {"image_cache_dir": folder, "threads": 32, "image_cache_patience": 10}})


@pytest.fixture
def folder(deployment: Deployment) -> Path:
    """The directory of the cache, without what earlier tests left."""
    found = Path(str(deployment.api.options["DEFAULT"]["image_cache_dir"]))
    for path in found.iterdir():
        if len(path.name) == 36:
            path.unlink()
    return found


def images(deployment: Deployment, ledger: Ledger, count: int) -> dict[str, str]:
    """Make images; return their ids with the digests of their data."""
    client = deployment.client(ledger)
    made = {}
    for _ in range(count):
        data = random_bytes(SIZE)
        image = client.created()
        assert client.upload(image, data).status == 204
        made[image] = sha256(data).hexdigest()
    return made


def download(deployment: Deployment, image: str) -> str | None:
    """Return the digest of a download that ended as complete, None for one that broke off or was refused."""
    digest, size = sha256(), 0
    try:
        with requests.get(f"{deployment.api.url}/v2/images/{image}/file", stream=True, timeout=60) as answer:
            if answer.status_code != 200:
                assert answer.status_code == 503, answer.text
                return None
            for piece in answer.iter_content(256 * 1024):
                digest.update(piece)
                size += len(piece)
            announced = int(answer.headers["Content-Length"])
    except requests.RequestException:
        return None
    return digest.hexdigest() if size == announced else None


def settled(folder: Path) -> None:
    """Return when nothing is unfinished any more; the next look for what the dead left comes within a minute."""
    wait_for(lambda: not os.listdir(folder / "incomplete"), "the end of what is unfinished", 120)


def digest_of(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


def test_killed_in_the_middle_of_a_fill(deployment: Deployment, ledger: Ledger, folder: Path):
    for failpoint, (image, right) in zip(FAILPOINTS, images(deployment, ledger, len(FAILPOINTS)).items(), strict=True):
        deployment.api.arm(failpoint, "kill")
        with ThreadPoolExecutor(CLIENTS) as pool:
            ended = list(pool.map(download, [deployment] * CLIENTS, [image] * CLIENTS))
        deployment.api.wait_fired(failpoint)
        wait_for(lambda: len(deployment.api.workers()) == 2, "two workers")
        deployment.api.wait_ready()
        assert set(ended) <= {right, None}, failpoint
        assert download(deployment, image) == right, failpoint
        wait_for((folder / image).exists, f"the copy after {failpoint}")
        assert digest_of(folder / image) == right
    settled(folder)
    assert os.listdir(folder / "invalid") == []


def test_workers_are_killed_again_and_again(deployment: Deployment, ledger: Ledger, folder: Path):
    seed = int(os.environ.get("GLANCE_CHAOS_SEED", random.randrange(1 << 32)))
    choice = random.Random(seed)
    right = images(deployment, ledger, 3)
    complete = rounds = 0
    until = time.monotonic() + SECONDS
    with ThreadPoolExecutor(CLIENTS) as pool:
        while time.monotonic() < until or rounds < ROUNDS or not complete:
            rounds += 1
            for path in (folder / image for image in right):
                path.unlink(missing_ok=True)
            image = choice.choice(list(right))
            running = [pool.submit(download, deployment, image) for _ in range(CLIENTS)]
            time.sleep(choice.random() * 0.15)
            with suppress(ProcessLookupError):
                os.kill(choice.choice(wait_for(deployment.api.workers, "a worker")), signal.SIGKILL)
            ended = [each.result() for each in running]
            assert set(ended) <= {right[image], None}, f"GLANCE_CHAOS_SEED={seed}"
            complete += len(ended) - ended.count(None)
    deployment.api.wait_ready()
    settled(folder)
    for image, digest in right.items():
        assert wait_for(partial(download, deployment, image), "a download") == digest
        wait_for((folder / image).exists, "the copy")
        assert digest_of(folder / image) == digest
    assert os.listdir(folder / "invalid") == []
