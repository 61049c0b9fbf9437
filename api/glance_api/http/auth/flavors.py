"""The flavors: which layer authenticates, and which addresses are safe to listen on with it.

A service that does not check its callers is reachable from its own machine only, unless the operator insists.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from oslo_config import cfg

from glance_api.http import errors
from glance_api.http.auth import identity
from glance_common.config import paste
from glance_common.config.loading import ConfigError
from glance_common.config.paste import FilterKind
from glance_common.model.errors import Unavailable

Layer = Callable[[WSGIApplication], WSGIApplication]
LOOPBACK = "127.0.0.1"
_ALL_ADDRESSES = "0.0.0.0"  # noqa: S104 - what an authenticated service listens on, as the original does
_CACHE_TOKENS = {"caching": FilterKind.CACHE, "cachemanagement": FilterKind.CACHE_MANAGEMENT}


@dataclass(frozen=True, slots=True)
class Flavor:
    """One way to authenticate: the layer around the application, and whether callers prove their identity.

    ``ignored`` are the parts of the name that ask for the image cache, while it is off; ``manages_cache`` says whether
    the calls of ``cachemanagement`` are there.
    """

    name: str
    layer: Layer
    authenticates: bool
    ignored: tuple[str, ...] = ()
    manages_cache: bool = False

    @property
    def default_host(self) -> str:
        """The address to listen on when ``bind_host`` is unset."""
        return _ALL_ADDRESSES if self.authenticates else LOOPBACK

    def check_bind(self, host: str, *, allow_insecure: bool) -> None:
        """Raise ConfigError when other machines would reach a service that does not check its callers."""
        if self.authenticates or allow_insecure or _is_loopback(host):
            return
        raise ConfigError(
            "DEFAULT", "bind_host", host,
            f"must be a loopback address under flavor {self.name or 'none'}, which lets every caller be an "
            "administrator; set allow_insecure_bind to accept that",
        )

    def warnings(self) -> list[str]:
        """Return what an operator should know about this choice."""
        lines = [
            f"[paste_deploy] flavor: {token} has no effect without image_cache_dir: there is no image cache"
            for token in self.ignored
        ]
        if not self.name:
            lines.append("[paste_deploy] flavor is unset: every caller is an administrator (S-42)")
        return lines


def choose(conf: cfg.ConfigOpts) -> Flavor:
    """Return the flavor that ``[paste_deploy] flavor`` names, or that its pipeline in the paste file has.

    A pipeline that checks tokens means that they are checked, whatever its name is. Raises ConfigError for an unknown
    flavor, and as ``paste.read``.
    """
    text = (conf.paste_deploy.flavor or "").strip()
    tokens = [token.strip() for token in text.split("+") if token.strip()]
    written = paste.read(conf).kinds(text)
    wanted = [token for token, kind in _CACHE_TOKENS.items() if token in tokens or (written and kind in written)]
    ignored = () if conf.image_cache_dir else tuple(wanted)
    name = _name(text, [token for token in tokens if token not in _CACHE_TOKENS], written)
    manages_cache = "cachemanagement" in wanted and not ignored
    if name == "keystone":
        return Flavor(name, _keystone(conf), authenticates=True, ignored=ignored, manages_cache=manages_cache)
    if name == "trusted-auth":
        return Flavor(name, lambda app: app, authenticates=False, ignored=ignored, manages_cache=manages_cache)
    return Flavor("", _noauth(conf), authenticates=False, ignored=ignored, manages_cache=manages_cache)


def _name(text: str, names: list[str], written: set[FilterKind | None] | None) -> str:
    """Return ``keystone``, ``trusted-auth`` or '' for no authentication. Raises ConfigError.

    A filter that is not known may be what authenticates: then the identity headers behind it are not to be believed.
    """
    kinds = written or set()
    if names == ["keystone"] or FilterKind.TOKEN in kinds:
        return "keystone"
    if names == ["trusted-auth"] or (FilterKind.CONTEXT in kinds and None not in kinds):
        return "trusted-auth"
    if FilterKind.NO_AUTH in kinds or (written is None and names in ([], ["noauth"], ["none"])):
        return ""
    raise ConfigError(
        "paste_deploy", "flavor", text,
        "must be unset, noauth, keystone or trusted-auth, each optionally followed by +caching or +cachemanagement, or "
        "a pipeline of the paste file that says how callers are authenticated",
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _noauth(conf: cfg.ConfigOpts) -> Layer:
    """Every caller is the same user of the same project, so that the rules written for projects work unchanged."""
    headers = {
        "HTTP_X_IDENTITY_STATUS": "Confirmed",
        "HTTP_X_USER_ID": conf.noauth_user_id,
        "HTTP_X_PROJECT_ID": conf.noauth_project_id,
        "HTTP_X_ROLES": ",".join(conf.noauth_roles),
    }

    def layer(app: WSGIApplication) -> WSGIApplication:
        def authenticate(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            identity.strip(environ)
            environ.update(headers)
            return app(environ, start_response)

        return authenticate

    return layer


def _keystone(conf: cfg.ConfigOpts) -> Layer:
    """Tokens are checked by Keystone's own middleware, which keeps a cache of them."""
    try:
        from glance_api.http.auth import token_cache
        from glance_api.http.auth.keystone import TokenCheck
    except ImportError:
        reason = "needs the package keystonemiddleware: install glance-services[keystone]"
        raise ConfigError("paste_deploy", "flavor", "keystone", reason) from None
    token_cache.check(conf)

    def layer(app: WSGIApplication) -> WSGIApplication:
        # Whether a missing token is refused is decided behind it: anonymous callers may be allowed.
        options = {"oslo_config_config": conf, "delay_auth_decision": True}
        check: WSGIApplication = TokenCheck(app, options)

        def authenticate(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            identity.strip(environ)
            try:
                return check(environ, start_response)
            except Unavailable as error:
                return errors.send(error, environ, start_response)

        return authenticate

    return layer
