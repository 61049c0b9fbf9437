"""web-download, and the ``import_from`` of legacy tasks: an image behind an http or https URL.

Name, addresses and every redirect pass the URL filter; the connection goes to the address that was checked (security
section 3, S-22, S-31, S-33).
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from glance_api.imports.contract import ImportFailed, ImportSource
from glance_api.imports.sources.body import announced_size, pieces_of, refuse_encoded
from glance_common.fetch.url_filter import UrlFilter, UrlRefused, as_told
from glance_common.fetch.url_session import FetchFailed, UrlSession
from glance_common.model.errors import BadRequest, TooLarge

LOG = logging.getLogger(__name__)


MAX_URI = 4096
"""Characters of a URL that a user gives: signed ones of object stores have two thousand."""


def check_uri(url_filter: UrlFilter, field: str, uri: str) -> None:
    """Raise BadRequest, which names ``field``, for a URL that users may not have fetched."""
    if len(uri) > MAX_URI:
        raise BadRequest(f"{field}: a URL has at most {MAX_URI} characters, this one has {len(uri)}")
    try:
        url_filter.check(uri)
    except UrlRefused as error:
        raise BadRequest(f"{field}: {as_told(error)}") from None


@contextmanager
def open_source(session: UrlSession, uri: str, *, cap: int) -> Iterator[ImportSource]:
    """Open what ``uri`` names within the block; ``cap`` is the largest image in bytes.

    Raises BadRequest for a URL that the filter refuses now, ImportFailed when the source has no image for us, TooLarge
    when it announces more than ``cap``. Without a Content-Length the reader of the pieces must cap (S-61).
    """
    try:
        response = session.request("GET", uri)
    except UrlRefused as error:
        raise BadRequest(f"uri: {as_told(error)}") from None
    except FetchFailed as error:
        # The same text for a closed port, a time out and bad TLS: it must not map networks for a stranger (S-27).
        LOG.info("web-download: %s", error)
        raise ImportFailed("the source does not answer") from None
    with response:
        if response.status_code != 200:
            raise ImportFailed(f"the source answered with status {response.status_code} instead of the image")
        refuse_encoded(response)
        announced = announced_size(response)
        if announced is not None and announced > cap:
            raise TooLarge(f"the source announces {announced} bytes; image_size_cap is {cap} bytes")
        yield ImportSource(pieces_of(response, announced), announced)
