"""Looking into files with the rules that every upload passes (security S-34 to S-39); no tool guesses a format."""

from collections.abc import Callable, Iterator
from pathlib import Path

from glance_api.content.formats import FormatRules, Inspection
from glance_api.imports.contract import ImportFailed

_PIECE = 1024 * 1024


def inspect_file(
    path: Path, disk_format: str, rules: FormatRules, still_wanted: Callable[[], None], container_format: str = "bare"
) -> int | None:
    """Return the virtual size of a file that has to be of ``disk_format``, None when it cannot be told.

    Raises UnsupportedMediaType, ImportFailed when the file cannot be read, and what ``still_wanted`` raises.
    """
    return _fed(Inspection(disk_format, container_format, rules), path, still_wanted).finish()


def introspect_file(path: Path, rules: FormatRules, still_wanted: Callable[[], None]) -> tuple[str, int | None]:
    """Return disk format and virtual size of a file whose format is not declared (import tasks).

    Raises UnsupportedMediaType for unsafe content, ImportFailed when the file cannot be read, and what ``still_wanted``
    raises.
    """
    return _fed(Inspection("raw", "bare", rules), path, still_wanted).identify()


def _fed(inspection: Inspection, path: Path, still_wanted: Callable[[], None]) -> Inspection:
    for piece in _pieces(path):
        still_wanted()
        inspection.update(piece)
    return inspection


def _pieces(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                yield piece
    except OSError as error:
        raise unreadable(error) from error


def unreadable(error: OSError) -> ImportFailed:
    """Return why an import fails whose staged data gave ``error``; it names no path."""
    if isinstance(error, FileNotFoundError):
        return ImportFailed("the staged data are not there any more; they have to be staged again")
    return ImportFailed(f"the staged data cannot be read: {error.strerror or type(error).__name__}")
