"""What pages of the documentation show: tests run it."""

from __future__ import annotations

import configparser
import re
from pathlib import Path
from textwrap import dedent
from typing import Any

_DOCS = Path(__file__).parents[2] / "docs"


def block(page: str, language: str, number: int = 0) -> str:
    """Return a block in this language of a page, of one about a store or any other; the first one by default."""
    store = _DOCS / "stores" / f"{page}.md"
    text = (store if store.exists() else _DOCS / f"{page}.md").read_text()
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL)
    return dedent(found[number][1])


def documented(page: str, number: int = 0) -> dict[str, dict[str, Any]]:
    """Return the configuration in a block of a page, by default the one that the page begins with."""
    parser = configparser.RawConfigParser(default_section="none")
    parser.read_string(block(page, "ini", number))
    return {group: dict(parser[group]) for group in parser.sections()}


def replaced(options: dict[str, dict[str, Any]], group: str, **values: Any) -> None:
    """Put the values of a test in the place of those of a page, which has all of them."""
    assert values.keys() <= options[group].keys(), f"the page has no {values.keys() - options[group].keys()}"
    options[group] |= values
