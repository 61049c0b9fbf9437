"""Who is calling: the flavors, their bind rules, and identity headers."""

from typing import Any

import pytest
from tests.unit.api.conftest import make_conf

from glance_api.http.auth import choose, identity
from glance_api.http.auth import flavors as flavors_module
from glance_common.config.loading import ConfigError
from glance_common.model.context import RequestContext
from glance_common.model.errors import BadRequest, NotAuthenticated


def flavor(text: str | None, **options: Any) -> Any:
    return choose(make_conf({"paste_deploy.flavor": text, **options}))


def through(chosen: Any, headers: dict[str, str]) -> dict[str, Any]:
    """Return the environ that the application sees behind the layer."""
    seen: dict[str, Any] = {}

    def app(environ, _start_response):
        seen.update(environ)
        return []

    chosen.layer(app)(as_environ(headers), None)
    return seen


def as_environ(headers: dict[str, str]) -> dict[str, str]:
    return {"HTTP_" + name.upper().replace("-", "_"): value for name, value in headers.items()}


FORGED = {
    "X-Identity-Status": "Confirmed", "X-User-Id": "evil", "X-User": "evil", "X-Project-Id": "victim",
    "X-Tenant-Id": "victim", "X-Tenant": "victim", "X-Roles": "admin", "X-Role": "admin", "X-Domain-Id": "d",
    "X-Service-Identity-Status": "Confirmed", "X-Service-Roles": "service", "X-Service-Catalog": "[]",
    "X-Project-Name": "victim", "X-User-Name": "evil", "X-Is-Admin-Project": "True", "OpenStack-System-Scope": "all",
}


def test_s42_noauth_replaces_what_the_client_claims():
    seen = through(flavor(None, noauth_project_id="home"), {**FORGED, "X-Auth-Token": "t"})
    assert seen == {
        "HTTP_X_IDENTITY_STATUS": "Confirmed", "HTTP_X_USER_ID": "noauth", "HTTP_X_PROJECT_ID": "home",
        "HTTP_X_ROLES": "admin,member,reader", "HTTP_X_AUTH_TOKEN": "t",
    }


def test_s42_tokens_stay_and_identities_go():
    environ = {"HTTP_X_SERVICE_TOKEN": "s", "HTTP_X_AUTH_TOKEN": "t", "HTTP_X_SERVICE_USER_ID": "x", "HTTP_ACCEPT": "*"}
    identity.strip(environ)
    assert environ == {"HTTP_X_SERVICE_TOKEN": "s", "HTTP_X_AUTH_TOKEN": "t", "HTTP_ACCEPT": "*"}


def test_s42_keystone_does_not_believe_headers():
    """Without a token Keystone's middleware asks nobody, and nothing that the client claimed is left."""
    options = {"keystone_authtoken.www_authenticate_uri": "http://127.0.0.1:1/v3"}
    conf = make_conf({"paste_deploy.flavor": "keystone"})
    from keystonemiddleware.auth_token import _opts  # registers the options that the test sets

    for group, opts in _opts.list_opts():
        conf.register_opts(opts, group)
    for name, value in options.items():
        group, _, option = name.partition(".")
        conf.set_override(option, value, group)
    seen: dict[str, Any] = {}

    def app(environ, start_response):
        seen.update({key: value for key, value in environ.items() if key.startswith("HTTP_")})
        start_response("401 Unauthorized", [])
        return []

    started: list[Any] = []
    environ = {
        "REQUEST_METHOD": "GET", "PATH_INFO": "/v2/images", "SERVER_NAME": "x", "SERVER_PORT": "80",
        "wsgi.url_scheme": "http", **as_environ(FORGED),
    }
    list(choose(conf).layer(app)(environ, lambda status, headers, exc_info=None: started.append((status, headers))))
    assert seen == {"HTTP_X_IDENTITY_STATUS": "Invalid"}
    assert ("WWW-Authenticate", 'Keystone uri="http://127.0.0.1:1"') in started[0][1] or (
        "WWW-Authenticate", 'Keystone uri="http://127.0.0.1:1/v3"'
    ) in started[0][1]


def test_trusted_auth_takes_headers_as_they_are():
    assert through(flavor("trusted-auth"), {"X-User-Id": "u"}) == {"HTTP_X_USER_ID": "u"}


@pytest.mark.parametrize(
    ("text", "name", "ignored"),
    [
        (None, "", ()), ("", "", ()), ("noauth", "", ()), ("none", "", ()), ("caching", "", ("caching",)),
        ("trusted-auth+cachemanagement", "trusted-auth", ("cachemanagement",)),
        ("keystone+caching", "keystone", ("caching",)),
        ("keystone + cachemanagement", "keystone", ("cachemanagement",)),
    ],
)
def test_flavors(text, name, ignored):
    chosen = flavor(text)
    assert (chosen.name, chosen.ignored) == (name, ignored)
    assert chosen.authenticates == (name == "keystone")
    assert chosen.default_host == ("0.0.0.0" if name == "keystone" else "127.0.0.1")
    assert len(chosen.warnings()) == len(ignored) + (not name)


@pytest.mark.parametrize(
    ("text", "manages"),
    [(None, False), ("caching", False), ("cachemanagement", True), ("trusted-auth+caching", False),
     ("keystone+cachemanagement", True), ("keystone+caching+cachemanagement", True)],
)
def test_flavors_of_the_image_cache(text, manages):
    conf = make_conf({"paste_deploy.flavor": text, "image_cache_dir": "/var/lib/glance/image-cache"})
    chosen = choose(conf)
    assert (chosen.manages_cache, chosen.ignored) == (manages, ())
    assert not flavor(text).manages_cache  # without a directory there is no cache


@pytest.mark.parametrize("text", ["keystoen", "keystone+trusted-auth", "keystone+gzip"])
def test_unknown_flavors(text):
    with pytest.raises(ConfigError, match="must be"):
        flavor(text)


def test_keystone_without_its_package(monkeypatch):
    modules = __import__("sys").modules
    monkeypatch.delitem(modules, "glance_api.http.auth.keystone", raising=False)
    monkeypatch.setitem(modules, "keystonemiddleware.auth_token", None)
    with pytest.raises(ConfigError, match=r"glance-services\[keystone\]"):
        flavor("keystone")


@pytest.mark.parametrize("text", [None, "trusted-auth"])
def test_s42_no_open_door_without_authentication(text):
    chosen = flavor(text)
    for host in ("0.0.0.0", "::", "192.0.2.1", "glance.example.org"):
        with pytest.raises(ConfigError, match="allow_insecure_bind"):
            chosen.check_bind(host, allow_insecure=False)
        chosen.check_bind(host, allow_insecure=True)
    for host in ("127.0.0.1", "127.1.2.3", "::1", "localhost"):
        chosen.check_bind(host, allow_insecure=False)


def test_keystone_may_listen_everywhere():
    flavor("keystone").check_bind("0.0.0.0", allow_insecure=False)
    assert flavors_module.LOOPBACK == "127.0.0.1"


def caller(**headers: str) -> RequestContext:
    environ = {f"HTTP_X_{name.upper()}": value for name, value in headers.items()}
    return identity.caller(environ, "req-1", allow_anonymous=False, is_admin=lambda context: "admin" in context.roles)


def test_callers():
    context = caller(identity_status="Confirmed", user_id="u", project_id="p", roles="Admin, member,,Reader")
    assert context == RequestContext("req-1", "u", "p", ("admin", "member", "reader"), is_admin=True)
    assert caller(identity_status="Confirmed", tenant_id="t", role="member").project_id == "t"
    assert caller(identity_status="Confirmed", project_id="", roles="") == RequestContext("req-1")


def test_the_service_that_calls_for_a_user_lends_its_roles_to_what_asks_for_them():
    user = {"identity_status": "Confirmed", "project_id": "p", "roles": "member"}
    context = caller(**user, service_identity_status="Confirmed", service_roles="Service,admin")
    assert (context.roles, context.service_roles, context.is_admin) == (("member",), ("service", "admin"), False)
    assert context.all_roles == ("member", "service", "admin")
    for status in ({"service_identity_status": "Invalid"}, {}):
        assert caller(**user, **status, service_roles="service").all_roles == ("member",)
    # It vouches for no anonymous caller.
    nobody = {"HTTP_X_SERVICE_IDENTITY_STATUS": "Confirmed", "HTTP_X_SERVICE_ROLES": "service"}
    anonymous = identity.caller(nobody, "r", allow_anonymous=True, is_admin=lambda _context: True)
    assert anonymous == RequestContext("r", read_only=True)


@pytest.mark.parametrize("status", ["Invalid", "", "confirmed?"])
def test_unconfirmed_callers(status):
    with pytest.raises(NotAuthenticated):
        caller(identity_status=status, user_id="u", roles="admin")
    anonymous = identity.caller(
        {"HTTP_X_IDENTITY_STATUS": status, "HTTP_X_USER_ID": "u", "HTTP_X_ROLES": "admin"}, "r", allow_anonymous=True,
        is_admin=lambda _context: True,
    )
    assert anonymous == RequestContext("r", read_only=True)


def test_a_broken_catalog():
    with pytest.raises(BadRequest, match="X-Service-Catalog"):
        caller(identity_status="Confirmed", service_catalog="{")
    assert caller(identity_status="Confirmed", service_catalog="[]").is_admin is False


def written(folder, pipeline: str, flavor_name: str | None = None, cache: str | None = None) -> Any:
    """Return the flavor of a paste file whose one pipeline has these filters."""
    parts = {
        "authtoken": "keystonemiddleware.auth_token:filter_factory",
        "context": "glance.api.middleware.context:ContextMiddleware.factory",
        "unauthenticated-context": "glance.api.middleware.context:UnauthenticatedContextMiddleware.factory",
        "cachemanage": "glance.api.middleware.cache_manage:CacheManageFilter.factory",
        "cache": "glance.api.middleware.cache:CacheFilter.factory", "own": "site.auth:Filter.factory",
    }
    suffix = f"-{flavor_name}" if flavor_name else ""
    text = f"[pipeline:glance-api{suffix}]\npipeline = {pipeline}\n"
    text += "".join(f"[filter:{name}]\npaste.filter_factory = {target}\n" for name, target in parts.items())
    path = folder / "paste.ini"
    path.write_text(text)
    return flavor(flavor_name, **{"paste_deploy.config_file": str(path), "image_cache_dir": cache})


@pytest.mark.parametrize("flavor_name", [None, "site", "trusted-auth"])
def test_s42_a_pipeline_that_checks_tokens_is_keystone_whatever_its_name(tmp_path, flavor_name):
    assert written(tmp_path, "authtoken context", flavor_name).name == "keystone"


def test_a_pipeline_of_the_site_says_how_callers_are_authenticated(tmp_path):
    assert written(tmp_path, "context cache", "site").name == "trusted-auth"
    assert written(tmp_path, "unauthenticated-context", "site").name == ""
    assert written(tmp_path, "context", "keystone").name == "keystone", "never less than the flavor says"


@pytest.mark.parametrize("flavor_name", [None, "site"])
@pytest.mark.parametrize("pipeline", ["own", "own context", ""])
def test_s42_a_pipeline_with_an_authentication_of_its_own_stops_the_start(tmp_path, pipeline, flavor_name):
    with pytest.raises(ConfigError, match="says how callers are authenticated"):
        written(tmp_path, pipeline, flavor_name)


def test_a_pipeline_with_a_cache_asks_for_it(tmp_path):
    chosen = written(tmp_path, "context cache cachemanage", "site")
    assert (chosen.ignored, chosen.manages_cache) == (("caching", "cachemanagement"), False)
    chosen = written(tmp_path, "context cache cachemanage", "site", cache="/var/lib/glance/cache")
    assert (chosen.ignored, chosen.manages_cache) == ((), True)
