"""What one store works with; needs the client libraries."""

import logging

from glance_common.stores.caller import current_caller
from glance_common.stores.drivers.cinder import deleting
from glance_common.stores.drivers.cinder.access import CallerToken, ServiceTokens
from glance_common.stores.drivers.cinder.attaching import Attacher
from glance_common.stores.drivers.cinder.brick import Brick
from glance_common.stores.drivers.cinder.client import CinderApi
from glance_common.stores.drivers.cinder.leases import Leases
from glance_common.stores.drivers.cinder.options import CinderOptions
from glance_common.stores.drivers.cinder.reading import CinderReaders
from glance_common.stores.drivers.cinder.volumes import Volume
from glance_common.stores.drivers.cinder.wire import CinderWire
from glance_common.stores.drivers.cinder.writing import CinderUpload

LOG = logging.getLogger(__name__)


class Machinery:
    """The connections, the attachments and the leases of one store."""

    def __init__(self, options: CinderOptions) -> None:
        if not options.transport.verify:
            LOG.warning("cinder_api_insecure: certificates of Cinder and Keystone are not checked")
        self._options = options
        self._place = options.place.name
        self._wire = CinderWire(options.transport)
        self._tokens = None if options.login is None else ServiceTokens(
            options.login, options.endpoint, self._wire, self._place
        )
        brick = Brick(options.brick, self._place)
        self._attacher = Attacher(
            brick, Leases(options.lease, options.brick.host), options.attach_retries, options.change
        )
        self.readers = CinderReaders(self._attacher)

    def api(self) -> CinderApi:
        """Return Cinder for the user of the store, or else for the present caller. Raises CinderFailed."""
        tokens = self._tokens or CallerToken(self._options.endpoint, current_caller(), self._place)
        return CinderApi(tokens, self._wire, self._place)

    def upload(self, key: str, identity: str) -> CinderUpload:
        """Return an upload. Raises CinderFailed."""
        return CinderUpload(self.api(), self._attacher, self._options, key, identity)

    def remove(self, api: CinderApi, volume: Volume) -> None:
        """Delete a volume of the service. Raises InUse, CinderFailed."""
        deleting.remove(self._attacher.brick, api, volume, self._options.change)

    def close(self) -> None:
        """Close the connections."""
        self._wire.close()
