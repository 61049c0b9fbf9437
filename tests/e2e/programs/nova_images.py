"""Nova's image code against an image service, with the calls of its compute API and its hypervisor drivers.

Runs in the environment ``nova``; the argument is a JSON document with what the test knows. Prints JSON: what each step
returned, or the name of the error that Nova made of the answer.
"""

import io
import json
import sys
import time
from pathlib import Path

import nova.conf
from nova import context as contexts
from nova import objects
from nova.image import glance

GIVEN = json.loads(sys.argv[1])
DATA = Path(GIVEN["data"]).read_bytes()
TARGET = Path(GIVEN["target"])
FORMATS = {"disk_format": "raw", "container_format": "bare"}
SHOWN = ("id", "name", "status", "size", "checksum", "min_disk", "min_ram", "properties", "disk_format", "owner")


def caller(who):
    """Return the context of a request of this user, as the middleware before Nova's API makes it."""
    return contexts.RequestContext(
        user_id=who["user"], project_id=who["project"], auth_token=who["token"], roles=who["roles"],
        service_catalog=GIVEN["catalog"],
    )  # fmt: skip


def refused(call, *arguments, **how):
    """Return the name of the error that a call raises."""
    try:
        call(*arguments, **how)
    except Exception as error:
        return type(error).__name__
    return "no error"


def shown(image):
    """Return what the test compares of an image."""
    return {name: image.get(name) for name in SHOWN}


def spawn(images, me):
    """Find an image, and download it, as the start of a server does."""
    image = images.create(me, {
        **FORMATS, "name": "of nova", "min_disk": 2, "min_ram": 64, "is_public": False,
        "properties": {
            "os_distro": "debian", "hw_disk_bus": "scsi", "mappings": [{"device": "vda", "virtual": "root"}],
        },
    }, io.BytesIO(DATA))  # fmt: skip
    by_url = images.get(me, f"{GIVEN['url']}/v2/images/{image['id']}")
    images.download(me, image["id"], dest_path=str(TARGET))
    pieces = images.download(me, image["id"])
    return {
        "created": shown(image),
        "by_url": shown(by_url),
        "locations": images.get(me, image["id"], include_locations=True)["locations"],
        "downloaded": TARGET.read_bytes() == DATA,
        "streamed": b"".join(pieces) == DATA,
        "default_format": glance.GlanceImageServiceV2()._get_image_create_disk_format_default(me),
    }


def snapshot(images, me):
    """Make the images of snapshots: with data later, without data, and shared with the owner of the server."""
    later = images.create(me, {"name": "snapshot", **FORMATS, "properties": {"image_type": "snapshot", "old": "x"}})
    images.update(me, later["id"], {"name": "snapshot 2", "properties": {"image_type": "snapshot"}}, purge_props=True)
    filled = images.update(me, later["id"], {}, data=io.BytesIO(DATA))
    empty = images.create(me, {"name": "of a volume", "size": 0, "properties": {
        "bdm_v2": "True", "block_device_mapping": json.dumps([{"source_type": "snapshot", "snapshot_id": "1"}]),
    }})  # fmt: skip
    owner = {"instance_owner": GIVEN["alt_demo"]["project"]}
    shared = images.create(me, {"name": "shared", "properties": owner, **FORMATS})
    return {
        "filled": shown(filled),
        "empty": shown(empty),
        "shared": shown(images.get(caller(GIVEN["alt_demo"]), shared["id"])),
    }


def listing(images, me):
    """List as Nova's image proxy did, and as its periodic tasks do."""
    for number in range(5):
        images.create(me, {"name": f"list {number}", "properties": {"group": "list"}, **FORMATS})

    def names(**how):
        return [image["name"] for image in images.get_all(me, **how)]

    by_name = {"sort_key": "name", "sort_dir": "asc"}
    first = images.get_all(me, filters={"name": "list 0"})[0]
    return {
        "paged": names(filters={"group": "list"}, page_size=2, **by_name),
        "limited": names(filters={"group": "list"}, limit=2, sort_key="name", sort_dir="desc"),
        "after": names(filters={"group": "list"}, marker=first["id"], **by_name),
        "by_status": names(filters={"status": "queued", "name": "list 3"}),
        "since": names(filters={"changes-since": "2020-01-01T00:00:00", "group": "list"}, **by_name),
        "future": names(filters={"changes-since": "2100-01-01T00:00:00", "group": "list"}),
    }


def copies(images, me):
    """Copy an image to another store, as a compute node does that prefers it."""
    image = images.create(me, {"name": "copied", **FORMATS}, io.BytesIO(DATA))["id"]
    queued = images.create(me, {"name": "queued", **FORMATS})["id"]
    admin = caller(GIVEN["admin"])
    owner = refused(images.copy_image_to_store, me, image, "slow")
    images.copy_image_to_store(admin, image, "slow")
    deadline = time.monotonic() + 60
    while "slow" not in images.get(me, image)["stores"] and time.monotonic() < deadline:
        time.sleep(0.1)
    return {
        "owner": owner,
        "stores": images.get(me, image)["stores"],
        "again": refused(images.copy_image_to_store, admin, image, "slow"),
        "nowhere": refused(images.copy_image_to_store, admin, image, "none"),
        "queued": refused(images.copy_image_to_store, admin, queued, "slow"),
    }


def errors(images, me):
    """Return what Nova makes of refusals."""
    stranger = caller(GIVEN["alt_demo"])
    mine = {"name": "mine", "is_public": False, "protected": True, **FORMATS}
    image = images.create(me, mine, io.BytesIO(DATA))["id"]
    queued = images.create(me, {"name": "queued", **FORMATS})["id"]
    absent = "00000000-0000-4000-8000-000000000000"
    found = {
        "absent": refused(images.get, me, absent),
        "foreign": refused(images.get, stranger, image),
        "foreign_data": refused(images.download, stranger, image, dest_path=str(TARGET)),
        "protected": refused(images.delete, me, image),
        "no_data": refused(images.download, me, queued, dest_path=str(TARGET)),
        "public": refused(images.create, me, {"name": "public", "is_public": True, **FORMATS}),
        "other_format": refused(
            images.create, me, {**FORMATS, "name": "no qcow2", "disk_format": "qcow2"}, io.BytesIO(DATA)
        ),
        "again": refused(images.update, me, image, {}, data=io.BytesIO(DATA)),
        "bad_token": refused(images.get, caller({**GIVEN["demo"], "token": "bad"}), image),
    }
    images.update(me, image, {"protected": False})
    images.delete(me, image)
    return {**found, "deleted": refused(images.get, me, image)}


def signatures(images, me):
    """Download with the check of signatures, whose certificates come from the key manager."""
    nova.conf.CONF.set_override("verify_glance_signatures", True, "glance")
    signed = images.create(me, {"name": "signed", **FORMATS, "properties": GIVEN["signature"]}, io.BytesIO(DATA))
    images.download(me, signed["id"], dest_path=str(TARGET))
    unsigned = images.create(me, {"name": "unsigned", **FORMATS}, io.BytesIO(DATA))
    return {
        "status": signed["status"],
        "data": TARGET.read_bytes() == DATA,
        "unsigned": refused(images.download, me, unsigned["id"], dest_path=str(TARGET)),
    }


def main():
    """Do all of it."""
    nova.conf.CONF([], project="nova", default_config_files=[GIVEN["configuration"]])
    objects.register_all()
    images, me = glance.API(), caller(GIVEN["demo"])
    steps = (spawn, snapshot, listing, copies, errors, signatures)
    found = {step.__name__: step(images, me) for step in steps}
    print(json.dumps(found))  # noqa: T201 - it speaks to the test that started it


if __name__ == "__main__":
    main()
