"""What an operator should know about the paste file: what of it has no effect here, and what is wrong in it."""

from collections.abc import Iterator

from oslo_config import cfg

from glance_common.config import paste
from glance_common.config.paste import FilterKind, Part, PasteFile

FAMILIES = ("glance.", "oslo_middleware", "keystonemiddleware", "osprofiler", "egg:oslo.middleware#")
"""Packages of the original whose classes are all known here."""

HEALTH_OPTIONS = frozenset({
    "path", "backends", "disable_by_file_path", "disable_by_file_paths", "enable_by_file_paths",
    "allowed_source_ranges", "ignore_proxied_requests",
})
"""Options of the health check that are obeyed."""

_HARMLESS = {
    FilterKind.TOKEN: {"delay_auth_decision", "oslo_config_project", "oslo_config_program"},
    FilterKind.CORS: {"oslo_config_project", "oslo_config_program"},
    FilterKind.HEALTH: HEALTH_OPTIONS,
}
_ELSEWHERE = {
    FilterKind.TOKEN: "it stands in [keystone_authtoken]",
    FilterKind.CORS: "it stands in [cors]",
    FilterKind.PROFILER: "it stands in [profiler]",
    FilterKind.HEALTH: "the public answer is OK or DOWN; the rest stands at metrics_bind",
}


def paste_findings(conf: cfg.ConfigOpts) -> list[tuple[str, bool]]:
    """Return sentences about the pipeline in use, each with whether something is wrong. Raises ConfigError."""
    file = paste.read(conf)
    if not file.path:
        return []
    flavor = (conf[paste.GROUP].flavor or "").strip() if "flavor" in conf[paste.GROUP] else ""
    names = file.pipeline(flavor)
    if names is None and flavor:
        # The registry authenticates callers in one way only.
        names = file.pipeline("")
    if names is None:
        return [(f"{file.path}: there is no pipeline {file.app}", True)]
    found: list[tuple[str, bool]] = []
    for name in names:
        part = file.part(name)
        if part is None:
            found.append((f"{file.path}: the pipeline names {name}, which has no section", True))
        else:
            found += _of_part(conf, file, part)
    return found


def _of_part(conf: cfg.ConfigOpts, file: PasteFile, part: Part) -> Iterator[tuple[str, bool]]:
    where = f"{file.path}: [{part.section}]"
    if part.kind is None and not part.section.startswith(("composite:", "pipeline:")):
        if part.target.startswith(FAMILIES) or not part.target:
            yield f"{where} names {part.target or 'no class'}, which does not exist", True
        else:
            yield f"{where} has no effect: {part.target} is not loaded, the pipeline is in code", False
        return
    if part.kind is FilterKind.GZIP and not getattr(conf, "compress_documents", False):
        yield f"{where} has no effect: set [DEFAULT] compress_documents", False
    if part.kind is FilterKind.SIZE:
        yield f"{where} has no effect: [DEFAULT] max_json_body bounds the documents of requests", False
    for backend in part.options.get("backends", "").split(",") if part.kind is FilterKind.HEALTH else ():
        if backend.strip() and backend.strip() not in paste.HEALTH_BACKENDS:
            yield f"{where} backends {backend.strip()} has no effect: the checks are those of the service", False
    if part.kind is FilterKind.HEALTH and part.options.get("path", "/healthcheck") != "/healthcheck":
        yield f"{where} path has no effect: the path is /healthcheck", False
    if part.kind in _ELSEWHERE:
        for option in part.options:
            if option not in _HARMLESS.get(part.kind, ()):
                yield f"{where} {option} has no effect: {_ELSEWHERE[part.kind]}", False
