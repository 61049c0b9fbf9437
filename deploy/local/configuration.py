"""Configuration folders for one daemon each, written from plain values."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path

Options = Mapping[str, Mapping[str, object]]
"""Group → option → value. A list is an option written several times; None leaves the option out."""


def write(folder: Path, program: str, options: Options) -> None:
    """Write ``<folder>/<program>.conf``, readable by the owner only, for ``<program> --config-dir <folder>``."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{program}.conf"
    path.touch(mode=0o600)
    path.write_text("\n".join(_lines(options)) + "\n")


def merged(*parts: Options) -> dict[str, dict[str, object]]:
    """Return the options of all parts; where two name the same option, the later part wins."""
    result: dict[str, dict[str, object]] = {}
    for part in parts:
        for group, values in part.items():
            result.setdefault(group, {}).update(values)
    return result


def make_secret(path: Path) -> None:
    """Write a new secret that signs what the daemons tell the registry, unless the file is there."""
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_hex(32) + "\n")


def _lines(options: Options) -> Iterator[str]:
    for group, values in options.items():
        yield f"[{group}]"
        for name, value in values.items():
            for each in value if isinstance(value, list | tuple) else [value]:
                if each is not None:
                    yield f"{name} = {_text(each)}"


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    # A dollar sign would be taken for a reference to another option.
    return str(value).replace("$", "$$")
