"""Default rules of images, their data and their actions (configuration section 10)."""

from glance_api.policy.rules import (
    ADMIN,
    OWN_PROJECT_WRITES,
    OWNER_READS,
    OWNER_WRITES,
    VIEWER_DOWNLOADS,
    VIEWER_READS,
    rule,
)

_IMAGES, _IMAGE = "/v2/images", "/v2/images/{image_id}"

VISIBILITY_RULES = {"public": "publicize_image", "community": "communitize_image"}
"""Visibility → the rule that is asked beside the one for the call."""

RULES = [
    rule("add_image", OWN_PROJECT_WRITES, "Create an image.", f"POST {_IMAGES}"),
    rule("get_image", VIEWER_READS, "See an image.", f"GET {_IMAGE}", f"GET {_IMAGES}"),
    rule("get_images", OWNER_READS, "List images; each one listed is also asked get_image.", f"GET {_IMAGES}"),
    rule("modify_image", OWNER_WRITES, "Change an image or its tags.", f"PATCH {_IMAGE}",
         f"PUT {_IMAGE}/tags/{{tag}}", f"DELETE {_IMAGE}/tags/{{tag}}", f"PUT {_IMAGE}/stage",
         f"POST {_IMAGE}/import"),
    rule("delete_image", OWNER_WRITES, "Delete an image.", f"DELETE {_IMAGE}"),
    rule("restore_image", "!", "List the deleted images of the project whose data are kept, and restore one; off.",
         f"POST {_IMAGE}/actions/restore", f"GET {_IMAGES}"),
    rule("publicize_image", ADMIN, "Make an image public.", f"POST {_IMAGES}", f"PATCH {_IMAGE}"),
    rule("communitize_image", OWNER_WRITES, "Make an image visible to the community.", f"POST {_IMAGES}",
         f"PATCH {_IMAGE}"),
    rule("upload_image", OWNER_WRITES, "Upload the data of an image.", f"PUT {_IMAGE}/file"),
    rule("download_image", VIEWER_DOWNLOADS, "Download the data of an image.", f"GET {_IMAGE}/file"),
    rule("copy_from", ADMIN, "Fetch the data of an image from a URL in v1 (S-27).", "POST /v1/images",
         "PUT /v1/images/{image_id}"),
    rule("copy_image", ADMIN, "Copy the data of an image to further stores.", f"POST {_IMAGE}/import"),
    rule("deactivate", OWNER_WRITES, "Close the data of an image.", f"POST {_IMAGE}/actions/deactivate"),
    rule("reactivate", OWNER_WRITES, "Open the data of an image again.", f"POST {_IMAGE}/actions/reactivate"),
]
