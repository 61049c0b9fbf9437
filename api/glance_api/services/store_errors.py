"""What a store's error means to a client of the API: one table (stores section 1, lifecycle section 3)."""

from glance_common.model.errors import BadRequest, Conflict, Forbidden, GlanceError, Gone, TooLarge, Unavailable
from glance_common.stores import contract

_MEANING: tuple[tuple[type[contract.StoreError], type[GlanceError], str], ...] = (
    (contract.BlobExists, Conflict, "{store}: there is data under the key of this image already"),
    (contract.StoreFull, TooLarge, "{store}: there is not enough space for the image"),
    (contract.WriteDenied, Unavailable, "{store}: the service may not write to the store"),
    (contract.AddDisabled, Gone, "{store}: the store takes no data"),
    (contract.InUse, Conflict, "{store}: the data are in use"),
    (contract.StoreForbidden, Forbidden, "{store}: the store refuses it"),
    (contract.RangeUnsupported, BadRequest, "Range: {store} can only send the whole image"),
    # The data of an active image must be there: their absence is a fault of the service, never an empty success.
    (contract.BlobNotFound, Unavailable, "{store}: not found in the store"),
    (contract.StoreUnavailable, Unavailable, "{store}: the store does not answer or cannot be used now"),
)


def as_api_error(error: contract.StoreError, store: str) -> GlanceError:
    """Return the API's error for ``error``; its text names ``store`` and nothing of the driver's own message (S-02)."""
    for kind, meaning, text in _MEANING:
        if isinstance(error, kind):
            return meaning(text.format(store=store))
    return Unavailable(f"{store}: the store cannot do this")
