"""The copy-from of v1: an import by web-download that kills the image when it fails (v1 API sections 3 and 5)."""

from glance_api.clients.key_manager import Credentials
from glance_api.imports.request import WEB, ImportRequest
from glance_api.services import imports, keys
from glance_api.services.collaborators import Services
from glance_api.services.imports import CheckedImport
from glance_api.services.locations.check import check_source
from glance_common.model.context import RequestContext
from glance_common.model.image import Image
from glance_common.model.operation import OnFail


def copy_from(
    services: Services, context: RequestContext, image: Image, url: str, store: str | None, credentials: Credentials
) -> None:
    """Make the operation that fetches the data of a queued image from ``url``; a failure leaves it killed.

    Raises PolicyDenied, BadRequest, Conflict, TooLarge, Unavailable without the key manager.
    """
    for rule in ("copy_from", "upload_image"):
        services.policy.check_image(context, rule, image)
    imports.check_state(image, WEB)
    check_source(services, context, "x-glance-api-copy-from", url)
    request = ImportRequest.from_document({"method": {"name": WEB, "uri": url}}, store)
    stores = imports.targets(services, image, request)
    signed = keys.verification(services.keys, credentials, image.properties)
    imports.create(services, context, image, CheckedImport(request, stores, signed, on_fail=OnFail.KILLED))
