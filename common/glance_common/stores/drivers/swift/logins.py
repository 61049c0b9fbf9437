"""Who the service logs in to Swift as: the options, and the sections of a file of references (glance-swift.conf)."""

import configparser
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_DEFAULT_DOMAIN = "default"
_FIELDS = (
    "user", "key", "auth_address", "application_credential_id", "application_credential_secret", "project_name",
    "project_id",
)
_DOMAINS = ("user_domain_id", "user_domain_name", "project_domain_id", "project_domain_name")


class BadLogin(ValueError):
    """A part of a login is wrong: ``name`` says which, ``rule`` what it must be. Neither holds a secret."""

    def __init__(self, name: str, rule: str) -> None:
        super().__init__(f"{name} {rule}")
        self.name = name
        self.rule = rule


@dataclass(frozen=True, slots=True)
class SwiftLogin:
    """One login. ``version`` is that of the protocol, 1 to 3; ``project`` the account in version 1.

    ``domains`` are those of user and project, by id or by name, as Keystone's library names them.
    """

    version: int
    address: str
    user: str
    project: str
    project_id: str
    key: str
    credential_id: str
    credential_secret: str
    domains: Mapping[str, str]

    def __repr__(self) -> str:
        return f"SwiftLogin({self.server})"

    @property
    def server(self) -> str:
        """Host and maybe port of the service that gives tokens, in lower case."""
        return urlsplit(self.address).netloc.lower()


def login_of_options(value: Callable[[str], Any]) -> SwiftLogin:
    """Return the login that the options say; ``value`` returns the one of an option. Raises BadLogin."""
    fields = {name: str(value(f"swift_store_{name}") or "") for name in _FIELDS}
    return _login(fields, str(value("swift_store_auth_version")))


def read_references(path: Path, version: str) -> dict[str, SwiftLogin]:
    """Return the login of each section; ``version`` is that of sections without auth_version.

    Raises BadLogin, whose name says section and option, and OSError.
    """
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(path.read_text())
    except (configparser.Error, ValueError):
        # Not the text of the error: it quotes the line.
        raise BadLogin("the file", "must have sections with lines like user = project:user") from None
    logins: dict[str, SwiftLogin] = {}
    for section in parser.sections():
        try:
            known = {name: _plain(name, parser.get(section, name, fallback="")) for name in (*_FIELDS, *_DOMAINS)}
            number = _plain("auth_version", parser.get(section, "auth_version", fallback=version))
            logins[section] = _login(known, number)
        except BadLogin as bad:
            raise BadLogin(f"[{section}] {bad.name}", bad.rule) from None
    return logins


def _plain(name: str, text: str) -> str:
    """Return what a value means in the files of the original: maybe in quotes, with %% for a percent sign."""
    if text[:1] in ("'", '"'):
        if len(text) == 1 or text[-1] != text[0]:
            raise BadLogin(name, "must end with the quote that it begins with")
        text = text[1:-1]
    return text.replace("%%", "%")


def _login(fields: Mapping[str, str], version: str) -> SwiftLogin:
    number = {"1": 1, "1.0": 1, "2": 2, "2.0": 2, "3": 3, "3.0": 3}.get(version)
    if number is None:
        raise BadLogin("auth_version", "must be 1, 2 or 3")
    project, user = _names(fields, number)
    return SwiftLogin(
        version=number, address=_address(fields["auth_address"]), user=user, project=project,
        project_id=fields["project_id"], key=fields["key"], credential_id=fields["application_credential_id"],
        credential_secret=fields["application_credential_secret"], domains=_domains(fields),
    )


def _names(fields: Mapping[str, str], version: int) -> tuple[str, str]:
    """Return project and user, after the check that there is a login in full."""
    if fields["application_credential_id"]:
        if version != 3:
            raise BadLogin("application_credential_id", "needs auth_version 3")
        if not fields["application_credential_secret"]:
            raise BadLogin("application_credential_secret", "must be set, as application_credential_id is")
        return fields["project_name"], ""
    if not fields["user"]:
        raise BadLogin("user", "must be set to project:user")
    if not fields["key"]:
        raise BadLogin("key", "must be set")
    project, colon, user = fields["user"].partition(":")
    if not colon:
        project, user = fields["project_name"], fields["user"]
    if not user or not (project or (fields["project_id"] and version != 1)):
        raise BadLogin("user", "must name a project as well: project:user")
    return project, user


def _address(text: str) -> str:
    address = text.strip().rstrip("/")
    if not address:
        raise BadLogin("auth_address", "must be set")
    if "://" not in address:
        address = f"https://{address}"
    try:
        parts = urlsplit(address)
        has_port = parts.port != 0
    except ValueError:
        raise BadLogin("auth_address", "must be a host, maybe with scheme, port and path") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not has_port or any(map(str.isspace, address)):
        raise BadLogin("auth_address", "must be a host, maybe with scheme (http or https), port and path")
    if "@" in address or parts.query or parts.fragment:
        raise BadLogin("auth_address", "must have no user, password, query or fragment")
    return address


def _domains(fields: Mapping[str, str]) -> dict[str, str]:
    given = {name: fields.get(name, "") for name in _DOMAINS if fields.get(name)}
    for of in ("user", "project"):
        if f"{of}_domain_id" not in given and f"{of}_domain_name" not in given:
            given[f"{of}_domain_id"] = _DEFAULT_DOMAIN
    return given
