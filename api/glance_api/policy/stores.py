"""Default rules about stores (configuration section 10)."""

from glance_api.policy.rules import VIEWER_DOWNLOADS, rule

RULES = [
    rule("stores_info_detail", "rule:context_is_admin or rule:service_api", "See how the stores are set up.",
         "GET /v2/info/stores/detail"),
    rule("download_from_store", VIEWER_DOWNLOADS, "Choose the store that the data of an image are read from.",
         "GET /v2/images/{image_id}/file"),
]
