"""docs/tools.md has a section for every console script, with just the commands and options that ``--help`` shows.

A new console script needs a heading ``## <name>``; ``## <name> <command>`` belongs to it. In the section, each command
stands in backticks or behind the name of the tool, and each option somewhere. The first cells of its tables name no
option that the tool does not have.
"""

from __future__ import annotations

import configparser
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "tools.md").read_text()
SECTIONS = dict(re.findall(r"^## (.+)\n((?:(?!## ).*\n)*)", PAGE, re.MULTILINE))
EVERYWHERE = {"-h", "--help", "--version"}
WRONG_USAGE = {"glance-status": 255}
"""Exit code for a wrong command line, of tools that have another one than 2."""
OLD_FORM = "db_"
"""Commands of glance-manage with this prefix are another spelling."""


def scripts() -> dict[str, str]:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    lines = setup["options.entry_points"]["console_scripts"].split("\n")
    return dict(re.split(r"\s*=\s*", line, maxsplit=1) for line in lines if line)


SCRIPTS = scripts()


def run(script: str, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Run a console script in this process; return its exit code and what it said."""
    module, _, function = SCRIPTS[script].partition(":")
    try:
        code = getattr(importlib.import_module(module), function)(arguments)
    except SystemExit as end:
        code = end.code
    told = capsys.readouterr()
    return int(code or 0), told.out, told.err


def helps(script: str, capsys: pytest.CaptureFixture[str]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the help of a script and of each of its commands, with the words of the command."""
    wanted: list[tuple[str, ...]] = [()]
    while wanted:
        words = wanted.pop(0)
        code, text, _ = run(script, [*words, "--help"], capsys)
        assert code == 0, f"{script} {' '.join(words)} --help"
        yield words, text
        commands = re.findall(r"^ {4}([a-z][\w-]*)(?=\s)", text.partition("\nCommands:\n")[2], re.MULTILINE)
        for choices in re.findall(r"^ {2}\{([\w,-]+)\}", text, re.MULTILINE):
            commands += [choice for choice in choices.split(",") if choice not in commands]
        wanted += [(*words, command) for command in commands if not command.startswith(OLD_FORM)]


def options(text: str) -> list[tuple[list[str], str]]:
    """Return the names of each option of a help, and its explanation; not what only turns another option off."""
    found = []
    form = r"^ {2}(-.*?)(?: {2,}(.*))?\n((?: {6,}.*\n)*)"
    for definition, first, more in re.findall(form, f"{text}\n", re.MULTILINE):
        names = [each.split()[0] for each in definition.split(", ") if each.startswith("-")]
        found.append((names, " ".join(f"{first} {more}".split())))
    known = {name for names, _ in found for name in names}
    return [(names, told) for names, told in found if names[0].replace("--no", "--", 1) not in known - {names[0]}]


def section(script: str) -> str:
    """Return what the page says of a tool, with the headings."""
    return "".join(
        f"{heading}\n{text}" for heading, text in SECTIONS.items()
        if script in heading.split(", ") or heading.startswith(f"{script} ")
    )


def documented(text: str) -> set[str]:
    """Return the options that stand in the first cells of the tables of a section."""
    cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("|")]
    return {name for cell in cells for name in re.findall(r"`(--?\w[\w-]*)[^`]*`", cell)}


GENERAL = documented(SECTIONS["General options"])


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_tool_has_one_section(script: str) -> None:
    assert [heading for heading in SECTIONS if script in heading.split(", ")] != [], f"docs/tools.md: ## {script}"


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_option_of_a_tool_is_on_its_page(script: str, capsys: pytest.CaptureFixture[str]) -> None:
    shown = set(re.findall(r"(?<![\w-])--?\w[\w-]*", section(script))) | GENERAL | EVERYWHERE
    missing = [
        f"| `{max(names, key=len)}` | {told} |"
        for _, text in helps(script, capsys) for names, told in options(text) if not shown & set(names)
    ]
    assert missing == [], f"docs/tools.md, ## {script}, lacks:\n" + "\n".join(dict.fromkeys(missing))


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_option_on_the_page_of_a_tool_is_there(script: str, capsys: pytest.CaptureFixture[str]) -> None:
    known = {name for _, text in helps(script, capsys) for names, _ in options(text) for name in names}
    others = {name for each in heading_of(script) for _, text in helps(each, capsys) for names, _ in options(text)
              for name in names}
    assert documented(section(script)) - known - others == set()
    if "--config-file" in known:
        assert GENERAL - known == set()


def heading_of(script: str) -> list[str]:
    """Return the other tools that have the same section."""
    [heading] = [heading for heading in SECTIONS if script in heading.split(", ")]
    return [each for each in heading.split(", ") if each != script]


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_command_of_a_tool_is_on_its_page(script: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = section(script)
    parsed = list(helps(script, capsys))
    leaves = [words for words, _ in parsed if words and not any(other[:-1] == words for other, _ in parsed)]
    missing = [command for command in map(" ".join, leaves)
               if not re.search(rf"(?:`|{script} ){re.escape(command)}(?![\w-])", text)]
    assert missing == [], f"docs/tools.md, ## {script}, lacks these commands in backticks"


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_tool_tells_its_version_and_refuses_what_it_does_not_know(
    script: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(script, ["--version"], capsys)
    assert (code, bool(re.search(r"\d+\.\d+", out))) == (0, True)
    code, _, err = run(script, ["--no-such-option"], capsys)
    assert code == WRONG_USAGE.get(script, 2)
    assert "usage:" in err
