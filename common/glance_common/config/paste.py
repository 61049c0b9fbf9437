"""Paste files, ``glance-api-paste.ini`` and ``glance-registry-paste.ini``: what a site has chosen in them.

No class of such a file is loaded: the pipeline of this service is in code. What can differ is taken from the file: how
callers are authenticated, whether the image cache is asked for, and the options of the health check. The rest is told
at start (``paste_findings``).
"""

import configparser
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from oslo_config import cfg

from glance_common.config.loading import ConfigError

GROUP = "paste_deploy"
PROGRAMS = ("glance-api", "glance-registry")
"""Those that have a paste file."""

CONFIG_FILE_OPT = cfg.StrOpt(
    "config_file",
    help="Paste file of an installation of the original. Unset: the one that is named after the program and lies where "
    "its configuration files are, if there is one. Its pipeline for the flavor says how callers are authenticated and "
    "whether there is an image cache, and it may hold options of the health check; no class of it is loaded.",
)


class FilterKind(StrEnum):
    """What a filter or an application of a paste file is."""

    TOKEN = "authtoken"  # noqa: S105 - the name of a filter
    CONTEXT = "context"
    NO_AUTH = "unauthenticated-context"
    CACHE = "cache"
    CACHE_MANAGEMENT = "cachemanage"
    GZIP = "gzip"
    PROFILER = "osprofiler"
    CORS = "cors"
    HEALTH = "healthcheck"
    PROXY = "http_proxy_to_wsgi"
    SIZE = "sizelimit"
    SERVED = "served"
    """What the service does by itself in every pipeline."""


_MIDDLEWARE = "glance.api.middleware"
_TARGETS = {
    "keystonemiddleware.auth_token:filter_factory": FilterKind.TOKEN,
    "keystoneclient.middleware.auth_token:filter_factory": FilterKind.TOKEN,
    f"{_MIDDLEWARE}.context:ContextMiddleware.factory": FilterKind.CONTEXT,
    f"{_MIDDLEWARE}.context:UnauthenticatedContextMiddleware.factory": FilterKind.NO_AUTH,
    f"{_MIDDLEWARE}.cache:CacheFilter.factory": FilterKind.CACHE,
    f"{_MIDDLEWARE}.cache_manage:CacheManageFilter.factory": FilterKind.CACHE_MANAGEMENT,
    f"{_MIDDLEWARE}.version_negotiation:VersionNegotiationFilter.factory": FilterKind.SERVED,
    f"{_MIDDLEWARE}.gzip:GzipMiddleware.factory": FilterKind.GZIP,
    "osprofiler.web:WsgiMiddleware.factory": FilterKind.PROFILER,
    "glance.api:root_app_factory": FilterKind.SERVED,
    "glance.api:pipeline_factory": FilterKind.SERVED,
    "glance.api.versions:create_resource": FilterKind.SERVED,
    "glance.api.v1.router:API.factory": FilterKind.SERVED,
    "glance.api.v2.router:API.factory": FilterKind.SERVED,
    "glance.registry.api:API.factory": FilterKind.SERVED,
    "glance.registry.api.v1:API.factory": FilterKind.SERVED,
    "glance.registry.api.v2:API.factory": FilterKind.SERVED,
    "oslo_middleware:Healthcheck.app_factory": FilterKind.HEALTH,
    "oslo_middleware.healthcheck:Healthcheck.app_factory": FilterKind.HEALTH,
    "oslo_middleware.cors:filter_factory": FilterKind.CORS,
    "egg:Paste#urlmap": FilterKind.SERVED,
}
for _name, _class, _kind in (
    ("healthcheck", "Healthcheck", FilterKind.HEALTH),
    ("http_proxy_to_wsgi", "HTTPProxyToWSGI", FilterKind.PROXY),
    ("ssl", "SSLMiddleware", FilterKind.PROXY),
    ("sizelimit", "RequestBodySizeLimiter", FilterKind.SIZE),
    ("request_id", "RequestId", FilterKind.SERVED),
    ("catch_errors", "CatchErrors", FilterKind.SERVED),
    ("cors", "CORS", FilterKind.CORS),
):
    _TARGETS[f"oslo_middleware:{_class}.factory"] = _kind
    _TARGETS[f"oslo_middleware.{_name}:{_class}.factory"] = _kind
    _TARGETS[f"egg:oslo.middleware#{_name}"] = _kind

FACTORIES = (
    "use", "paste.filter_factory", "paste.app_factory", "paste.composite_factory", "paste.filter_app_factory",
)
"""Keys that say what a section is."""
HEALTH_BACKENDS = ("disable_by_file", "disable_by_files_ports", "enable_by_files")
"""The checks of the health check that look at files, as oslo.middleware names them."""
_KINDS = ("filter", "app", "composite", "pipeline", "filter-app")


@dataclass(frozen=True, slots=True)
class Part:
    """A filter or an application of a pipeline; ``kind`` is None for a class that the original does not have."""

    section: str
    target: str
    kind: FilterKind | None
    options: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class PasteFile:
    """The sections of the paste file of ``app``, as they are written."""

    app: str
    path: str
    sections: Mapping[str, Mapping[str, str]]

    def pipeline(self, flavor: str) -> list[str] | None:
        """Return the names in the pipeline for a flavor, '' = without one; None when there is none."""
        name = f"{self.app}-{flavor}" if flavor else self.app
        if f"pipeline:{name}" in self.sections:
            return self.sections[f"pipeline:{name}"].get("pipeline", "").split()
        mounted = self.sections.get(f"composite:{name}", {}).get("/")
        chosen = self.sections.get(f"composite:{mounted}", {}).get(flavor or "default")
        return None if chosen is None else chosen.split()

    def part(self, name: str) -> Part | None:
        """Return what a name in a pipeline is, None when it has no section."""
        for kind in _KINDS:
            section = self.sections.get(f"{kind}:{name}")
            if section is not None:
                target = next((section[key] for key in FACTORIES if key in section), "")
                options = {key: value for key, value in section.items() if key not in FACTORIES}
                return Part(f"{kind}:{name}", target, _TARGETS.get(target), options)
        return None

    def kinds(self, flavor: str) -> set[FilterKind | None] | None:
        """Return what is in the pipeline for a flavor, with None for classes that are not known; None without one."""
        names = self.pipeline(flavor)
        if names is None:
            return None
        return {part.kind for name in names if (part := self.part(name)) is not None}

    def health_options(self) -> Mapping[str, str]:
        """Return the options of the health check; they win over those of ``[healthcheck]``."""
        return next((part.options for part in self._parts() if part.kind is FilterKind.HEALTH), {})

    def _parts(self) -> Iterator[Part]:
        for section in self.sections:
            kind, _, name = section.partition(":")
            part = self.part(name) if kind in _KINDS else None
            if part is not None:
                yield part


def read(conf: cfg.ConfigOpts) -> PasteFile:
    """Return the paste file of the program whose options these are, an empty one when there is none.

    Raises ConfigError when a named file is missing, and for a file that cannot be read or parsed, with the line.
    """
    prog = str(conf.prog)
    if prog not in PROGRAMS:
        return PasteFile(prog, "", {})
    named = conf[GROUP].config_file
    path = conf.find_file(named or f"{prog}-paste.ini")
    if path is None:
        if named:
            raise ConfigError(GROUP, "config_file", named, "there is no such file")
        return PasteFile(prog, "", {})
    parser = configparser.ConfigParser(interpolation=None, strict=False, default_section="")
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # as the library documents it
    try:
        parser.read_string(Path(path).read_text(encoding="utf-8"), path)
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(GROUP, "config_file", path, f"cannot be read: {said}") from None
    except configparser.Error as error:
        raise ConfigError(GROUP, "config_file", path, f"cannot be parsed{_line_of(error)}") from None
    return PasteFile(prog, path, {section: dict(parser.items(section)) for section in parser.sections()})


def _line_of(error: configparser.Error) -> str:
    several = getattr(error, "errors", None)
    line = several[0][0] if several else getattr(error, "lineno", None)
    return f" in line {line}" if line else ""
