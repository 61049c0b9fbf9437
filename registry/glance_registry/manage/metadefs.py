"""glance-manage db load_metadefs, unload_metadefs, export_metadefs: the catalogue and its files (tools section 3)."""

import argparse
import os
from pathlib import Path
from typing import Any

import orjson
from oslo_config import cfg
from oslo_utils import strutils

from glance_common.model import errors
from glance_registry.db.session import make_engine, read, run_transaction
from glance_registry.manage.terminal import add_command, complain, say
from glance_registry.metadefs import files
from glance_registry.metadefs.files import Existing
from glance_registry.views.parsing import Fields
from glance_registry.wsgi import database_url

MAX_FILE_NAME = 255
"""Bytes that a file system takes; a namespace may have more."""

_MODES = ("merge", "prefer_new", "overwrite")


def add_commands(group: Any, prefix: str) -> None:
    """Add the commands to ``group``, with ``prefix`` before their names."""
    text = "load definition files; namespaces that exist are skipped"
    loading = add_command(group, f"{prefix}load_metadefs", text, load)
    _add_path(loading, "file or directory of *.json, instead of metadata_source_path")
    for mode, text in zip(_MODES, (
        "add to namespaces that exist what they do not have",
        "with merge: what the files say wins",
        "with merge: the files replace namespaces that exist, content and all",
    ), strict=True):
        loading.add_argument(f"--{mode}", action="store_true", help=text)
    for mode in _MODES:
        # The old form: words behind the path, in this order.
        loading.add_argument(f"{mode}_word", nargs="?", type=_boolean, default=False, metavar=mode,
                             help=f"true is the same as --{mode}")
    add_command(group, f"{prefix}unload_metadefs", "empty the catalogue of metadata definitions", unload)
    exporting = add_command(group, f"{prefix}export_metadefs", "write one file for each namespace", export)
    _add_path(exporting, "directory, instead of metadata_source_path; files of the same names are replaced")


def load(conf: cfg.ConfigOpts, arguments: Any) -> int:
    """Load the files, each as a whole or not at all; return 1 when one could not be loaded."""
    existing = _existing(arguments)
    paths = _definition_files(_path(conf, arguments))
    engine = make_engine(database_url(conf))
    broken = 0
    for path in paths:
        try:
            done = run_transaction(engine, files.load, _read(path), existing)
        except (errors.BadRequest, errors.Duplicate, errors.TooLarge, OSError) as error:
            broken += 1
            complain(f"ERROR: {path}: {_one_line(error)}")
        else:
            say(f"{path}: {done}")
    return 1 if broken else 0


def unload(conf: cfg.ConfigOpts, _arguments: Any) -> int:
    """Empty the catalogue."""
    count = run_transaction(make_engine(database_url(conf)), files.unload)
    say(f"The catalogue of metadata definitions is empty; it had {count} namespaces.")
    return 0


def export(conf: cfg.ConfigOpts, arguments: Any) -> int:
    """Write one file for each namespace into a directory that exists."""
    folder = _path(conf, arguments)
    if not folder.is_dir():
        raise errors.BadRequest(f"{folder} is not a directory")
    left_out = 0
    for document in read(make_engine(database_url(conf)), files.export):
        name = f"{document['namespace']}.json"
        if len(name.encode()) > MAX_FILE_NAME:
            left_out += 1
            complain(f"ERROR: {name}: longer than the name of a file can be")
        else:
            _write(folder / name, document)
    return 1 if left_out else 0


def _write(path: Path, document: dict[str, Any]) -> None:
    unfinished = path.with_name(f".{os.getpid()}.unfinished")
    try:
        unfinished.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
        unfinished.replace(path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise errors.BadRequest(f"{path}: {error.strerror}") from error
    say(f"{path}: written")


def _add_path(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("path", nargs="?", help=text)
    parser.add_argument("--path", dest="named_path", metavar="PATH", help="the same")


def _boolean(text: str) -> bool:
    try:
        return bool(strutils.bool_from_string(text, strict=True))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false") from None


def _existing(arguments: Any) -> Existing:
    merge, prefer_new, overwrite = (
        getattr(arguments, mode) or getattr(arguments, f"{mode}_word") for mode in _MODES
    )
    if prefer_new and overwrite:
        raise errors.BadRequest("prefer_new and overwrite exclude each other")
    if (prefer_new or overwrite) and not merge:
        raise errors.BadRequest("prefer_new and overwrite need merge")
    if not merge:
        return Existing.SKIP
    return Existing.PREFER_NEW if prefer_new else Existing.OVERWRITE if overwrite else Existing.MERGE


def _path(conf: cfg.ConfigOpts, arguments: Any) -> Path:
    return Path(arguments.named_path or arguments.path or conf.metadata_source_path)


def _definition_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    found = sorted(path.glob("*.json"))
    if not found:
        raise errors.BadRequest(f"{path}: no *.json file of metadata definitions is there")
    return found


def _read(path: Path) -> dict[str, Any]:
    return Fields.parse(path.read_bytes(), "the file").values


def _one_line(error: Exception) -> str:
    text = error.strerror or "not readable" if isinstance(error, OSError) else str(error)
    return " ".join(text.split())
