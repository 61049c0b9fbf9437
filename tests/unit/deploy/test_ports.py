"""The ports of a run-local: no two of them, and no other program, get the same."""

import socket

import pytest
from deploy.local import ports, processes
from deploy.local.arguments import Arguments


def asked(api=0, registry=0):
    return Arguments(api_port=api, registry_port=registry, data_dir=None, check=False, verbose=False)


def numbers(chosen):
    return [chosen.api, chosen.registry, *chosen.metrics.values()]


def test_two_that_are_started_at_once_get_different_ports():
    """Also before anything listens on them."""
    with ports.reserved(asked()) as first, ports.reserved(asked()) as second:
        assert len({*numbers(first), *numbers(second)}) == 10
        assert set(first.metrics) == set(second.metrics) == {"glance-api", "glance-registry", "glance-scrubber"}


def test_a_port_of_another_run_local_is_in_use_until_that_one_ends():
    port = processes.free_port()
    with (
        ports.reserved(asked(api=port)),
        pytest.raises(ports.PortError, match=rf"^port {port} is in use; .* choose another with --registry-port$"),
        ports.reserved(asked(registry=port)),
    ):
        pass
    with ports.reserved(asked(registry=port)) as chosen:
        assert chosen.registry == port


def test_nothing_stays_reserved_after_a_refusal():
    port, taken = processes.free_port(), processes.free_port()
    with socket.create_server((processes.LOOPBACK, taken)):
        with pytest.raises(ports.PortError), ports.reserved(asked(api=port, registry=taken)):
            pass
        with ports.reserved(asked(api=port)) as chosen:
            assert chosen.api == port


def test_metrics_move_when_another_program_has_their_port(monkeypatch):
    port = processes.free_port()
    monkeypatch.setattr(ports, "METRICS", {"glance-api": port})
    with ports.reserved(asked()) as chosen:
        assert chosen.metrics == {"glance-api": port}
    with socket.create_server((processes.LOOPBACK, port)), ports.reserved(asked()) as chosen:
        assert chosen.metrics["glance-api"] != port
        assert chosen.metrics_url("glance-api") == f"http://127.0.0.1:{chosen.metrics['glance-api']}"


def test_a_port_that_this_user_may_not_use(monkeypatch):
    def refuse(_port):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(processes, "port_is_free", refuse)
    with (
        pytest.raises(ports.PortError, match=r"^port 80: Permission denied; choose another with --api-port$"),
        ports.reserved(asked(api=80)),
    ):
        pass
