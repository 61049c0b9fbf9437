"""What ``deploy/run-local`` installs, prints and shows, and what it makes of a data folder of an earlier version."""

import os
import re
import subprocess
import sys

import pytest
import requests
from deploy.local import configuration, place, ports, services
from deploy.local.arguments import Arguments
from deploy.local.embedded_postgres import PostgresServer
from deploy.local.supervisor import Supervisor
from deploy.local.terminal import Terminal
from oslo_config import cfg
from tests.support.raw_data import random_bytes
from tests.support.run_local import CHECKOUT


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_commands_it_prints_work(run_local, data_dir, clients, tmp_path):
    """All of them as they stand there, in one shell; only the clients are those that the tests have already."""
    run_local.start().wait_for("Ctrl-C stops everything")
    printed = run_local.said().split("Paste into another terminal")[1].split("From here on")[0].replace("\\\n", " ")
    commands = [line.strip() for line in printed.splitlines() if line.startswith("    ")]
    assert commands[:2] == [
        f"{sys.executable} -m venv {data_dir}/clients",
        f"{data_dir}/clients/bin/pip install -q python-openstackclient python-glanceclient",
    ]
    (data_dir / "clients").mkdir()
    (data_dir / "clients" / "bin").symlink_to(clients.programs)
    steps = [line for command in commands[2:] for line in (f"echo '$ {command.split()[0]}'", command)]
    done = subprocess.run(
        ["bash", "-e"],
        env={"PATH": "/usr/bin:/bin", "HOME": str(clients.home), "LANG": "C.UTF-8", "PYTHONWARNINGS": "ignore"},
        input="\n".join(steps).replace("curl ", "curl --fail "),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert len(commands) == 14
    assert (tmp_path / "example-copy.raw").read_bytes() == (tmp_path / "example.raw").read_bytes()

    def found():
        images = requests.get(f"{run_local.url}/v2/images", timeout=30).json()["images"]
        return [(image["name"], image["stores"]) for image in images]

    assert [name for name, _ in found()] == ["my-image"]
    run_local.wait_until(lambda: found() == [("my-image", "file,archive")], "the copy")
    run_local.ctrl_c()
    assert run_local.end() == 0


@pytest.mark.slow
def test_the_terminal_shows_what_clients_ask_and_the_files_the_rest(run_local, data_dir):
    run_local.start().wait_for("Ctrl-C stops everything")
    assert re.search(r"^Ready after \d+\.\d s\.", run_local.said(), re.MULTILINE)
    assert f"  logs       {data_dir}/log\n" in run_local.said()
    assert " | " not in run_local.said()
    claims = data_dir / "log" / "glance-registry.log"
    assert "POST /v1/operations/claim" not in claims.read_text()
    assert requests.get(f"{run_local.url}/v2/images?name=a", timeout=30).status_code == 200
    assert requests.get(f"{run_local.url}/healthcheck", timeout=30).status_code == 200
    assert requests.get(f"{run_local.url}/v2/images/nothing", timeout=30).status_code == 404
    run_local.wait_until(lambda: len(run_local.requests()) == 2, "two lines")
    first, second = run_local.requests()
    assert re.fullmatch(r"GET    /v2/images\?name=a 200 [\d.]+ ms, 0 bytes in, \d+ bytes out", first)
    assert re.fullmatch(r"GET    /v2/images/nothing 404 [\d.]+ ms, 0 bytes in, \d+ bytes out", second)
    run_local.ctrl_c()
    assert run_local.end() == 0
    logged = (data_dir / "log" / "glance-api.log").read_text()
    assert "GET /healthcheck 200 user=" in logged
    assert "GET /v2/images?name=a 200 user=" in logged
    # Workers looked for work at their start at the latest; that is for debugging.
    assert "POST /v1/operations/claim" not in claims.read_text()

    run_local.start("--verbose").wait_for("glance-api      | ")


@pytest.mark.slow
def test_the_installation_is_an_example_of_a_good_one(run_local):
    run_local.start().wait_for("Ctrl-C stops everything")

    def get(path):
        return requests.get(run_local.url + path, timeout=30).json()

    stores = get("/v2/info/stores")["stores"]
    assert [(store["id"], store.get("default")) for store in stores] == [("file", "true"), ("archive", None)]
    assert get("/v2/schemas/image")["properties"]["kernel_id"]["type"] == ["null", "string"]
    image = {"name": "n", "disk_format": "raw", "container_format": "bare", "kernel_id": None, "ramdisk_id": None}
    made = requests.post(f"{run_local.url}/v2/images", json=image, timeout=30)
    assert (made.status_code, made.json()["kernel_id"]) == (201, None)
    names = {each["namespace"] for each in get("/v2/metadefs/namespaces?limit=100")["namespaces"]}
    assert "OS::Compute::Watchdog" in names
    assert len(names) == len(list((CHECKOUT / "etc" / "glance" / "metadefs").glob("*.json")))
    # What the user deletes does not come back with the next start.
    path = "/v2/metadefs/namespaces/OS::Compute::Watchdog"
    unprotected = {"namespace": "OS::Compute::Watchdog", "visibility": "public", "protected": False}
    assert requests.put(run_local.url + path, json=unprotected, timeout=30).status_code == 200
    assert requests.delete(run_local.url + path, timeout=30).status_code == 204
    run_local.ctrl_c()
    assert run_local.end() == 0
    run_local.start().wait_for("Ctrl-C stops everything")
    assert requests.get(run_local.url + path, timeout=30).status_code == 404


@pytest.fixture
def earlier_installation(data_dir, tmp_path):
    """A data folder as run-local made it while it had one store; the id of an image and its data."""
    here = place.Place(data_dir)
    here.make()
    here.archive.rmdir()
    shown = Terminal(verbose=True)
    database = PostgresServer(here.database)
    arguments = Arguments(api_port=0, registry_port=0, data_dir=data_dir, check=False, verbose=True)
    with ports.reserved(arguments) as listening:
        database.start()
        supervisor = Supervisor(here.logs, os.environ, shown, lambda: False)
        try:
            database.create_database("glance")
            services.write_settings(here, listening, database.url("glance"))
            for program in ("glance-api", "glance-scrubber"):
                _with_one_store(here.settings / program / f"{program}.conf", here.images)
            supervisor.run_to_end("glance-manage", services.command(here, "glance-manage", "db", "sync"))
            for program in services.programs(here, listening):
                supervisor.start(program)
            document = {"name": "early", "disk_format": "raw", "container_format": "bare"}
            address = f"{listening.api_url}/v2/images"
            image = requests.post(address, json=document, timeout=30).json()["id"]
            data = random_bytes(300_000)
            content_type = {"Content-Type": "application/octet-stream"}
            put = requests.put(f"{address}/{image}/file", data=data, headers=content_type, timeout=60)
            assert put.status_code == 204
        finally:
            supervisor.stop()
            database.stop()
    return image, data


def _with_one_store(path, images):
    settings = cfg.ConfigParser(str(path), sections := {})
    settings.parse()
    options = {group: dict(values) for group, values in sections.items() if group not in ("file", "archive")}
    del options["DEFAULT"]["enabled_backends"]
    options["glance_store"] = {"stores": "file", "default_store": "file", "filesystem_store_datadir": images}
    configuration.write(path.parent, path.stem, options)


@pytest.mark.slow
def test_images_of_an_earlier_installation_are_read_copied_and_deleted(run_local, data_dir, earlier_installation):
    image, data = earlier_installation
    run_local.start().wait_for("Ctrl-C stops everything")
    address = f"{run_local.url}/v2/images/{image}"
    assert requests.get(f"{address}/file", timeout=60).content == data
    assert requests.get(address, timeout=30).json()["stores"] == "file"
    copy = {"method": {"name": "copy-image"}, "stores": ["archive"]}
    assert requests.post(f"{address}/import", json=copy, timeout=30).status_code == 202
    run_local.wait_until(lambda: requests.get(address, timeout=30).json()["stores"] == "file,archive", "the copy")
    assert requests.delete(address, timeout=30).status_code == 204
    files = [data_dir / store / image for store in ("images", "archive")]
    run_local.wait_until(lambda: not any(path.exists() for path in files), "the removal")
