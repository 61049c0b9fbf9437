"""What is told of a fetch to a person at a terminal."""

from glance_api.cache.layout import CacheLayout


def fetch_line(layout: CacheLayout, image_id: str) -> str:
    """Return what is to be said of the image now."""
    try:
        file = next((file for file in layout.unfinished() if file.image_id == image_id), None)
    except OSError:
        file = None
    if file is None:
        return f"{image_id}: waiting"
    # The room on the disk was set aside for the whole image, where the file system can do that.
    share = f" of {_mib(file.taken)} ({100 * file.size // file.taken} %)" if file.taken > file.size else ""
    return f"{image_id}: {_mib(file.size)}{share}"


def _mib(size: int) -> str:
    """Return a number of bytes in MiB."""
    return f"{size / 2**20:.1f} MiB"
