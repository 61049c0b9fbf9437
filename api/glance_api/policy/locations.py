"""Default rules of the locations of images (configuration section 10)."""

from glance_api.policy.rules import ADMIN, OWNER_READS, OWNER_WRITES, rule

_IMAGES, _IMAGE = "/v2/images", "/v2/images/{image_id}"
_LOCATIONS = f"{_IMAGE}/locations"

RULES = [
    rule("get_image_location", OWNER_READS, "See the locations of an image, when options show them at all.",
         f"GET {_IMAGE}", f"GET {_IMAGES}", "DELETE /v2/stores/{store_id}/{image_id}"),
    rule("set_image_location", OWNER_WRITES, "Add locations to an image or change them.", f"PATCH {_IMAGE}"),
    rule("delete_image_location", ADMIN, "Remove one of several locations of an image.", f"PATCH {_IMAGE}",
         "DELETE /v2/stores/{store_id}/{image_id}"),
    rule("add_image_location",
         "rule:service_api or (role:member and project_id:%(project_id)s and project_id:%(owner)s)",
         "Give a queued image its location.", f"POST {_LOCATIONS}"),
    rule("fetch_image_location", "rule:service_api", "Fetch the locations of an image.", f"GET {_LOCATIONS}"),
]
