"""The commands of glance-replicator. The failure of one image does not keep the others from their turn."""

import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial

from glance_api.replicator.apis import ImageApi
from glance_api.replicator.content import checked, fetched
from glance_api.replicator.documents import ReplicaImage, differing
from glance_api.replicator.files import DumpFolder
from glance_api.replicator.peer import ReplicationError
from glance_api.replicator.progress import shown

LOG = logging.getLogger(__name__)

_QUEUED = "queued"
_WITH_DATA = ("active", "deactivated")

Data = Callable[[], Iterator[bytes]]


@dataclass
class Replication:
    """How images are replicated, and how often that failed."""

    ignored: frozenset[str]
    chunk: int
    is_metadata_only: bool
    failures: int = field(default=0, init=False)

    def each(self, images: Iterable[ReplicaImage], act: Callable[[ReplicaImage], None]) -> None:
        """Do ``act`` for each image; count and tell what fails."""
        for image in images:
            self.attempt(image.id, partial(act, image))

    def attempt(self, image_id: str, act: Callable[[], None]) -> None:
        """Do ``act`` for one image; count and tell when it fails."""
        try:
            act()
        except ReplicationError as error:
            self.failures += 1
            LOG.error("image %s: %s", image_id, error)


def size(source: ImageApi) -> None:
    """Print how many active images there are, and how large they are in all."""
    count = total = 0
    for image in source.images():
        if image.is_active:
            count += 1
            total += image.size
    say(f"Total size is {total} bytes ({total / 2**20:.1f} MiB) across {count} images")


def dump(source: ImageApi, folder: DumpFolder, work: Replication) -> None:
    """Write the images of a server that are not in the folder yet."""

    def act(image: ReplicaImage) -> None:
        needs_data = image.is_active and not work.is_metadata_only and not folder.has_data(image.id)
        if needs_data:
            offset = folder.here(image)
            if offset:
                LOG.info("image %s: going on at byte %d of %d", image.id, offset, image.size)
            pieces = fetched(source, image, work.chunk, offset)
            folder.keep(image, shown(pieces, image.id, image.size, offset), offset)
        if not folder.is_described(image.id):
            folder.describe(image)
        elif not needs_data:
            LOG.info("image %s: is here already", image.id)
            return
        LOG.info("image %s: dumped%s", image.id, f", {image.size} bytes" if needs_data else ", metadata")

    work.each(source.images(), act)


def load(folder: DumpFolder, target: ImageApi, work: Replication) -> None:
    """Bring the images of a folder to a server."""

    def act(image_id: str) -> None:
        image = folder.read(image_id)
        if image.is_active and not work.is_metadata_only and not folder.has_data(image_id):
            LOG.warning("image %s: skipped, there is no %s.img", image_id, image_id)
            return
        _bring(image, target, lambda: folder.pieces(image, work.chunk), work)

    for each in folder.ids():
        work.attempt(each, partial(act, each))


def livecopy(source: ImageApi, target: ImageApi, work: Replication) -> None:
    """Bring the images of one server to another."""
    work.each(
        source.images(), lambda image: _bring(image, target, lambda: fetched(source, image, work.chunk), work)
    )


def _bring(image: ReplicaImage, target: ImageApi, data: Data, work: Replication) -> None:
    """Create an image, with its data, or change the metadata of the one that is there."""
    wanted = target.as_shown(image.without(work.ignored))
    there = target.find(image.id)
    if there is None:
        target.create(wanted)
    else:
        _update(wanted, there, target, work.ignored)
    if image.is_active and not work.is_metadata_only:
        _fill(image, there, target, data)
    if there is None:
        target.complete(wanted)
        LOG.info("image %s: created", image.id)


def _fill(image: ReplicaImage, there: ReplicaImage | None, target: ImageApi, data: Data) -> None:
    """Upload the data unless they are there. Raises ReplicationError when others are, or can be no more."""
    status = _QUEUED if there is None else there.fields.get("status")
    if there is not None and status in _WITH_DATA:
        if _differing_data(image, there):
            raise ReplicationError("the server has other data under this id.")
        return
    if status != _QUEUED:
        raise ReplicationError(f"the image on the server is {status}: it takes no data.")
    target.fill(image, shown(checked(data(), image), image.id, image.size))
    stored = target.find(image.id)
    if stored is None or stored.fields.get("status") not in _WITH_DATA:
        raise ReplicationError("the image is not active after its upload.")
    if names := _differing_data(image, stored):
        raise ReplicationError(f"the server stored other data: {', '.join(names)} differ.")
    LOG.info("image %s: copied, %d bytes", image.id, image.size)


def _update(wanted: ReplicaImage, there: ReplicaImage, target: ImageApi, ignored: frozenset[str]) -> None:
    # What is not replicated is not removed there either.
    compared = there.without(ignored)
    names = differing(wanted, compared, [*wanted.writable(), *wanted.properties, *compared.properties])
    if names:
        target.update(wanted, there, names)
        LOG.info("image %s: updated %s", wanted.id, ", ".join(names))


def _differing_data(image: ReplicaImage, there: ReplicaImage) -> list[str]:
    same_digest = image.fields.get("os_hash_algo") == there.fields.get("os_hash_algo")
    return differing(image, there, ("size", "checksum", *(("os_hash_value",) if same_digest else ())))


def compare(source: ImageApi, target: ImageApi, work: Replication) -> None:
    """Tell in what the images of two servers differ; each that does counts as a failure, as of diff."""

    def act(image: ReplicaImage) -> None:
        there = target.find(image.id)
        if there is None:
            if image.is_active:
                say(f"Image {image.id} ({image.fields.get('name')}) is missing")
                work.failures += 1
            return
        wanted = target.as_shown(image.without(work.ignored))
        names = differing(wanted, there.without(work.ignored))
        for name in names:
            ours, theirs = (each.fields.get(name, each.properties.get(name)) for each in (wanted, there))
            say(f"Image {image.id}: {name} is {ours!r}, there {theirs!r}")
        work.failures += bool(names)

    work.each(source.images(), act)


def say(text: str) -> None:
    """Print a result."""
    print(text, flush=True)  # noqa: T201 - the tool's answer to its caller


def complain(text: str) -> None:
    """Print an error."""
    print(f"ERROR: {text}", file=sys.stderr, flush=True)  # noqa: T201 - the tool's answer to its caller
