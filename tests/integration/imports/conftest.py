"""A work folder, the room in it, a sandbox of each kind, and files made by the real tools."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from glance_api.imports import tools
from glance_api.imports.contract import Work
from glance_api.imports.sandbox import Sandbox, ToolLimits
from glance_common.model.errors import TooLarge

LIMITS = ToolLimits(cpu=60, memory=1 << 30, file_size=64 << 20, timeout=60.0)


class Budget:
    """Room for ``most`` bytes; fulfils ``contract.Room``."""

    def __init__(self, most: int | None = None) -> None:
        self.most = most
        self.covered: list[int] = []

    def cover(self, size: int, *, wait: bool = True) -> None:
        if self.most is not None and size > self.most:
            raise TooLarge(f"quota is exceeded: the limit is {self.most} bytes", limit="quota")
        self.covered.append(size)

    def left(self) -> int | None:
        return self.most


@pytest.fixture
def room() -> Budget:
    """Room without an end; set ``most`` for an end."""
    return Budget()


@pytest.fixture
def work(tmp_path: Path, room: Budget) -> Work:
    folder = tmp_path / "work"
    folder.mkdir()
    return Work(folder, lambda: None, room)


def sandbox(limits: ToolLimits = LIMITS, confinement: str = "auto") -> Sandbox:
    """Return a sandbox with the strongest confinement of this machine, or with that one."""
    return Sandbox(limits, tools.choose(confinement))


@pytest.fixture
def qemu_img(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that makes an image: its format, options of qemu-img, and bytes that the disk begins with."""

    def make(disk_format: str, *options: str, content: bytes = b"", size: str = "8M") -> Path:
        raw, path = tmp_path / "source.raw", tmp_path / f"image.{disk_format}"
        raw.write_bytes(content)
        run("qemu-img", "resize", "-q", "-f", "raw", str(raw), size)
        run("qemu-img", "convert", "-f", "raw", "-O", disk_format, *options, str(raw), str(path))
        return path

    return make


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
