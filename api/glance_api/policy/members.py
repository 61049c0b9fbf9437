"""Default rules of image members (configuration section 10)."""

from glance_api.policy.rules import OWNER_WRITES, RECEIVER_WRITES, SHARER_READS, rule

_MEMBERS, _MEMBER = "/v2/images/{image_id}/members", "/v2/images/{image_id}/members/{member_id}"

RULES = [
    rule("add_member", OWNER_WRITES, "Share an image with a project.", f"POST {_MEMBERS}"),
    rule("get_member", SHARER_READS, "See one member of an image.", f"GET {_MEMBER}"),
    rule("get_members", SHARER_READS, "List the members of an image.", f"GET {_MEMBERS}"),
    rule("modify_member", RECEIVER_WRITES, "Accept or reject a shared image.", f"PUT {_MEMBER}"),
    rule("delete_member", OWNER_WRITES, "Stop sharing an image with a project.", f"DELETE {_MEMBER}"),
]
