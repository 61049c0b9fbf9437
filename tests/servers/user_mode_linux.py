"""A Linux kernel as an ordinary process, for tests of what the kernel of this machine may not have.

Debian's package ``user-mode-linux`` has device mapper, iSCSI and SCSI disks as modules. Its root is the file system of
this machine, so programs and virtual environments are the same in it. ``/run`` and some folders of ``/etc`` are its
own. A machine is booted for one command, and halts after it.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from deploy.local import processes

_HERE = Path(__file__).parent
_FIRST = _HERE / "user_mode_linux_init"
_SHIM = _HERE / "register_shim.c"

_NEEDED = {
    "linux.uml": "user-mode-linux", "lvm": "lvm2", "tgtd": "tgt", "iscsid": "open-iscsi", "modprobe": "kmod",
    "udevadm": "udev", "gcc": "gcc", "ip": "iproute2",
}
"""Programs, and Debian's packages of them."""

_MEMORY = "3G"
_DISK = 64 << 30
"""Bytes of the disk for volumes, which is sparse."""


def run(folder: Path, command: Sequence[str | Path], environment: Mapping[str, str], seconds: float) -> tuple[int, str]:
    """Boot a machine, run a command in it, halt it; return the exit code and the output.

    ``folder`` is for its files. The command runs as root in the current folder of this process, and nothing else of
    this process but ``environment`` is passed on. Raises StartError when the machine does not boot, or does not end
    in time.
    """
    _require_programs()
    _build_shim(folder)
    with (folder / "disk").open("wb") as disk:
        disk.truncate(_DISK)
    lines = [f"export {name}={shlex.quote(value)}" for name, value in environment.items()]
    lines += [f"cd {shlex.quote(str(Path.cwd()))}", shlex.join(map(str, command))]
    (folder / "command").write_text("\n".join(lines) + "\n")
    console = folder / "console.log"
    with console.open("wb") as output:
        machine = processes.spawn(
            [
                "linux.uml", f"uml_dir={folder}/", "umid=machine", f"mem={_MEMORY}", "root=/dev/root",
                "rootfstype=hostfs", "rootflags=/", "rw", "quiet", f"ubd0={folder}/disk", "con0=null,fd:1", "con=null",
                "ssl=null", f"init={_FIRST}", f"FOLDER={folder}",
            ],
            output=output, env={"PATH": "/usr/bin:/bin", "LD_PRELOAD": str(folder / "shim.so")}, cwd=folder,
        )  # fmt: skip
    try:
        processes.wait_until(
            lambda: machine.poll() is not None, what="the end of the user-mode Linux", log=folder / "output",
            seconds=seconds,
        )
    finally:
        processes.stop(machine)
    code, output_of = folder / "code", folder / "output"
    if not code.exists():
        told = [*processes.last_lines(console), *processes.last_lines(folder / "init.log")]
        raise processes.StartError("the user-mode Linux did not run the command:\n" + "\n".join(told))
    return int(code.read_text()), output_of.read_text(errors="replace")


def _require_programs() -> None:
    path = "/usr/sbin:/sbin:/usr/bin:/bin"
    missing = [package for program, package in _NEEDED.items() if shutil.which(program, path=path) is None]
    if missing:
        raise processes.StartError(f"a user-mode Linux needs: apt-get install {' '.join(missing)}")


def _build_shim(folder: Path) -> None:
    command = ["gcc", "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o", str(folder / "shim.so"), str(_SHIM)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise processes.StartError(f"{_SHIM.name}: {done.stderr}")
