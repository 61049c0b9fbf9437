"""The console script glance-cache-manage: the cache of one host, by its API (tools section 4)."""

import sys
import time
import traceback
from collections.abc import Sequence

from glance_api.cache_tools.client import ApiAddress, CacheClient, ToolError
from glance_api.cache_tools.commands import COMMANDS, Terminal, described, image_of
from glance_api.cache_tools.options import Account, parser

PROG = "glance-cache-manage"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return 0 when it is done or the user declined, 1 when it failed."""
    made = parser(PROG, described())
    given = made.parse_intermixed_args(None if argv is None else list(argv))
    name, *words = given.command
    terminal = Terminal(given.verbose, given.force)
    try:
        if name == "help":
            terminal.say(_help(words) or made.format_help())
            return 0
        if name not in COMMANDS:
            raise ToolError(f"There is no command '{name}'.\n{described()}")
        image = image_of(name, words)
        account = Account.of(given)
        _check(given.os_auth_strategy, account)
        address = ApiAddress(given.host, given.port, False if given.insecure else given.os_cacert or True)
        begun = time.monotonic()
        with CacheClient(address, account) as client:
            COMMANDS[name].run(client, terminal, image)
        if given.verbose:
            terminal.say(f"Completed in {time.monotonic() - begun:.4f} sec.")
    except ToolError as error:
        if given.debug:
            traceback.print_exc()
        print(error, file=sys.stderr)  # noqa: T201 - the tool's answer to its caller
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _check(strategy: str, account: Account) -> None:
    """Raise ToolError when the account cannot be used in the way that was asked for."""
    if strategy not in ("", "keystone", "noauth"):
        raise ToolError("--os-auth-strategy must be keystone or noauth.")
    if strategy == "keystone" and not account.auth_url and not account.token:
        raise ToolError("--os-auth-url or OS_AUTH_URL is needed to get a token from Keystone.")


def _help(words: Sequence[str]) -> str:
    """Return the text about one command, empty when none is named. Raises ToolError for an unknown one."""
    if not words:
        return ""
    name = words[0]
    if name not in COMMANDS:
        raise ToolError(f"There is no command '{name}'.\n{described()}")
    return f"usage: {PROG} [options] {name}{' ID' if COMMANDS[name].takes_id else ''}\n\n{COMMANDS[name].text}"
