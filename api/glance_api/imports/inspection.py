"""Looking into files with the rules that every upload passes (security S-34 to S-39); no tool guesses a format."""

from collections.abc import Callable
from pathlib import Path

from glance_api.content.formats import FormatRules, Inspection

_PIECE = 1024 * 1024


def inspect_file(
    path: Path, disk_format: str, rules: FormatRules, still_wanted: Callable[[], None], container_format: str = "bare"
) -> int | None:
    """Return the virtual size of a file that has to be of ``disk_format``, None when it cannot be told.

    Raises UnsupportedMediaType, and what ``still_wanted`` raises.
    """
    return _fed(Inspection(disk_format, container_format, rules), path, still_wanted).finish()


def introspect_file(path: Path, rules: FormatRules, still_wanted: Callable[[], None]) -> tuple[str, int | None]:
    """Return disk format and virtual size of a file whose format is not declared (import tasks).

    Raises UnsupportedMediaType for unsafe content, and what ``still_wanted`` raises.
    """
    return _fed(Inspection("raw", "bare", rules), path, still_wanted).identify()


def _fed(inspection: Inspection, path: Path, still_wanted: Callable[[], None]) -> Inspection:
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            still_wanted()
            inspection.update(piece)
    return inspection
