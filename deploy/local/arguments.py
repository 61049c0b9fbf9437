"""The command line of ``deploy/run-local``; uses nothing that is not installed yet."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Arguments:
    """What the user asked for; a port of 0 means any free one."""

    api_port: int
    registry_port: int
    data_dir: Path | None
    check: bool
    verbose: bool


def parse(argv: list[str] | None = None) -> Arguments:
    """Return the parsed command line; ends the program with help or an error, as argparse does."""
    parser = argparse.ArgumentParser(
        prog="run-local",
        description="Run the whole image service on this machine in the foreground: PostgreSQL, glance-registry, "
        "glance-api and glance-scrubber. Needs neither root nor any service of the system. Ctrl-C stops everything.",
    )
    parser.add_argument("--api-port", type=_port, default=9292, metavar="N", help="default 9292; 0 = any free one")
    parser.add_argument("--registry-port", type=_port, default=9191, metavar="N", help="default 9191; 0 = any free one")
    parser.add_argument(
        "--data-dir", type=lambda text: Path(text).absolute(), metavar="DIR", help="default .local in the checkout"
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="start everything, create, upload, download, delete and purge one image, stop; exit code 0 if all worked",
    )
    parser.add_argument(
        "--verbose", action="store_true", help="show everything the programs log, not only one line for each request"
    )
    asked = Arguments(**vars(parser.parse_args(argv)))
    if asked.api_port == asked.registry_port != 0:
        parser.error(f"--api-port and --registry-port are both {asked.api_port}; they must differ")
    return asked


def _port(text: str) -> int:
    if text.isascii() and text.isdecimal() and int(text) < 65536:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a port number from 0 to 65535")


if __name__ == "__main__":
    parse()
