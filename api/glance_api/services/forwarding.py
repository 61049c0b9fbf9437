"""Handing a request to the node that holds the staged data (API section 11.2)."""

import logging
from collections.abc import Mapping
from typing import Any

import requests

from glance_common.fetch.guarded_http import document_session
from glance_common.fetch.guards import ExchangeLimits
from glance_common.model import errors
from glance_common.model.errors import BadGateway, GatewayTimeout, GlanceError

LOG = logging.getLogger(__name__)

LIMITS = ExchangeLimits(answer=60.0)
"""The other node has a minute for its whole answer."""

FORWARDED = "X-Glance-Forwarded"
"""Header of a request that a node has handed on; it is handed on once only, also when two nodes name each other."""

_SENT = (
    "X-Auth-Token", "X-Service-Token", "X-Openstack-Request-Id", "X-Image-Meta-Store",
    # The other node believes them only under trusted-auth, where a proxy has set them, and strips them otherwise.
    "X-Identity-Status", "X-User-Id", "X-Project-Id", "X-Roles",
)


def forward(node: str, path: str, headers: Mapping[str, str], document: Mapping[str, Any]) -> None:
    """Ask ``node`` (its base URL) the same as the client asked here, in the client's name.

    Raises GatewayTimeout when it does not answer, BadGateway when the connection breaks, and its own refusals.
    """
    sent = {name: headers[name] for name in _SENT if name in headers} | {FORWARDED: "1", "Accept": "application/json"}
    with document_session(LIMITS) as session:
        try:
            response = session.post(f"{node}{path}", json=document, headers=sent, allow_redirects=False)
        except (requests.Timeout, requests.ConnectionError) as error:
            LOG.error("the node %s, which holds the staged data, does not answer: %s", node, type(error).__name__)
            raise GatewayTimeout("the node that holds the staged data does not answer") from error
        except requests.RequestException as error:
            LOG.error("the node %s, which holds the staged data, cannot be asked: %s", node, type(error).__name__)
            raise BadGateway("the node that holds the staged data cannot be asked") from error
    if response.status_code != 202:
        raise _refusal(response)


def _refusal(response: requests.Response) -> GlanceError:
    """Return the other node's refusal as if it were our own."""
    try:
        message = str(response.json()["message"])
    except (ValueError, KeyError, TypeError):
        message = "the node that holds the staged data refused the request"
    kinds: list[type[GlanceError]] = [kind for kind in errors.BY_TITLE.values() if kind.code == response.status_code]
    return kinds[0](message) if kinds else BadGateway(message)
