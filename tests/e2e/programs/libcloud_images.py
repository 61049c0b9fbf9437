"""apache-libcloud's OpenStack driver against an image service: all that its driver of version 2 does with images.

Runs in the environment ``ecosystem``; the argument is a JSON document with what the test knows. Prints JSON: what each
call returned, or the text of the error.
"""

import json
import sys

from libcloud.common.exceptions import BaseHTTPError
from libcloud.compute.providers import get_driver
from libcloud.compute.types import Provider

GIVEN = json.loads(sys.argv[1])


def driver(user):
    """Return the driver of a user, whose catalog says where the image service is."""
    return get_driver(Provider.OPENSTACK)(
        user, user, ex_force_auth_url=GIVEN["auth_url"], ex_force_auth_version="3.x_password", ex_tenant_name=user,
        ex_domain_name="Default", ex_tenant_domain_id="default", ex_force_service_region=GIVEN["region"],
        api_version="2.2",
    )  # fmt: skip


def shown(image):
    """Return what the test compares of an image."""
    return {"id": image.id, "name": image.name, **image.extra}


def refused(call, *arguments):
    """Return status and text of the error that a call raises."""
    try:
        call(*arguments)
    except BaseHTTPError as error:
        return [error.code, str(error)]
    return "no error"


def main():
    """Do all of it."""
    demo, other = driver("demo"), driver("alt_demo")
    image, project = GIVEN["image"], GIVEN["alt_project"]
    changes = [
        {"op": "replace", "path": "/visibility", "value": "shared"},
        {"op": "add", "path": "/os_distro", "value": "debian"},
        {"op": "replace", "path": "/name", "value": "renamed by libcloud"},
    ]
    found = {
        "image": shown(demo.get_image(image)),
        "names": sorted(each.name for each in demo.list_images() if each.name.startswith("libcloud")),
        "updated": shown(demo.ex_update_image(image, changes)),
        "foreign": refused(other.get_image, image),
        "member": demo.ex_create_image_member(image, project).state,
        "member again": refused(demo.ex_create_image_member, image, project),
        "accepted": other.ex_accept_image_member(image, project).state,
        "members": [[each.id, each.state] for each in demo.ex_list_image_members(image)],
        "one member": demo.ex_get_image_member(image, project).state,
        "shared": shown(other.get_image(image)),
        "protected": refused(demo.ex_update_image, image, [{"op": "replace", "path": "/status", "value": "queued"}]),
        "unknown": refused(demo.get_image, "00000000-0000-4000-8000-000000000000"),
        "nonsense": refused(demo.ex_update_image, image, [{"op": "replace", "path": "/visibility", "value": "x"}]),
        "public": refused(demo.ex_update_image, image, [{"op": "replace", "path": "/visibility", "value": "public"}]),
    }
    print(json.dumps(found))  # noqa: T201 - it speaks to the test that started it


if __name__ == "__main__":
    main()
