"""The console script glance-replicator: images of one glance-api to another, or to files and back (tools section 7)."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from oslo_config import cfg

from glance_api.replicator import commands
from glance_api.replicator.apis import AUTO, WORDS, ImageApi, chosen, versions
from glance_api.replicator.commands import Replication
from glance_api.replicator.files import DumpFolder
from glance_api.replicator.peer import Peer, PeerSettings, ReplicationError
from glance_api.replicator.v1 import ImagesV1
from glance_api.replicator.v2 import ImagesV2
from glance_common.config import loading
from glance_common.config.findings import report
from glance_common.config.loading import ConfigError, OptionTable
from glance_common.config.log_options import FORMAT_OPTS, LOG_OPTS
from glance_common.observability import log

PROG = "glance-replicator"
NOT_REPLICATED = "created_at date deleted_at location updated_at"

_OPTS: list[cfg.Opt] = [
    cfg.IntOpt("chunksize", short="c", default=65536, min=1, max=64 * 1024 * 1024, help="Bytes that are sent at once."),
    cfg.StrOpt(
        "dontreplicate", short="D", default=NOT_REPLICATED, metavar="NAMES",
        help="Fields and properties that are neither written nor compared, separated by spaces or commas.",
    ),
    cfg.BoolOpt("metaonly", short="m", default=False, help="Only metadata, no data."),
    cfg.StrOpt("token", short="t", default="", secret=True, metavar="TOKEN", help="Token for both servers."),
    cfg.StrOpt(
        "sourcetoken", short="s", default="", secret=True, metavar="TOKEN",
        help="Token for the server that images come from, instead of token. A configuration file hides it from other "
        "users of the host.",
    ),
    cfg.StrOpt(
        "targettoken", short="T", default="", secret=True, metavar="TOKEN",
        help="Token for the server that images go to, instead of token.",
    ),
    cfg.StrOpt(
        "api", default=AUTO, choices=WORDS,
        help="API of images. auto: v1 where all servers have it, or else v2. v1 knows no tags and no hidden images, "
        "and of visibility only whether an image is public.",
    ),
    cfg.FloatOpt("timeout", default=300.0, min=1, help="Seconds of silence after which a connection is given up."),
    cfg.BoolOpt("insecure", short="k", default=False, help="Do not check the certificates of https."),
    cfg.StrOpt("os-cacert", metavar="PATH", help="File of CA certificates for https."),
]


@dataclass(frozen=True, slots=True)
class ReplicatorCommand:
    """One command; ``arguments`` names what follows it."""

    arguments: tuple[str, ...]
    text: str
    run: Callable[[cfg.ConfigOpts, Sequence[str], Replication], None]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return 0, or 1 when it or one of the images failed, or when compare found differences."""
    try:
        conf = load(sys.argv[1:] if argv is None else argv)
        if conf.command == "help":
            commands.say(_help(conf.arguments))
            return 0
        command = _command(conf.command)
        if len(conf.arguments) != len(command.arguments):
            raise ReplicationError(f"usage: {_usage(conf.command)}")
        log.setup(conf, PROG, terminal=conf.check_config)
        is_right = report(conf, options())
        if conf.check_config:
            return 0 if is_right else 1
        ignored = frozenset(conf.dontreplicate.replace(",", " ").split())
        work = Replication(ignored, conf.chunksize, conf.metaonly)
        command.run(conf, conf.arguments, work)
    except (ConfigError, ReplicationError) as error:
        commands.complain(str(error))
        return 1
    except KeyboardInterrupt:
        return 130
    return 1 if work.failures else 0


def options() -> OptionTable:
    """Return the options of the tool."""
    return [("DEFAULT", [*LOG_OPTS, *FORMAT_OPTS, *_OPTS])]


def load(argv: Sequence[str]) -> cfg.ConfigOpts:
    """Read command line and configuration files. Raises ConfigError."""
    words = [
        cfg.StrOpt("command", positional=True, required=True, help=f"One of {', '.join(['help', *COMMANDS])}."),
        cfg.MultiStrOpt("arguments", positional=True, default=[], help="What the command is about: see help COMMAND."),
    ]
    return loading.load(PROG, _options_first(argv), options(), [*words, *_OPTS])


def _options_first(argv: Sequence[str]) -> list[str]:
    """Return the command line with its options in front: argparse takes all words behind one of its positions at once.
    """
    names = ["config-file", "config-dir"]
    for opt in (*LOG_OPTS, *_OPTS):
        if not isinstance(opt, cfg.BoolOpt):
            names += [opt.name, *(str(old.name) for old in opt.deprecated_opts), *([opt.short] if opt.short else [])]
    with_value = {f"--{name}" if len(name) > 1 else f"-{name}" for name in names}
    with_value |= {name.replace("_", "-") for name in with_value}
    given: list[str] = []
    words: list[str] = []
    rest = iter(argv)
    for word in rest:
        if word == "--":
            words += rest
        elif not word.startswith("-") or word == "-":
            words.append(word)
        else:
            given.append(word)
            if word in with_value:
                given += [value for value in [next(rest, None)] if value is not None]
    return [*given, "--", *words] if words else given


def _command(name: str) -> ReplicatorCommand:
    if name not in COMMANDS:
        raise ReplicationError(f"there is no command {name[:80]!r}: {', '.join(COMMANDS)} or help.")
    return COMMANDS[name]


def _help(words: Sequence[str]) -> str:
    names = [words[0]] if words else list(COMMANDS)
    return "\n".join(f"{_usage(name)}\n    {_command(name).text}" for name in names)


def _usage(name: str) -> str:
    return " ".join([PROG, "[options]", name, *_command(name).arguments])


@contextmanager
def _servers(conf: cfg.ConfigOpts, *places: tuple[str, str]) -> Iterator[list[ImageApi]]:
    """Give the servers to the block, addresses with the option that has their token. Raises ReplicationError."""
    settings = PeerSettings(conf.timeout, False if conf.insecure else conf.os_cacert or True)
    peers = [Peer(address, conf[option] or conf.token, settings) for address, option in places]
    try:
        offered = [versions(peer) for peer in peers]
        api = chosen(conf.api, offered)
        yield [
            ImagesV2(peer) if api == "v2" else ImagesV1(peer, has_v2="v2" in known)
            for peer, known in zip(peers, offered, strict=True)
        ]
    finally:
        for peer in peers:
            peer.close()


def _size(conf: cfg.ConfigOpts, words: Sequence[str], _work: Replication) -> None:
    with _servers(conf, (words[0], "sourcetoken")) as (source,):
        commands.size(source)


def _dump(conf: cfg.ConfigOpts, words: Sequence[str], work: Replication) -> None:
    folder = DumpFolder(Path(words[1]))
    with _servers(conf, (words[0], "sourcetoken")) as (source,):
        commands.dump(source, folder, work)


def _load(conf: cfg.ConfigOpts, words: Sequence[str], work: Replication) -> None:
    folder = DumpFolder(Path(words[1]))
    with _servers(conf, (words[0], "targettoken")) as (target,):
        commands.load(folder, target, work)


def _livecopy(conf: cfg.ConfigOpts, words: Sequence[str], work: Replication) -> None:
    with _servers(conf, (words[0], "sourcetoken"), (words[1], "targettoken")) as (source, target):
        commands.livecopy(source, target, work)


def _compare(conf: cfg.ConfigOpts, words: Sequence[str], work: Replication) -> None:
    with _servers(conf, (words[0], "sourcetoken"), (words[1], "targettoken")) as (source, target):
        commands.compare(source, target, work)


COMMANDS: Mapping[str, ReplicatorCommand] = {
    "size": ReplicatorCommand(("HOST:PORT",), "Print number and total size of the active images.", _size),
    "dump": ReplicatorCommand(
        ("HOST:PORT", "PATH"), "Write the images of a server to a folder; what is there already is skipped.", _dump
    ),
    "load": ReplicatorCommand(
        ("HOST:PORT", "PATH"), "Bring the images of a folder to a server; change the metadata of those it has.", _load
    ),
    "livecopy": ReplicatorCommand(
        ("FROM:PORT", "TO:PORT"), "Bring the images of one server to another, as dump and load do.", _livecopy
    ),
    "compare": ReplicatorCommand(
        ("FROM:PORT", "TO:PORT"), "Print fields that differ, and active images that the second server lacks.", _compare
    ),
}
