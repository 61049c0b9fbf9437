"""The commands of glance-cache-manage: what they ask, do and print."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from glance_api.cache_tools.client import CacheClient, ToolError

NEVER = "N/A"
_COLUMNS = ("ID", "Last Accessed (UTC)", "Last Modified (UTC)", "Size", "Hits")
_NUMBERS = ("Size", "Hits")


@dataclass(frozen=True, slots=True)
class Terminal:
    """How much is said, and whether questions are asked."""

    verbose: bool
    force: bool

    def say(self, text: str) -> None:
        """Print a result."""
        print(text)  # noqa: T201 - a command line tool speaks to the terminal

    def agrees(self, question: str) -> bool:
        """Ask before something is done; no answer means no."""
        if self.force:
            return True
        try:
            return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
        except EOFError:
            self.say("")
            return False


Run = Callable[[CacheClient, Terminal, str], None]


@dataclass(frozen=True, slots=True)
class CacheCommand:
    """One command; ``takes_id`` says whether the id of an image follows it."""

    text: str
    run: Run
    takes_id: bool = False


def list_cached(client: CacheClient, terminal: Terminal, _image: str) -> None:
    """Print the copies."""
    images = _part(client.call("GET", "cached_images"), "cached_images")
    if not images:
        terminal.say("No cached images.")
        return
    rows = [
        (
            str(image["image_id"]), _time(image["last_accessed"]), _time(image["last_modified"]), str(image["size"]),
            str(image["hits"]),
        )
        for image in images
    ]
    terminal.say(table(_COLUMNS, rows))


def list_queued(client: CacheClient, terminal: Terminal, _image: str) -> None:
    """Print the queue."""
    images = _part(client.call("GET", "queued_images"), "queued_images")
    terminal.say(table(("ID",), [(str(image),) for image in images]) if images else "No queued images.")


def queue_image(client: CacheClient, terminal: Terminal, image: str) -> None:
    """Queue one image."""
    if terminal.agrees(f"Queue image {image} for caching?"):
        client.call("PUT", f"queued_images/{image}")
        if terminal.verbose:
            terminal.say(f"Image {image} is queued.")


def _delete(kind: str) -> Run:
    """Return what deletes one image from the copies (``cached``) or from the queue (``queued``)."""

    def run(client: CacheClient, terminal: Terminal, image: str) -> None:
        if terminal.agrees(f"Delete {kind} image {image}?"):
            client.call("DELETE", f"{kind}_images/{image}")
            if terminal.verbose:
                terminal.say(f"Image {image} is not {kind} any more.")

    return run


def _delete_all(kind: str) -> Run:
    def run(client: CacheClient, terminal: Terminal, _image: str) -> None:
        if terminal.agrees(f"Delete all {kind} images?"):
            count = _part(client.call("DELETE", f"{kind}_images"), "num_deleted")
            if terminal.verbose:
                terminal.say(f"Deleted {count} {kind} images.")

    return run


COMMANDS: Mapping[str, CacheCommand] = {
    "list-cached": CacheCommand("list the images in the cache", list_cached),
    "list-queued": CacheCommand("list the images that are queued for the cache", list_queued),
    "queue-image": CacheCommand("queue an image for the cache", queue_image, takes_id=True),
    "delete-cached-image": CacheCommand("delete an image from the cache", _delete("cached"), takes_id=True),
    "delete-all-cached-images": CacheCommand("delete all images from the cache", _delete_all("cached")),
    "delete-queued-image": CacheCommand("take an image out of the queue", _delete("queued"), takes_id=True),
    "delete-all-queued-images": CacheCommand("take all images out of the queue", _delete_all("queued")),
}


def described() -> str:
    """Return the list of commands."""
    names = {name: f"{name} ID" if command.takes_id else name for name, command in COMMANDS.items()}
    lines = [f"  {names[name]:<28}{command.text}" for name, command in COMMANDS.items()]
    return "\n".join(["commands:", f"  {'help [COMMAND]':<28}describe a command", *lines])


def image_of(name: str, words: Sequence[str]) -> str:
    """Return the id among the words behind the command ``name``, empty where it takes none. Raises ToolError."""
    if not COMMANDS[name].takes_id:
        if words:
            raise ToolError(f"{name} takes no argument.")
        return ""
    if len(words) != 1:
        raise ToolError(f"{name} takes one argument, the ID of an image.")
    try:
        return str(UUID(words[0]))
    except ValueError:
        raise ToolError(f"Image ID '{words[0]}' is not a valid UUID.") from None


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return the rows in a frame; numbers stand on the right."""
    widths = [max(len(row[at]) for row in (columns, *rows)) for at in range(len(columns))]
    edge = "+".join(["", *("-" * (width + 2) for width in widths), ""])

    def line(cells: Sequence[str], *, is_head: bool = False) -> str:
        placed = []
        for name, cell, width in zip(columns, cells, widths, strict=True):
            align = "^" if is_head else ">" if name in _NUMBERS else "<"
            placed.append(f" {cell:{align}{width}} ")
        return "|".join(["", *placed, ""])

    return "\n".join([edge, line(columns, is_head=True), edge, *map(line, rows), edge])


def _time(seconds: float) -> str:
    """Return a moment as text, to the second; 0 = never."""
    return datetime.fromtimestamp(int(seconds), tz=UTC).strftime("%Y-%m-%dT%H:%M:%S") if seconds else NEVER


def _part(document: Any, name: str) -> Any:
    if not isinstance(document, dict) or name not in document:
        raise ToolError(f"the answer has no {name}: is this glance-api?")
    return document[name]
