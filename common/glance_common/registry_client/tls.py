"""TLS towards the registry: the options, checked at start and not at the first call."""

import logging
import os
import ssl
from collections.abc import Callable
from pathlib import Path

from oslo_config import cfg
from requests.utils import DEFAULT_CA_BUNDLE_PATH

from glance_common.config.loading import ConfigError

LOG = logging.getLogger(__name__)


def client_tls(conf: cfg.ConfigOpts) -> ssl.SSLContext | None:
    """Return what the options ``registry_client_*`` say about certificates; None unless the protocol is https.

    The environment variables ``GLANCE_CLIENT_*_FILE`` stand in for files that are not configured.
    Raises ConfigError for files that cannot be used, and for a certificate without its key.
    """
    if conf.registry_client_protocol != "https":
        return None
    ca, cert, key = (_file(conf, name) for name in ("ca", "cert", "key"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    where = {"capath" if Path(ca).is_dir() else "cafile": ca} if ca else {"cafile": DEFAULT_CA_BUNDLE_PATH}
    _try("registry_client_ca_file", ca, lambda: context.load_verify_locations(**where))
    if bool(cert) != bool(key):
        missing = "registry_client_key_file" if cert else "registry_client_cert_file"
        raise ConfigError("DEFAULT", missing, "", "must be set: a client certificate and its key go together")
    if cert:
        # The empty passphrase turns OpenSSL's prompt on the terminal into an error.
        _try("registry_client_cert_file", cert, lambda: context.load_cert_chain(cert, key, password=""))
    if conf.registry_client_insecure:
        LOG.warning("registry_client_insecure is on: the registry's certificate is not checked (S-04)")
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _file(conf: cfg.ConfigOpts, name: str) -> str:
    return conf[f"registry_client_{name}_file"] or os.environ.get(f"GLANCE_CLIENT_{name.upper()}_FILE") or ""


def _try(option: str, path: str, load: Callable[[], None]) -> None:
    try:
        load()
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
        raise ConfigError("DEFAULT", option, path, f"cannot be used: {reason}") from None
