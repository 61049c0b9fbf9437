"""The location API for services of the cloud (API section 16): give a queued image its data, and see where data are."""

from urllib.parse import urlsplit
from uuid import uuid4

from glance_api.services.collaborators import EventServices, Services
from glance_api.services.events import tasks
from glance_api.services.locations import check
from glance_api.services.locations import edit as location_edits
from glance_api.services.locations.check import SERVICE_ROLE, ValidationData
from glance_api.services.locations.read import Place, visible
from glance_api.services.retries import retry_conflicts
from glance_common.model.context import RequestContext
from glance_common.model.errors import BadRequest, Conflict, Forbidden, TooLarge
from glance_common.model.operation import Operation
from glance_common.model.status import ImageStatus
from glance_common.registry_client.locations import HashingOperation, LocationEdit
from glance_common.stores.decorators.base import shown as shown_url
from glance_common.stores.decorators.encryption import is_sealed


def fetch(services: Services, context: RequestContext, image_id: str) -> list[Place]:
    """Return the locations of an image, none of a deactivated one to others than administrators (S-49).

    Raises NotFound, PolicyDenied.
    """
    image = services.registry.images.get(context, image_id, locations=True)
    services.policy.check_image(context, "fetch_image_location", image)
    return visible(services, context, image)


def add(
    services: Services, context: RequestContext, image_id: str, url: str, validation: ValidationData | None
) -> None:
    """Make the data at ``url`` those of a queued image.

    With ``do_secure_hash`` a worker hashes them: before the image becomes active when there are ``validation`` data to
    compare with, otherwise afterwards. Without it ``validation`` is believed, and the task has nothing to do. Raises
    NotFound, PolicyDenied, Conflict unless the image is queued, Forbidden, BadRequest, TooLarge, UnsupportedMediaType
    as ``check.find``.
    """
    retry_conflicts(image_id, lambda: _add(services, context, image_id, url, validation))
    if services.settings.do_secure_hash:
        services.work.wake()


def _add(
    services: Services, context: RequestContext, image_id: str, url: str, validation: ValidationData | None
) -> None:
    image = services.registry.images.get(context, image_id, locations=True)
    # The right is checked before the status, unlike in the original: strangers learn nothing.
    services.policy.check_image(context, "add_image_location", image)
    if image.status is not ImageStatus.QUEUED:
        raise Conflict(f"the image is {image.status}, only a queued one can be given its location")
    _check_scheme(services, context, url)
    for problem in () if validation is None else check.problems(validation):
        raise BadRequest(f"validation_data: {problem}")
    quota = services.settings.image_location_quota
    if quota == 0:
        raise TooLarge("The limit has been exceeded on the number of allowed image locations: 1 of 0")
    waits = services.settings.do_secure_hash and validation is not None
    # A worker inspects all of the data before an image that waits becomes active.
    look = check.locate if waits else check.find
    found = look(services, context, image, url)
    new = location_edits.as_new(found, {})
    # The task is shown to administrators, and its row is not encrypted: neither credentials nor the key get into it,
    # nor a signature where the URLs of locations are secret.
    location = found.store.url(found.key)
    location = shown_url(location) if is_sealed(found.key) else location
    shown = {"image_id": image.id, "loc_url": location, "validation_data": _document(validation)}
    hashing = HashingOperation(
        str(uuid4()), shown, services.settings.imports.task_time_to_live,
        before_active=waits, is_done=not services.settings.do_secure_hash,
    )
    data = {"size": found.size, **_known_digests(services, validation)}
    edit = LocationEdit(order=[new.id], add=[new], data=data, hashing=hashing)
    location_edits.write(services, context, image, str(uuid4()), edit)
    tasks.look_up(services, context, hashing.id, _tell_task)


def _known_digests(services: Services, validation: ValidationData | None) -> dict[str, str]:
    """Return what the image says of its digests at once: the algorithm alone while they are computed."""
    given = _document(validation)
    if not services.settings.do_secure_hash:
        return given
    return {"os_hash_algo": given.get("os_hash_algo", services.settings.hashing_algorithm)}


def _tell_task(services: EventServices, context: RequestContext, task: Operation) -> None:
    tasks.created(services, context, task)
    tasks.ended(services, context, task)


def _check_scheme(services: Services, context: RequestContext, url: str) -> None:
    """Raise Forbidden for what only services may name: data in the cloud's own stores."""
    if SERVICE_ROLE in context.all_roles:
        return
    try:
        scheme = urlsplit(url).scheme
    except ValueError:
        raise BadRequest("url: is not a URL") from None
    if scheme not in ("http", "https") or not any(scheme in store.capabilities.schemes for store in services.stores):
        raise Forbidden("url: other callers than services can register http and https locations only, if at all")


def _document(validation: ValidationData | None) -> dict[str, str]:
    if validation is None:
        return {}
    return {"os_hash_algo": validation.os_hash_algo, "os_hash_value": validation.os_hash_value.lower()}
