"""A real Cinder whose volumes are devices: logical volumes of LVM, which tgt exports by iSCSI.

Only a kernel with device mapper and SCSI has such: see ``user_mode_linux.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.servers.cinder import CinderServer

GROUP = "cinder-volumes"
"""The volume group, which the first program of the machine makes."""

_TARGETS = Path("/etc/tgt/conf.d/cinder.conf")


class LvmCinder(CinderServer):
    """A service with the volumes in the volume group of this machine."""

    backend = "lvm"

    def _prepare(self) -> None:
        # Where tgt-admin finds the targets that Cinder describes.
        _TARGETS.write_text(f"include {self._targets}/*\n")

    @property
    def _targets(self) -> Path:
        return self.folder / "state" / "volumes"

    def _backend_options(self) -> Mapping[str, object]:
        return {
            "volume_driver": "cinder.volume.drivers.lvm.LVMVolumeDriver", "volume_group": GROUP, "lvm_type": "default",
            "target_helper": "tgtadm", "target_protocol": "iscsi", "target_ip_address": "127.0.0.1",
            "volumes_dir": self._targets, "volume_clear": "none",
        }
