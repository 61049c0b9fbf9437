"""Staging: a client's data wait on this node for an import (API section 11.1)."""

from functools import partial
from uuid import uuid4

from glance_api.content.streams import Received
from glance_api.imports.request import DIRECT
from glance_api.services import attempts
from glance_api.services.attempts import Data
from glance_api.services.collaborators import Services
from glance_api.services.data import Source
from glance_api.services.events import images
from glance_common.model.context import RequestContext
from glance_common.model.errors import NotFound, TooLarge
from glance_common.model.limits import Limits
from glance_common.registry_client.uploads import UploadResult, UploadStart
from glance_common.stores.contract import Stored


def stage(services: Services, context: RequestContext, image_id: str, source: Source) -> None:
    """Keep the data of a queued image on this node; the image is ``uploading`` until it is imported or deleted.

    The data are inspected by the import, before anything uses them (S-34). On any error the image is back in ``queued``
    and nothing of the data stays. Raises NotFound also where staging is not enabled, PolicyDenied, StatusConflict,
    TooLarge, BadRequest for data that do not match their signature (S-29).
    """
    if DIRECT not in services.settings.imports.methods:
        raise NotFound(f"{DIRECT} is not an enabled import method")
    image = services.registry.images.get(context, image_id)
    services.policy.check_image(context, "modify_image", image)
    cap = services.settings.image_size_cap
    if source.announced is not None and source.announced > cap:
        raise TooLarge(f"the image is larger than image_size_cap, {cap} bytes")
    limits = services.limits.of(image.owner)
    attempt = str(uuid4())
    start = UploadStart(services.staging.id, source.announced, services.leases.seconds, staging=True)
    begun = services.registry.uploads.start(context, image_id, attempt, start, limits=limits)
    images.image_updated(services, context, begun.image)
    data = Data(source.pieces, source.announced, None, (), source.credentials, limits)
    commit = partial(_commit, services, context, attempt, limits)
    attempts.write(services, context, begun, services.staging, data, commit)


def _commit(
    services: Services, context: RequestContext, attempt: str, limits: Limits | None, stored: Stored, received: Received
) -> None:
    result = UploadResult(received.size, stored.metadata, stage_host=place_of(services))
    image = services.registry.uploads.commit(context, attempt, result, limits=limits)
    images.image_updated(services, context, image)


def place_of(services: Services) -> str:
    """Return what os_glance_stage_host says of data on this node: its staging store, and its URL when it has one.

    Clients do not see it. The store decides who can import: nodes that share it are one place, and nodes behind one
    public_endpoint are not.
    """
    return " ".join(filter(None, (services.staging.id, services.settings.imports.self_url)))


def parse_place(text: str | None) -> tuple[str | None, str | None]:
    """Return staging store and URL of a value of ``place_of``; None for what it does not say."""
    store, _, url = (text or "").partition(" ")
    return store or None, url or None
