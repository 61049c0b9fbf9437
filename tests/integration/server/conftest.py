"""A server of its own for each test."""

import pytest
from tests.support.server import Server


@pytest.fixture
def make_server(tmp_path):
    servers = []

    def make(**settings):
        server = Server(tmp_path, **settings)
        servers.append(server)
        return server

    yield make
    for server in servers:
        server.destroy()
