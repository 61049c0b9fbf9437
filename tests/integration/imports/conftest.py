"""A work folder, and files made by the real tools."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from glance_api.imports.contract import Work
from glance_api.imports.sandbox import Limits

LIMITS = Limits(cpu=60, memory=1 << 30, file_size=64 << 20, timeout=60.0)


@pytest.fixture
def work(tmp_path: Path) -> Work:
    folder = tmp_path / "work"
    folder.mkdir()
    return Work(folder, lambda: None)


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
