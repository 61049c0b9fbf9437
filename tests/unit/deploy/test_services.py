"""The installation that run-local makes: files that the daemons accept, and stores that stay what they were."""

import json
import stat
from pathlib import Path

import pytest
from deploy.local import services
from deploy.local.place import Place
from deploy.local.ports import Ports

from glance_api import cli as api
from glance_common.config import loading
from glance_common.config.findings import findings
from glance_common.stores import loader, reserved
from glance_registry.config import list_manage_opts
from glance_registry.config import list_opts as registry_opts
from glance_scrubber.config import list_opts as scrubber_opts

PORTS = Ports(api=19292, registry=19191, metrics={"glance-api": 1, "glance-registry": 2, "glance-scrubber": 3})


@pytest.fixture
def here(tmp_path):
    place = Place(tmp_path / "data")
    place.make()
    services.write_settings(place, PORTS, "postgresql://nowhere/glance")
    return place


def arguments(place, program):
    return [str(part) for part in services.command(place, program)[1:]]


def test_no_daemon_complains_about_its_settings(here):
    conf = api.load(arguments(here, "glance-api"))
    assert findings(conf, api.option_table(conf)) == []
    settings, _application = api.prepare(conf)
    assert (settings.host, settings.port) == ("127.0.0.1", PORTS.api)
    for program, options in (("glance-registry", registry_opts()), ("glance-scrubber", scrubber_opts())):
        conf = loading.load(program, arguments(here, program), options)
        stores = loader.store_opts(conf) if program == "glance-scrubber" else []
        assert findings(conf, [*options, *stores]) == []


def test_the_first_store_keeps_the_id_and_the_folder_of_earlier_installations(here):
    """Location rows of data folders that were made with one store say ``file``, and their files are in ``images``."""
    conf = api.load(arguments(here, "glance-api"))
    assert loader.places(conf) == [(str(here.root / "images"), "file"), (str(here.root / "archive"), "archive")]
    assert conf.glance_store.default_backend == "file"


def test_the_tool_knows_the_stores_and_the_definition_files(here):
    conf = loading.load("glance-manage", arguments(here, "glance-manage"), list_manage_opts())
    assert loader.init_directories(conf) == []
    assert reserved.init_directories(conf) == []
    assert list(services.SAMPLES.glob("metadefs/*.json"))
    assert conf.metadata_source_path == str(services.SAMPLES / "metadefs")


def test_the_api_finds_the_image_schema(here):
    conf = api.load(arguments(here, "glance-api"))
    found = conf.find_file(conf.schema_image_file)
    assert found is not None
    assert json.loads(Path(found).read_bytes())["kernel_id"]["type"] == ["null", "string"]


def test_the_settings_are_for_the_owner_only(here):
    for path in here.settings.glob("*/*.conf"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_definitions_are_loaded_once_and_again_after_a_failure(here):
    done = []
    fails = [OSError("no database"), None]

    def run(_name, argv):
        done.append(" ".join(argv[-2:]))
        if done[-1] == "db load_metadefs" and (error := fails.pop(0)):
            raise error

    with pytest.raises(OSError, match="no database"):
        services.prepare(here, run)
    services.prepare(here, run)
    services.prepare(here, run)
    assert done == ["db sync", "db load_metadefs"] * 2 + ["db sync"]
