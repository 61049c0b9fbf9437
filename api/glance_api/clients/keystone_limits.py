"""Unified limits: what Keystone says each project may use (configuration section 9).

Asked anew at every call that increases usage, so that a changed limit holds at once; only where our endpoint stands in
the catalog is remembered. The library oslo.limit is not used: it reads the process-wide options, keeps its session in a
global, and compares usage outside of any transaction.
"""

import logging
from collections.abc import Mapping
from typing import Any

from keystoneauth1 import exceptions as keystoneauth
from keystoneauth1 import loading
from oslo_config import cfg

from glance_common.config.loading import ConfigError
from glance_common.fetch.guarded_http import guard_session
from glance_common.fetch.guards import ExchangeLimits
from glance_common.model.errors import Unavailable
from glance_common.model.limits import KINDS, Limits

LOG = logging.getLogger(__name__)

GROUP = "oslo_limit"
UNIFIED = tuple(name for name in KINDS if name != "user_storage_quota")
DEFAULT_TIMEOUT = 10
"""Seconds for one answer of Keystone. Without this bound a hanging Keystone would hang our clients."""


class KeystoneLimits:
    """The limits registered for our endpoint, and those of single projects, which come before them.

    What is not registered may not be used at all; a negative limit is none. Only Keystone's flat model is known: limits
    of parent projects are not added up.
    """

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        """Take account and endpoint from the group ``[oslo_limit]``; raises ConfigError."""
        self._keystone = _connect(conf)
        self._options = conf[GROUP]
        names = ("endpoint_id", "endpoint_service_type", "endpoint_service_name")
        if not any(self._options[name] for name in names):
            raise ConfigError(
                GROUP, "endpoint_id", "", f"use_keystone_limits needs one of {', '.join(names)}"
            )
        self._place: Mapping[str, str] | None = None

    def of(self, owner: str | None) -> Limits | None:
        """Return the limits of the project ``owner``; raises Unavailable when Keystone does not tell them."""
        if owner is None:
            return None
        try:
            place = self._find_place()
            values = dict.fromkeys(UNIFIED, 0)
            values |= _by_name(self._get("/registered_limits", place)["registered_limits"], "default_limit")
            values |= _by_name(self._get("/limits", {**place, "project_id": owner})["limits"], "resource_limit")
        except (keystoneauth.ClientException, KeyError, ValueError) as error:
            LOG.error("the limits of project %s cannot be read from Keystone: %s", owner, error)
            raise Unavailable("Keystone, which knows the limits of the project, does not tell them") from error
        return Limits(owner, {name: limit for name, limit in values.items() if limit >= 0})

    def _find_place(self) -> Mapping[str, str]:
        """Return service and region of our endpoint, as limits name them."""
        if self._place is None:
            endpoint = self._endpoint()
            place = {"service_id": endpoint["service_id"], "region_id": endpoint.get("region_id")}
            self._place = {name: value for name, value in place.items() if value}
        return self._place

    def _endpoint(self) -> Mapping[str, Any]:
        options = self._options
        if options.endpoint_id:
            endpoint: Mapping[str, Any] = self._get(f"/endpoints/{options.endpoint_id}", {})["endpoint"]
            return endpoint
        wanted = {"type": options.endpoint_service_type, "name": options.endpoint_service_name}
        service = _only("service", self._get("/services", wanted)["services"])
        wanted = {
            "service_id": service["id"],
            "interface": options.endpoint_interface.removesuffix("URL"),
            "region_id": options.endpoint_region_name,
        }
        return _only("endpoint", self._get("/endpoints", wanted)["endpoints"])

    def _get(self, path: str, query: Mapping[str, str | None]) -> Any:
        given = {name: value for name, value in query.items() if value is not None}
        return self._keystone.get(path, params=given, headers={"Accept": "application/json"}).json()


def _connect(conf: cfg.ConfigOpts) -> Any:
    """Return the way to the Identity API v3 that ``[oslo_limit]`` names; nothing is connected yet."""
    loading.register_auth_conf_options(conf, GROUP)
    loading.register_session_conf_options(conf, GROUP)
    loading.register_adapter_conf_options(conf, GROUP, include_deprecated=False)
    try:
        account = loading.load_auth_from_conf_options(conf, GROUP)
        if account is None:
            raise ConfigError(GROUP, "auth_type", "", "use_keystone_limits needs an account to read limits with")
        seconds = conf[GROUP].timeout or DEFAULT_TIMEOUT
        session = loading.load_session_from_conf_options(conf, GROUP, auth=account, timeout=seconds)
        if not getattr(conf[GROUP], "tls_ciphers", None) and not getattr(conf[GROUP], "tls_min_version", None):
            # These two need keystoneauth's own adapter, which knows timeouts of single reads only.
            guard_session(session, ExchangeLimits(connect=seconds, idle=seconds, answer=seconds))
        return loading.load_adapter_from_conf_options(
            conf, GROUP, session=session, auth=account,
            service_type="identity", version="3", min_version=None, max_version=None,
        )
    except (keystoneauth.ClientException, TypeError, cfg.ConfigFileValueError) as error:
        raise ConfigError(GROUP, "auth_type", conf[GROUP].auth_type, str(error)) from None


def _by_name(rows: list[dict[str, Any]], field: str) -> dict[str, int]:
    return {row["resource_name"]: int(row[field]) for row in rows if row["resource_name"] in UNIFIED}


def _only(kind: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    if len(rows) != 1:
        raise ValueError(f"[{GROUP}] names {len(rows)} {kind}s instead of one")
    return rows[0]
