"""Nova's image code and its RBD disks against an image service whose data are in the same Ceph cluster.

Runs in the environment ``nova`` with Ceph's own modules; the argument is a JSON document with what the test knows.
Prints JSON: what each step returned, or the name of the error that Nova made of the answer.
"""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import nova.conf
from nova import context as contexts
from nova import exception, objects
from nova.image import glance
from nova.storage import rbd_utils
from nova.virt.libvirt import imagebackend

GIVEN = json.loads(sys.argv[1])
DATA = Path(GIVEN["data"]).read_bytes()
TARGET = Path(GIVEN["target"])
WRITTEN = b"of the guest"
FORMATS = {"disk_format": "raw", "container_format": "bare"}


def caller(who):
    """Return the context of a request of this user, as the middleware before Nova's API makes it."""
    return contexts.RequestContext(
        user_id=who["user"], project_id=who["project"], auth_token=who["token"], roles=who["roles"],
        service_catalog=[],
    )  # fmt: skip


def new_disk():
    """Return the disk of a new server."""
    return imagebackend.Rbd(instance=SimpleNamespace(uuid=str(uuid4())), disk_name="disk")


def read(driver, name, pool=None):
    """Return what is on a disk."""
    with rbd_utils.RBDVolumeProxy(driver, name, pool=pool, read_only=True) as volume:
        return volume.read(0, volume.size())


def downloads(images, me):
    """Download to a file; with the option for it, Nova takes the data from the pool."""
    images.download(me, GIVEN["image"], dest_path=str(TARGET))
    return {
        "locations": [place["url"] for place in images.get(me, GIVEN["image"], include_locations=True)["locations"]],
        "downloaded": TARGET.read_bytes() == DATA,
    }


def boots(images, me):
    """Make the disk of a server as a clone of the image, and see it outlive the image."""
    disk = new_disk()
    disk.clone(me, GIVEN["image"])
    cloned = read(disk.driver, disk.rbd_name) == DATA
    parent = disk.driver.parent_info(disk.rbd_name)
    with rbd_utils.RBDVolumeProxy(disk.driver, disk.rbd_name) as volume:
        volume.write(WRITTEN, 0)
    snapshot = shoot(images, me, disk)
    images.delete(me, GIVEN["image"])
    after = read(disk.driver, disk.rbd_name) == WRITTEN + DATA[len(WRITTEN) :]
    disk.driver.remove_image(disk.rbd_name)
    return {"cloned": cloned, "parent": parent, "snapshot": snapshot, "after": after}


def shoot(images, me, disk):
    """Snapshot a server: into the pool of its image, without the image service moving a byte."""
    snapshot = images.create(me, {"name": "snapshot", "properties": {"image_type": "snapshot"}, **FORMATS})["id"]
    url = disk.direct_snapshot(me, "of-the-disk", "raw", snapshot, GIVEN["image"])
    metadata = {"name": "snapshot", "location": url, "properties": {"image_location": "snapshot"}, **FORMATS}
    images.update(me, snapshot, metadata, purge_props=False)
    shown = images.get(me, snapshot)
    return {"id": snapshot, "url": url, "status": shown["status"], "size": shown["size"]}


def copies(images, me):
    """Boot from an image that is in another store: Nova has it copied into the pool, then clones."""
    disk, admin = new_disk(), caller(GIVEN["admin"])
    disk.clone(admin, GIVEN["elsewhere"])
    found = {
        "parent": disk.driver.parent_info(disk.rbd_name)[1], "data": read(disk.driver, disk.rbd_name) == DATA,
        "stores": images.get(me, GIVEN["elsewhere"])["stores"],
    }  # fmt: skip
    disk.driver.remove_image(disk.rbd_name)
    return found


def not_raw(images, me):
    """Say what Nova makes of an image that cannot be cloned."""
    try:
        new_disk().clone(me, GIVEN["qcow2"])
    except exception.ImageUnacceptable as error:
        return str(error)
    return "no error"


def main():
    """Do all of it."""
    nova.conf.CONF([], project="nova", default_config_files=[GIVEN["configuration"]])
    objects.register_all()
    images, me = glance.API(), caller(GIVEN["demo"])
    found = {step.__name__: step(images, me) for step in (downloads, copies, not_raw, boots)}
    print(json.dumps(found))  # noqa: T201 - it speaks to the test that started it


if __name__ == "__main__":
    main()
