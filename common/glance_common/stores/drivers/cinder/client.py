"""The calls to Cinder in the words of the store, through python-cinderclient."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from cinderclient import api_versions
from cinderclient.v3 import client as cinderclient

from glance_common.fetch import deadlines
from glance_common.stores.drivers.cinder.access import Bearer, CinderToken, CinderTokens
from glance_common.stores.drivers.cinder.errors import CinderFailed
from glance_common.stores.drivers.cinder.volumes import Volume
from glance_common.stores.drivers.cinder.wire import CinderWire

_MICROVERSION = "3.54"
"""The first one whose attachments have a mode."""

_PAGE = 500

_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 5.0

T = TypeVar("T")


class CinderApi:
    """Cinder for one user. Calls raise CinderFailed, and StoreFull when a quota is reached."""

    def __init__(self, tokens: CinderTokens, wire: CinderWire, place: str) -> None:
        self._tokens = tokens
        self._wire = wire
        self.place = place

    def create(self, name: str, gib: int, kind: str | None, metadata: Mapping[str, str]) -> Volume:
        """Begin to make a volume and return it."""
        made = self._call("create a volume", lambda cinder: cinder.volumes.create(
            gib, name=name, volume_type=kind, metadata=dict(metadata)
        ))
        return self._understood(lambda: Volume.of(made.to_dict()))

    def find(self, volume: str) -> Volume | None:
        """Return a volume, None when there is none. That alone proves nothing."""
        try:
            found = self._call("show a volume", lambda cinder: cinder.volumes.get(volume), repeats=True)
        except CinderFailed as failed:
            if failed.status == 404:
                return None
            raise
        return self._understood(lambda: Volume.of(found.to_dict()))

    def named(self, name: str, *, everywhere: bool = False) -> list[Volume]:
        """Return the volumes of this name, the oldest first; those of all projects where the user may see them."""
        return sorted(self._list({"name": name}, everywhere=everywhere), key=lambda volume: volume.age)

    def each(self) -> Iterator[Volume]:
        """Yield the volumes of the project by id. What is added or removed meanwhile may be missing or there."""
        last = ""
        while True:
            page = self._page(last)
            if page is None:
                # The volume behind which we go on is gone: from the start again, without those we had.
                page = [volume for volume in self._list({}) if volume.id > last]
                yield from sorted(page, key=lambda volume: volume.id)
                return
            yield from page
            if not page:
                return
            last = page[-1].id

    def set_metadata(self, volume: str, metadata: Mapping[str, str]) -> None:
        """Set these, and leave others as they are."""
        self._call("set metadata", lambda cinder: cinder.volumes.set_metadata(volume, dict(metadata)), repeats=True)

    def replace_metadata(self, volume: str, metadata: Mapping[str, str]) -> None:
        """Set these, and remove all others."""
        self._call(
            "set metadata", lambda cinder: cinder.volumes.update_all_metadata(volume, dict(metadata)), repeats=True
        )

    def remove_metadata(self, volume: str, name: str) -> None:
        """Remove one; nothing happens when it or its volume is not there."""
        self._gone("remove metadata", lambda cinder: cinder.volumes.delete_metadata(volume, [name]))

    def make_readonly(self, volume: str) -> None:
        """Let the volume be attached for reading only."""
        self._call(
            "make a volume read-only", lambda cinder: cinder.volumes.update_readonly_flag(volume, True), repeats=True
        )

    def extend(self, volume: str, gib: int) -> None:
        """Begin to extend a volume, which may be attached."""
        self._call("extend a volume", lambda cinder: cinder.volumes.extend(volume, gib))

    def delete(self, volume: str) -> None:
        """Begin to delete a volume; nothing happens when it is not there."""
        self._gone("delete a volume", lambda cinder: cinder.volumes.delete(volume))

    def reserve(self, volume: str, mode: str) -> str:
        """Make an attachment that leads nowhere yet, and return its id."""
        made = self._call(
            "reserve a volume", lambda cinder: cinder.attachments.create(volume, None, None, mode=mode)
        )
        return self._understood(lambda: str(_plain(made)["id"]))

    def connection(self, attachment: str, connector: Mapping[str, Any]) -> dict[str, Any]:
        """Let a host use the volume of an attachment, and return how."""
        made = self._call(
            "attach a volume", lambda cinder: cinder.attachments.update(attachment, dict(connector))
        )
        return self._understood(lambda: dict(_plain(made)["connection_info"]))

    def complete(self, attachment: str) -> None:
        """Tell Cinder that the host has the volume."""
        self._call("complete an attachment", lambda cinder: cinder.attachments.complete(attachment), repeats=True)

    def detach(self, attachment: str) -> None:
        """Remove an attachment; nothing happens when it is not there."""
        self._gone("remove an attachment", lambda cinder: cinder.attachments.delete(attachment))

    def gib_left(self) -> int | None:
        """Return the GiB that the quota of the project still allows, None without a limit."""
        found = self._call("ask for the quota", lambda cinder: cinder.limits.get().absolute, repeats=True)
        told = self._understood(lambda: {each.name: int(each.value) for each in found})
        most = told.get("maxTotalVolumeGigabytes", -1)
        return None if most < 0 else max(most - told.get("totalGigabytesUsed", 0), 0)

    def attachments(self, volume: str) -> list[str]:
        """Return the ids of the attachments of a volume."""
        found = self._call("list attachments", lambda cinder: cinder.attachments.list(
            search_opts={"volume_id": volume, "all_tenants": 1}
        ), repeats=True)
        return self._understood(lambda: [str(each["id"]) for each in map(_plain, found)])

    def connection_of(self, attachment: str) -> dict[str, Any]:
        """Return how a host uses the volume of an attachment; empty when it does not yet."""
        found = self._call("show an attachment", lambda cinder: cinder.attachments.show(attachment), repeats=True)
        return self._understood(lambda: dict(_plain(found).get("connection_info") or {}))

    def wait(self, volume: str, what: str, done: Callable[[Volume | None], bool], seconds: float) -> Volume | None:
        """Ask for the volume until ``done`` says that it is as wanted, and return it; None when it is gone.

        Raises CinderFailed when it comes into a state of error, or after these seconds.
        """
        pause, waited = _FIRST_PAUSE, 0.0
        while True:
            found = self.find(volume)
            if done(found):
                return found
            if found is None or "error" in found.status:
                status = "gone" if found is None else found.status
                raise CinderFailed(
                    f"{self.place}: {what}: the volume is {status}: see the log of Cinder", state=status
                )
            if waited >= seconds:
                raise CinderFailed(
                    f"{self.place}: {what}: still {found.status} after {seconds:.0f} seconds: see the log of Cinder",
                    silent=True,
                )
            pause = min(pause, seconds - waited, _LONGEST_PAUSE)
            deadlines.pause(pause)
            waited += pause
            pause *= 1.5

    def _page(self, last: str) -> list[Volume] | None:
        try:
            return self._list({}, marker=last or None, limit=_PAGE)
        except CinderFailed as failed:
            if last and failed.status in (400, 404):
                return None
            raise

    def _list(
        self, filters: Mapping[str, Any], *, everywhere: bool = False, marker: str | None = None,
        limit: int | None = None,
    ) -> list[Volume]:
        wanted = {**filters, **({"all_tenants": 1} if everywhere else {})}
        found = self._call("list volumes", lambda cinder: cinder.volumes.list(
            detailed=True, search_opts=wanted, marker=marker, limit=limit, sort="id:asc"
        ), repeats=True)
        return self._understood(lambda: [Volume.of(each.to_dict()) for each in found])

    def _gone(self, operation: str, act: Callable[[Any], Any]) -> None:
        try:
            self._call(operation, act, repeats=True)
        except CinderFailed as failed:
            if failed.status != 404:
                raise

    def _call(self, operation: str, act: Callable[[Any], T], *, repeats: bool = False) -> T:
        """Return what ``act`` returns; a token that the server refuses is exchanged for a new one, once."""
        token = self._tokens.get()
        try:
            return self._once(operation, token, act, repeats)
        except CinderFailed as failed:
            if failed.status != 401 or not self._tokens.forget(token):
                raise
        return self._once(operation, self._tokens.get(), act, repeats)

    def _once(self, operation: str, token: CinderToken, act: Callable[[Any], T], repeats: bool) -> T:
        # Made anew: they are cheap, and not meant for several threads.
        cinder = cinderclient.Client(
            session=self._wire.session(Bearer(token)), api_version=api_versions.APIVersion(_MICROVERSION),
            service_type="volumev3", retries=0,
        )
        return self._wire.exchange(operation, self.place, lambda: act(cinder), repeats=repeats)

    def _understood(self, act: Callable[[], T]) -> T:
        return self._wire.exchange("understand the answer", self.place, act)


def _plain(shown: Any) -> Mapping[str, Any]:
    """Return the attributes of an answer: the library gives some as a dictionary, others as an object."""
    found: Mapping[str, Any] = shown if isinstance(shown, Mapping) else shown.to_dict()
    return found
