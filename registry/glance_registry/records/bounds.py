"""How large a document and a page may become (S-59). All numbers are bytes."""

from dataclasses import dataclass

MAX_IMAGE_DOCUMENT = 512 * 1024
MAX_PAGE = 16 * 1024 * 1024
"""A page of the usual size, 25, is never cut short, as clients of v1 take a short page for the last one."""
MAX_NAMESPACE = 8 * 1024 * 1024
"""What is in a namespace of metadata definitions, which is shown whole."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """``image_document``: what clients put into one image. ``page``: what a list answers at once.

    A page holds at least one row, and an image that is larger already may become smaller.
    """

    image_document: int = MAX_IMAGE_DOCUMENT
    page: int = MAX_PAGE
