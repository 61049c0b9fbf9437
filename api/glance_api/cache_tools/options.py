"""The options of glance-cache-manage, with their old names, and their defaults from the environment."""

import argparse
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Self

DOMAIN = "default"


@dataclass(frozen=True, slots=True)
class Account:
    """Who asks: a token, or what Keystone gives one for. Domains and project are named by an id or by a name."""

    token: str
    auth_url: str
    username: str
    password: str
    user_domain: Mapping[str, str]
    project: Mapping[str, object]

    @classmethod
    def of(cls, given: argparse.Namespace) -> Self:
        """Return the account that the options name."""
        # With its id, the project needs no domain.
        project: dict[str, object] = {"id": given.os_project_id}
        if not given.os_project_id:
            project = {"name": given.os_project_name, "domain": _domain(given, "project")}
        auth_url = "" if given.os_auth_strategy == "noauth" else given.os_auth_url
        return cls(
            given.os_auth_token, auth_url, given.os_username, given.os_password, _domain(given, "user"), project
        )


def _domain(given: argparse.Namespace, kind: str) -> dict[str, str]:
    by_name: str = getattr(given, f"os_{kind}_domain_name")
    by_id: str = getattr(given, f"os_{kind}_domain_id")
    return {"name": by_name} if by_name and not by_id else {"id": by_id or given.os_domain_id or DOMAIN}


def parser(prog: str, commands: str) -> argparse.ArgumentParser:
    """Return the parser of the command line; ``commands`` describes the commands."""
    made = argparse.ArgumentParser(
        prog=prog, description="Manages the image cache of one glance-api, whose [paste_deploy] flavor has "
        "+cachemanagement.", epilog=commands, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )
    add = made.add_argument
    add("command", nargs="+", help="a command, and the id of an image where it needs one")
    add("-v", "--verbose", action="store_true", help="say more")
    add("-d", "--debug", action="store_true", help="show tracebacks of errors")
    add("-H", "--host", default="0.0.0.0", metavar="ADDRESS",  # noqa: S104 - the default of the original: this host
        help="host of glance-api, or its URL where it is reached by https or under a path (0.0.0.0)")
    add("-p", "--port", type=int, default=9292, help="port of glance-api (9292)")
    add("-k", "--insecure", action="store_true", help="do not check the certificates of https")
    add("--os-cacert", metavar="FILE", default=os.environ.get("OS_CACERT", ""), help="CA certificates; env OS_CACERT")
    add("-f", "--force", action="store_true", help="do not ask before something is done")
    _account_options(add)
    add("--version", action="version", version=f"{prog} {version('glance-services')}")
    return made


def _account_options(add: Callable[..., object]) -> None:
    def option(name: str, text: str, *others: str, also: str = "", default: str = "") -> None:
        """Add an option, whose value may also come from the environment variable of its name."""
        variable = name.lstrip("-").replace("-", "_").upper()
        value = os.environ.get(variable) or os.environ.get(also) or default
        underscored = f"--{name.lstrip('-').replace('-', '_')}"
        add(name, underscored, *others, default=value, metavar="TEXT", help=f"{text}; env {variable}")

    option("--os-auth-token", "token, instead of user and password", "-A", "--auth_token", also="OS_TOKEN")
    option("--os-username", "user", "-I")
    option("--os-password", "password of the user", "-K")
    option("--os-region-name", "without effect: --host names the service", "-R")
    option("--os-project-id", "project, by its id", "--os-tenant-id", "--os_tenant_id", also="OS_TENANT_ID")
    option("--os-project-name", "project, by its name", "-T", "--os-tenant-name", "--os_tenant_name",
           also="OS_TENANT_NAME")
    option("--os-user-domain-id", "domain of the user, by its id")
    option("--os-user-domain-name", "domain of the user, by its name")
    option("--os-project-domain-id", "domain of the project, by its id")
    option("--os-project-domain-name", "domain of the project, by its name")
    option("--os-domain-id", f"domain of both, where they have none of their own ({DOMAIN})")
    option("--os-auth-url", "URL of Keystone; what it gives is used when it is set", "-N")
    option("--os-auth-strategy", "keystone, or noauth for a glance-api that asks for no token", "-S")
