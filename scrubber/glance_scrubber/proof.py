"""Reads one copy in its store and compares size and digests with what the registry knows of the image."""

import hashlib
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum

from glance_common.digests import CHECKSUM, FINGERPRINT, Digests
from glance_common.model.stored_copy import Damage, StoredCopy
from glance_common.purge import error_text
from glance_common.stores.contract import Blob, BlobNotFound, Store, StoreError


class ProofResult(StrEnum):
    """What reading a copy showed."""

    RIGHT = "right"
    DAMAGED = "damaged"
    UNPROVED = "unproved"
    """The size is right, and no digest of the data is known."""
    UNREADABLE = "unreadable"
    """The store did not give the bytes: this proves nothing about them."""
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class CopyProof:
    """The result, what is wrong, and how many bytes were read; ``detail`` holds no credentials."""

    result: ProofResult
    damage: Damage | None = None
    detail: str = ""
    read: int = 0


Pass = Callable[[int], bool]
"""Is told the bytes of each piece, may wait, and returns False when the reading has to end."""


def known_digests(copy: StoredCopy) -> dict[str, str]:
    """Return the digests that prove the data, by algorithm: fingerprint and hash, or the checksum without a hash."""
    known: dict[str, str] = {}
    algorithm, colon, digest = (copy.fingerprint or "").partition(":")
    if colon and algorithm == FINGERPRINT:
        known[FINGERPRINT] = digest
    if copy.os_hash_algo and copy.os_hash_value and copy.os_hash_algo in hashlib.algorithms_available:
        known[copy.os_hash_algo] = copy.os_hash_value
    elif copy.checksum:
        known[CHECKSUM] = copy.checksum
    return known


def prove(store: Store, copy: StoredCopy, each: Pass) -> CopyProof:
    """Read the whole copy and say how it is. Raises nothing of the store's."""
    try:
        blob = store.open(copy.key)
    except BlobNotFound:
        return CopyProof(ProofResult.DAMAGED, Damage.MISSING, "the store holds nothing under the key")
    except StoreError as error:
        return CopyProof(ProofResult.UNREADABLE, detail=error_text(error))
    with closing(blob):
        if blob.size != copy.image_size:
            detail = f"{blob.size} bytes instead of {copy.image_size}"
            return CopyProof(ProofResult.DAMAGED, Damage.SIZE, detail)
        return _read(blob, copy, each)


def _read(blob: Blob, copy: StoredCopy, each: Pass) -> CopyProof:
    known = known_digests(copy)
    digests, count = Digests(list(known)), 0
    try:
        for piece in blob:
            count += len(piece)
            if not each(len(piece)):
                return CopyProof(ProofResult.STOPPED, read=count)
            digests.update(piece)
        found = digests.finish()
    except StoreError as error:
        return CopyProof(ProofResult.UNREADABLE, detail=error_text(error), read=count)
    finally:
        digests.close()
    if count != copy.image_size:
        detail = f"{count} bytes came instead of {copy.image_size}"
        return CopyProof(ProofResult.DAMAGED, Damage.SIZE, detail, count)
    wrong = difference(known, found)
    if wrong:
        return CopyProof(ProofResult.DAMAGED, Damage.DIGEST, wrong, count)
    return CopyProof(ProofResult.RIGHT if known else ProofResult.UNPROVED, read=count)


def difference(known: Mapping[str, str], found: Mapping[str, str]) -> str:
    """Return which digest differs and how, empty when all are the same."""
    wrong = (
        f"{name} is {found[name]} instead of {digest}"
        for name, digest in known.items() if found[name] != digest
    )
    return next(wrong, "")
