"""The switches of ``/healthcheck``: files by which an operator takes a server out of service, and who may ask.

The options are those of oslo.middleware, in ``[healthcheck]`` or in the paste file.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Self

from oslo_config import cfg, types

from glance_common.config.loading import ConfigError
from glance_common.config.paste import HEALTH_BACKENDS

GROUP = "healthcheck"
_PROXIED = ("HTTP_FORWARDED", "HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_HOST", "HTTP_X_FORWARDED_PROTO",
            "HTTP_X_FORWARDED_PREFIX")

OPTS: list[cfg.Opt] = [
    cfg.ListOpt(
        "backends", default=[], item_type=types.String(choices=HEALTH_BACKENDS),
        help="Which of the options with files here count; empty: all.",
    ),
    cfg.StrOpt(
        "disable_by_file_path", default="/etc/glance/healthcheck_disable",
        help="While this file exists /healthcheck answers 503, so that a load balancer takes this server out.",
    ),
    cfg.ListOpt(
        "disable_by_file_paths", default=[],
        help="The same for the service on one port: port:path, several with commas.",
    ),
    cfg.ListOpt(
        "enable_by_file_paths", default=[],
        help="With this option /healthcheck answers 503 unless one of these files exists.",
    ),
    cfg.ListOpt(
        "allowed_source_ranges", default=[],
        help="Networks from which /healthcheck may be asked; others get 404. Empty: all.",
    ),
    cfg.BoolOpt(
        "ignore_proxied_requests", default=False, help="Answer 404 to a /healthcheck that came through a proxy.",
    ),
]


@dataclass(frozen=True, slots=True)
class HealthSwitches:
    """What the options say for the service on one port."""

    disabling: tuple[str, ...] = ()
    enabling: tuple[str, ...] = ()
    sources: tuple[IPv4Network | IPv6Network, ...] = ()
    ignores_proxied: bool = False

    @classmethod
    def from_conf(cls, conf: cfg.ConfigOpts, written: Mapping[str, str], port: int) -> Self:
        """Read ``[healthcheck]``; ``written`` in the paste file wins. Raises ConfigError."""
        group = conf[GROUP]

        def texts(name: str) -> list[str]:
            values = written[name].split(",") if name in written else group[name]
            return [value.strip() for value in values if value.strip()]

        used = texts("backends") or HEALTH_BACKENDS
        single = written.get("disable_by_file_path", group.disable_by_file_path)
        disabling = [single] if single and "disable_by_file" in used else []
        if "disable_by_files_ports" in used:
            pairs = (value.partition(":") for value in texts("disable_by_file_paths"))
            disabling += [path for number, _, path in pairs if path and number.strip() == str(port)]
        proxied = written.get("ignore_proxied_requests")
        return cls(
            tuple(disabling),
            tuple(texts("enable_by_file_paths")) if "enable_by_files" in used else (),
            tuple(_network(text) for text in texts("allowed_source_ranges")),
            group.ignore_proxied_requests if proxied is None else proxied.strip().lower() in ("true", "yes", "on", "1"),
        )

    def hides_from(self, environ: Mapping[str, object]) -> bool:
        """Say whether the request has to be answered as if there were no health check."""
        if self.ignores_proxied and any(name in environ for name in _PROXIED):
            return True
        return bool(self.sources) and not any(_holds(source, environ.get("REMOTE_ADDR")) for source in self.sources)

    def reason(self) -> str | None:
        """Return why the server is out of service, None when it is not."""
        if any(Path(path).exists() for path in self.disabling):
            return "DISABLED BY FILE"
        if self.enabling and not any(Path(path).exists() for path in self.enabling):
            return "FILE PATH MISSING"
        return None


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        raise ConfigError(GROUP, "allowed_source_ranges", text, "must be networks: 10.0.0.0/8, fd00::/8") from None


def _holds(network: IPv4Network | IPv6Network, address: object) -> bool:
    try:
        return ip_address(str(address)) in network
    except ValueError:
        return False
