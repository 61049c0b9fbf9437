"""Every kind of store has a file with the suite here."""

from pathlib import Path

from glance_common.stores.kinds import drivers


def test_every_kind_of_store_passes_the_suite():
    files = {path.stem.removeprefix("test_") for path in Path(__file__).parent.glob("test_*.py")}
    assert set(drivers()) <= files, "take the suite in, in a file test_<kind>.py"
