"""A directory of the service is exchanged for another one that holds files of the same names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.integration.api.imports_kit import OCTETS, page, working
from tests.support.raw_data import random_bytes
from tests.support.waiting import wait_for

DATA = random_bytes(100_000)
OTHER = b"\x02" + bytes(100_000)
GONE = "33333333-3333-4333-8333-333333333333"


@contextmanager
def exchanged(place: Path, *names: str) -> Iterator[Path]:
    """Put another directory, with other bytes under these names, in place of one; the right one is back at the end."""
    away = place.with_name(f"{place.name}-away")
    place.rename(away)
    place.mkdir()
    for name in names:
        (place / name).write_bytes(OTHER)
    try:
        yield place
    finally:
        place.rename(place.with_name(f"{place.name}-other"))
        away.rename(place)


@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=0-9"}])
def test_a_download_from_an_exchanged_directory_is_503(make_node, headers):
    node = make_node()
    image = node.create()
    file = f"/v2/images/{image}/file"
    node.call("PUT", file, 204, data=DATA, headers=OCTETS)
    assert node.data(image) == DATA
    with exchanged(node.folder / "fast", image):
        refused = node.call("GET", file, 503, headers=headers)
        assert OTHER[:10] not in refused.data
    assert node.data(image) == DATA


def test_an_import_reads_nothing_in_an_exchanged_staging_directory(make_node):
    node = make_node(upload__lease=3)
    image = node.create()
    node.stage(image, DATA)
    with working(node):
        with exchanged(node.folder / "staging", image) as other:
            node.begin(image, "glance-direct")
            wait_for(lambda: "cannot be used now" in node.task(image)["message"])
            assert node.show(image)["status"] == "importing"
            assert [path.name for path in other.iterdir()] == [image], "nothing is made in it"
            assert (other / image).read_bytes() == OTHER
        assert node.finished(image)["status"] == "success"
    assert node.data(image) == DATA


def test_residue_in_an_exchanged_staging_directory_is_left_alone(make_node, web):
    node = make_node()
    with working(node):
        image = node.create()
        node.begin(image, "web-download", arguments=page(web, DATA))
        assert node.finished(image)["status"] == "success"
        node.settled()
    again = type(node)(node.api, node.folder)
    with exchanged(node.folder / "staging", GONE) as other:
        again.pool._work.housekeeping()
        assert [path.name for path in other.iterdir()] == [GONE]
    (node.folder / "staging" / GONE).write_bytes(b"x")
    # The next look of the same process comes a minute later; that of the next process at once.
    type(node)(node.api, node.folder).pool._work.housekeeping()
    assert node.files("staging") == []
