"""The disk inside an OVA, for legacy import tasks (lifecycle section 6, S-41)."""

from pathlib import Path

from glance_api.content.formats import FormatRules
from glance_api.imports.contract import ImageFacts, ImportChanges, ImportFailed, Work
from glance_api.imports.inspection import introspect_file
from glance_api.imports.sandbox import Sandbox


def extract_disk(
    image: ImageFacts, path: Path, work: Work, *, is_admin: bool, rules: FormatRules, sandbox: Sandbox
) -> ImportChanges:
    """Return the disk of an image in container format ``ova`` as a bare image; others stay as they are.

    Raises ImportFailed, also when the caller is no administrator, TooLarge when the disk is larger than an image or a
    quota allows, and UnsupportedMediaType when it is unsafe.
    """
    if image.container_format != "ova":
        return ImportChanges()
    if not is_admin:
        raise ImportFailed("only administrators may import the disk of an OVA")
    target = work.folder / f"{image.id}.disk"
    sandbox.unpack("extract_ova", path.absolute(), target, work)
    disk_format, virtual_size = introspect_file(target, rules, work.still_wanted)
    return ImportChanges(path=target, disk_format=disk_format, container_format="bare", virtual_size=virtual_size)
