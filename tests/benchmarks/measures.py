"""What is measured, in which unit, and what it has to be."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks import cpu
from tests.benchmarks.endpoint import Endpoint, in_threads

GB = 1e9


@dataclass(frozen=True, slots=True)
class Load:
    """How much of everything: seconds of each measure of requests, and the file to upload."""

    seconds: int
    payload: Path


@dataclass(frozen=True, slots=True)
class Reading:
    """One measurement: units a second (more is better), and the processor seconds that a unit cost the servers."""

    rate: float
    spent: float


Run = Callable[[Endpoint, Load], tuple[float, float]]
"""Does it and returns how many units were done, and how many a second."""


@dataclass(frozen=True, slots=True)
class Measure:
    """``unit`` is what rates count; ``per`` the amount, in that unit, that processor time is told for.

    ``least`` is the budget: ours over the better of the original; ``sha256`` the one of an API that hashes so.
    """

    name: str
    unit: str
    per: str
    run: Run
    least: float | None = None
    sha256: float | None = None

    @property
    def is_upload(self) -> bool:
        return self.name.startswith("upload")

    @property
    def is_download(self) -> bool:
        return self.name.startswith("download")

    def take(self, endpoint: Endpoint, load: Load) -> Reading:
        """Measure once. The processor time is that of the endpoint's processes, and nobody else's."""
        if self.is_download:
            # Whose file the kernel still has in memory is chance, and would be all that is measured.
            _download(endpoint, load)
        before = cpu.seconds(endpoint.pids)
        units, rate = self.run(endpoint, load)
        reading = Reading(rate, (cpu.seconds(endpoint.pids) - before) / units)
        endpoint.remove_uploads()
        return reading


def _asking(path: str, connections: int = 8, longer: int = 1) -> Run:
    def run(endpoint: Endpoint, load: Load) -> tuple[float, float]:
        seconds = load.seconds * longer
        while not (done := endpoint.wrk(path.format(image=endpoint.made[0]), seconds, connections))[0]:
            # So slow a service has to be given more time to be measured at all.
            seconds *= 2
        return done

    return run


def _create_delete(endpoint: Endpoint, load: Load) -> tuple[float, float]:
    done: list[str] = []
    began = time.monotonic()

    def work() -> None:
        connection = endpoint.connect()
        while time.monotonic() < began + load.seconds:
            image = endpoint.create(connection)
            endpoint.call(connection, "DELETE", f"/v2/images/{image}")
            done.append(image)

    in_threads(4, work)
    return len(done), len(done) / (time.monotonic() - began)


def _uploading(streams: int) -> Run:
    def run(endpoint: Endpoint, load: Load) -> tuple[float, float]:
        began = time.monotonic()
        in_threads(streams, lambda: endpoint.upload(load.payload))
        amount = streams * load.payload.stat().st_size / GB
        return amount, amount * 1000 / (time.monotonic() - began)

    return run


def _downloading(streams: int) -> Run:
    """One download is over in a fraction of a second, which any hiccup of the machine would decide: so repeat it."""

    def run(endpoint: Endpoint, load: Load) -> tuple[float, float]:
        moved: list[float] = []
        began = time.monotonic()

        def work() -> None:
            while time.monotonic() < began + load.seconds:
                moved.append(_download(endpoint, load))

        in_threads(streams, work)
        return sum(moved), sum(moved) * 1000 / (time.monotonic() - began)

    return run


def _download(endpoint: Endpoint, load: Load) -> float:
    """Return how many GB came."""
    assert endpoint.stored is not None, "there is something to download"
    size = load.payload.stat().st_size
    endpoint.download(endpoint.stored, size)
    return size / GB


NOTHING_FOUND = "/v2/images?limit=25&name=none-such&sort=name:asc,created_at:desc"

MEASURES = (
    Measure("show", "requests/s", "request", _asking("/v2/images/{image}"), least=3),
    Measure("list of 25", "requests/s", "request", _asking("/v2/images?limit=25"), least=4),
    Measure("list of 1000", "requests/s", "request", _asking("/v2/images?limit=1000", longer=5), least=20),
    Measure("filtered list that finds nothing", "requests/s", "request", _asking(NOTHING_FOUND), least=4),
    Measure("list by property", "requests/s", "request", _asking("/v2/images?limit=25&os_distro=bench7", 4), least=4),
    Measure("create + delete", "cycles/s", "cycle", _create_delete, least=5),
    Measure("upload, 1 stream", "MB/s", "GB", _uploading(1), least=1.6, sha256=2.5),
    Measure("upload, 4 streams", "MB/s", "GB", _uploading(4), least=1.2, sha256=1.6),
    Measure("download, 1 stream", "MB/s", "GB", _downloading(1)),
    Measure("download, 4 streams", "MB/s", "GB", _downloading(4)),
)
