"""The disk inside an OVA, for legacy import tasks (lifecycle section 6, S-41), and what the descriptor says."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from oslo_config import cfg

from glance_api.content.formats import FormatRules
from glance_api.imports.contract import ImageFacts, ImportChanges, ImportFailed, Work
from glance_api.imports.inspection import introspect_file
from glance_api.imports.sandbox import Sandbox
from glance_common.config.loading import ConfigError

METADATA_FILE = "ovf-metadata.json"
"""Names the settings of processors whose values become properties of images: ``{"cim_pasd": [name…]}``."""
PREFIX = "cim_pasd"
_LONGEST_VALUE = 255


@dataclass(frozen=True, slots=True)
class OvaTools:
    """What takes an OVA apart; ``settings`` are the names in ``ovf-metadata.json``."""

    rules: FormatRules
    sandbox: Sandbox
    settings: tuple[str, ...] = ()

    def extract_disk(self, image: ImageFacts, path: Path, work: Work, *, is_admin: bool) -> ImportChanges:
        """Return the disk of an image in container format ``ova`` as a bare image; others stay as they are.

        Raises ImportFailed, also when the caller is no administrator, TooLarge when the disk is larger than an image
        or a quota allows, and UnsupportedMediaType when it is unsafe.
        """
        if image.container_format != "ova":
            return ImportChanges()
        if not is_admin:
            raise ImportFailed("only administrators may import the disk of an OVA")
        target = work.folder / f"{image.id}.disk"
        said = self.sandbox.unpack("extract_ova", path.absolute(), target, work, words=self.settings)
        disk_format, virtual_size = introspect_file(target, self.rules, work.still_wanted)
        return ImportChanges(
            path=target, disk_format=disk_format, container_format="bare", virtual_size=virtual_size,
            properties=_properties(said, self.settings) if self.settings else {},
        )


def _properties(said: str, settings: Sequence[str]) -> dict[str, str]:
    """Return the properties that the program found. What it says is as little to be trusted as the archive."""
    try:
        found = json.loads(said.splitlines()[-1])
    except (ValueError, IndexError, RecursionError):
        found = None
    if not isinstance(found, dict) or not all(_is_value(value) for value in found.values()):
        raise ImportFailed(f"a setting in the descriptor of the OVA is no text of at most {_LONGEST_VALUE} characters")
    return {f"{PREFIX}_{name}": found[name] for name in settings if name in found}


def _is_value(value: object) -> bool:
    return isinstance(value, str) and len(value) <= _LONGEST_VALUE and "\0" not in value


def read_settings(conf: cfg.ConfigOpts) -> tuple[str, ...]:
    """Return the names in ``ovf-metadata.json`` beside the configuration files; none without the file.

    Raises ConfigError for a file that cannot be read or is of another form.
    """
    path = conf.find_file(METADATA_FILE)
    if path is None:
        return ()
    option = ("DEFAULT", METADATA_FILE, path)
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(*option, f"cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(*option, f"is not JSON: {error}") from None
    names = document.get(PREFIX, []) if isinstance(document, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) and name.isalnum() for name in names):
        raise ConfigError(*option, f'must be an object whose "{PREFIX}" is a list of names')
    return tuple(dict.fromkeys(names))
