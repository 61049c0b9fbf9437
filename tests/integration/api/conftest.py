"""The API on a real registry with a real database; who is calling is told by identity headers, as behind a proxy."""

import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from deploy.local.embedded_postgres import PostgresServer
from oslo_config import cfg
from tests.integration.api.imports_kit import Node, options, working
from tests.servers.web import web_server
from tests.support.api_calls import Caller
from tests.support.registry_rows import database
from werkzeug.serving import make_server

from glance_api import cli, wsgi
from glance_api.app import create_app
from glance_api.http.auth import choose
from glance_api.services.collaborators import Services
from glance_common.model.context import ContextSigner
from glance_common.server import ServerState
from glance_registry.app import create_app as create_registry

SECRET = b"s" * 64


@pytest.fixture(scope="session")
def engine(postgres: PostgresServer, migrated_template: str) -> Iterator[sa.Engine]:
    """A database with the schema, for all tests of the API; each begins with it empty."""
    with database(postgres, "api", migrated_template) as made:
        yield made


@pytest.fixture(scope="session")
def registry_port(engine: sa.Engine) -> Iterator[int]:
    """The registry, serving on a port of its own."""
    server = make_server("127.0.0.1", 0, create_registry(engine, ContextSigner([SECRET])), threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server.port
    server.shutdown()
    thread.join()
    server.server_close()


@dataclass
class Api(Caller):
    """The application and what is behind it."""

    services: Services
    conf: cfg.ConfigOpts

    def create(self, project: str = "own", roles: str = "member,reader", **document: Any) -> dict[str, Any]:
        """Create an image and return its document."""
        response = self.call("POST", "/v2/images", json=document, project=project, roles=roles)
        assert response.status_code == 201, response.text
        created: dict[str, Any] = response.get_json()
        return created

    def names(self, query: str = "", **caller: Any) -> list[str]:
        """Return the names of a list of images."""
        response = self.call("GET", f"/v2/images?{query}", **caller)
        assert response.status_code == 200, response.text
        return [image["name"] for image in response.get_json()["images"]]


@pytest.fixture
def make_api(engine: sa.Engine, registry_port: int, tmp_path: Path) -> Iterator[Callable[..., Api]]:
    """Build an API with these options changed, on an empty database; ``group__option`` names one in a group."""
    with engine.begin() as connection:
        tables = "images, members, locations, operations, orphans, metadef_namespaces, metadef_resource_types"
        connection.execute(sa.text(f"TRUNCATE {tables} CASCADE"))
    for folder in ("images", "staging"):
        (tmp_path / folder).mkdir()
    defaults = {
        "node_staging_uri": f"file://{tmp_path}/staging",
        "registry_port": registry_port,
        "transport_url": f"filesystem://{tmp_path}/queue",
        "glance_store__stores": "file",
        "glance_store__filesystem_store_datadir": tmp_path / "images",
        "paste_deploy__flavor": "trusted-auth",
    }
    built: list[Services] = []

    def make(**options: Any) -> Api:
        path = tmp_path / f"glance-api-{len(built)}.conf"
        path.write_text(_ini({**defaults, **options}))
        conf = cli.load(["--config-file", str(path)])
        services = wsgi.build(conf, [SECRET])
        built.append(services)
        app = create_app(services, wsgi.build_http(conf, ServerState()), choose(conf).layer)
        app.testing = True
        return Api(app, services, conf)

    yield make
    for services in built:
        services.registry.close()


def _ini(options: dict[str, Any]) -> str:
    """Return the options as a configuration file."""
    lines = []
    for name in sorted(options, key=lambda name: "__" in name):
        group, _, option = name.rpartition("__")
        lines.append(f"[{group or 'DEFAULT'}]\n{option} = {options[name]}\n")
    return "".join(lines)


@pytest.fixture
def api(make_api: Callable[..., Api]) -> Api:
    """The API with the default options."""
    return make_api()


@pytest.fixture(scope="module")
def web():
    with web_server() as server:
        yield server


@pytest.fixture
def node(make_api, tmp_path: Path, web):
    with working(Node(make_api(**options(tmp_path, web)), tmp_path)) as running:
        yield running


@pytest.fixture
def make_node(make_api, tmp_path, web):
    """A function that makes a node with some options changed; its workers do not run yet."""
    return lambda **changed: Node(make_api(**{**options(tmp_path, web), **changed}), tmp_path)


@pytest.fixture
def qcow2(tmp_path):
    path = tmp_path / "zeros.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(path), "1M"], check=True)
    return path.read_bytes()
