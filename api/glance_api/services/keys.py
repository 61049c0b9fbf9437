"""Signatures and encryption keys of images: what is asked of the key manager in the caller's name."""

import logging
from collections.abc import Mapping
from uuid import UUID

from glance_api.clients.key_manager import Credentials, KeyManager
from glance_api.content.signatures import Signature, Verification
from glance_common.model.context import RequestContext
from glance_common.model.errors import GlanceError
from glance_common.model.image import Image

LOG = logging.getLogger(__name__)

KEY_ID = "cinder_encryption_key_id"
POLICY = "cinder_encryption_key_deletion_policy"
WITH_IMAGE = "on_image_deletion"


def verification(
    keys: KeyManager, credentials: Credentials, properties: Mapping[str, str | None]
) -> Verification | None:
    """Return what verifies the data of an image with these properties; None for an image that is not signed.

    The certificate is the one that the caller has in the key manager. Raises BadRequest for properties or a certificate
    that cannot be used, Unavailable when the key manager is down.
    """
    signature = Signature.of(properties)
    if signature is None:
        return None
    return signature.verification(keys.certificate(credentials, signature.certificate))


def delete_with_image(keys: KeyManager, context: RequestContext, credentials: Credentials, image: Image) -> None:
    """Delete the key of an image that is gone, when its properties say so; a failure is only logged (S-77).

    The owner of an image may write any key id into it. Therefore only the owner's rights are used, never those of an
    administrator who deletes the image of another project.
    """
    key = image.properties.get(KEY_ID)
    if not key or image.properties.get(POLICY) != WITH_IMAGE:
        return
    try:
        if context.project_id is None or context.project_id != image.owner:
            LOG.warning("the encryption key of image %s stays: it was deleted by another project", image.id)
            return
        keys.delete(credentials, str(UUID(key)))
    except (GlanceError, ValueError) as error:
        LOG.warning("the encryption key of image %s could not be deleted: %s", image.id, error)
