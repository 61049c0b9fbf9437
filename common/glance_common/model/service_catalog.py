"""The service catalog that Keystone's middleware puts beside a caller's token: where other services are."""

from collections.abc import Iterator
from typing import Any

import orjson

from glance_common.model.errors import BadRequest


def find_endpoint(catalog: str | None, service: str, interface: str, region: str | None) -> str | None:
    """Return the first URL of a service of the type ``service``, None without one; ``region`` None means any.

    ``catalog`` is the header ``X-Service-Catalog``. Raises BadRequest when it is not JSON.
    """
    for endpoint in _endpoints(catalog, service):
        if region is None or region in (endpoint.get("region"), endpoint.get("region_id")):
            url = endpoint.get(f"{interface}URL")
            if endpoint.get("interface") == interface:
                url = endpoint.get("url")
            if isinstance(url, str) and url:
                return url
    return None


def _endpoints(catalog: str | None, service: str) -> Iterator[dict[str, Any]]:
    """Yield the endpoints in both forms: URLs by interface (the middleware's), and one interface each (Keystone's)."""
    try:
        services = orjson.loads(catalog.encode("latin-1")) if catalog else []
    except ValueError:
        raise BadRequest("X-Service-Catalog is not JSON") from None
    for each in services if isinstance(services, list) else []:
        if isinstance(each, dict) and each.get("type") == service:
            yield from (endpoint for endpoint in each.get("endpoints") or [] if isinstance(endpoint, dict))
