"""The users of a deployment with Keystone."""

from tests.e2e.calls import Caller
from tests.support.keystone import ADMIN, ALT_DEMO, DEMO, DEMO_READER, REGION, Keystone


class People:
    """The users of a deployment with Keystone: as callers, and as environments for the real clients."""

    def __init__(self, keystone: Keystone, url: str) -> None:
        self.keystone = keystone
        self.url = url
        self.admin, self.demo, self.alt_demo, self.reader = (
            Caller(url, {"X-Auth-Token": keystone.token(user)}) for user in (ADMIN, DEMO, ALT_DEMO, DEMO_READER)
        )
        self.admin_env, self.demo_env, self.alt_demo_env = map(
            keystone.client_environment, (ADMIN, DEMO, ALT_DEMO)
        )

    def project(self, name: str) -> str:
        """Return the id of a project."""
        return self.keystone.project_ids[name]


def limit_options(keystone: Keystone) -> dict[str, dict[str, object]]:
    """Return the options of an API that takes limits from Keystone, where the admin may read those of all projects."""
    account = {**keystone.middleware_options(), "username": ADMIN.name, "password": ADMIN.name, "system_scope": "all"}
    del account["www_authenticate_uri"], account["project_name"], account["project_domain_name"]
    place = {"endpoint_service_type": "image", "endpoint_region_name": REGION}
    return {"DEFAULT": {"use_keystone_limits": True}, "oslo_limit": {**account, **place}}


def keystone_options(keystone: Keystone) -> dict[str, dict[str, object]]:
    """Return the options of an API that lets Keystone check every token, at each call."""
    authtoken: dict[str, object] = {**keystone.middleware_options(), "token_cache_time": -1}
    return {"paste_deploy": {"flavor": "keystone"}, "keystone_authtoken": authtoken}
