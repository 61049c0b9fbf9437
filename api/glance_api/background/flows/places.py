"""The directories of this node's staging stores, for programs that work in them by path."""

import logging
from pathlib import Path

from glance_api.services.collaborators import Staging
from glance_common.model.errors import Unavailable
from glance_common.stores.contract import StoreError

LOG = logging.getLogger(__name__)


def directory_of(store: Staging) -> Path:
    """Return the directory of ``store`` after a proof that it is the right one: programs work in it by its path.

    Raises Unavailable when it is down or exchanged; a later try can succeed.
    """
    try:
        store.check()
    except StoreError as error:
        LOG.warning("%s", error)
        raise Unavailable("the staging directory of this host cannot be used now") from None
    return store.directory


def path_of(store: Staging, key: str) -> Path:
    """Return the file of the key, whether it is there or not. Raises as ``directory_of``."""
    directory_of(store)
    return store.path(key)
