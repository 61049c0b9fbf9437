"""What the service does with images: create, show, list, update, delete. No Flask here."""

from glance_api.collaborators import Glance
from glance_common.context import RequestContext
from glance_common.image import Image


def check_image(glance: Glance, context: RequestContext, rule: str, image: Image) -> None:
    """Ask ``rule`` about an image. Raises PolicyDenied, or NotFound for a caller whom ``get_image`` hides it from."""
    glance.policy.check_image(context, rule, image)
