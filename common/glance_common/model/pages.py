"""How many rows a page of a list holds."""

MAX_PAGE_ROWS = 10_000
"""The most, whatever is configured and asked for.

The registry bounds the bytes of a page (``max_page_bytes``). This bounds what the objects of its rows take beside their
text, which is more than the text itself when images are small.
"""
