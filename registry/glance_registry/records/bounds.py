"""How large a document and a page may become (S-59). Numbers are bytes unless they count rows."""

from dataclasses import dataclass

from glance_common.model.pages import MAX_PAGE_ROWS

MAX_IMAGE_DOCUMENT = 512 * 1024
MAX_PAGE = 16 * 1024 * 1024
"""A page of the usual size, 25, is never cut short, as clients of v1 take a short page for the last one."""
MAX_NAMESPACE = 8 * 1024 * 1024
"""What is in a namespace of metadata definitions, which is shown whole."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """``image_document``: what clients put into one image. ``page``: what a list answers at once.

    A page holds at least one row, and an image that is larger already may become smaller. ``rows`` is how many rows it
    holds at most, whatever was asked for, and ``default_rows`` how many when nothing was.
    """

    image_document: int = MAX_IMAGE_DOCUMENT
    page: int = MAX_PAGE
    rows: int = MAX_PAGE_ROWS
    default_rows: int = 25
