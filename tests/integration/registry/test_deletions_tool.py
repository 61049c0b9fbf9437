"""glance-manage deletions: what could not be removed, and another try for it."""

from types import SimpleNamespace
from typing import Any

import pytest
from tests.support.owners import Owners, new_id

from glance_registry.manage import main, purge


@pytest.fixture
def conf(owners: Owners) -> Any:
    """The only option that the commands read."""
    url = owners.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    return SimpleNamespace(database=SimpleNamespace(connection=url))


def fail(owners: Owners) -> tuple[str, str]:
    """Return an image and its location, whose removal has failed."""
    image, location = owners.active()
    owners.delete(image)
    owners.retry(location, owners.claim(location)["token"], max_attempts=1)
    return image, location


def test_failed_prints_a_table(owners: Owners, conf: Any, capsys: pytest.CaptureFixture[str]) -> None:
    rows = sorted((location, image) for image, location in (fail(owners), fail(owners)))
    assert purge.show_failed(conf, None) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["location", "image", "store", "attempts", "error"]
    assert [line.split(maxsplit=4) for line in lines[1:]] == [
        [location, image, "fast", "1", "disk on fire"] for location, image in rows
    ]


def test_failed_pages_through_everything(
    owners: Owners, conf: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purge, "PAGE", 2)
    locations = sorted(fail(owners)[1] for _ in range(5))
    purge.show_failed(conf, None)
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]] == locations


def test_nothing_failed_is_said(owners: Owners, conf: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert purge.show_failed(conf, None) == 0
    assert purge.replay(conf, SimpleNamespace(all=True, location=None)) == 0
    assert capsys.readouterr().out.splitlines() == ["No removal has failed."] * 2


def test_replay_of_one_leaves_the_others(owners: Owners, conf: Any, capsys: pytest.CaptureFixture[str]) -> None:
    _, first = fail(owners)
    _, second = fail(owners)
    assert purge.replay(conf, SimpleNamespace(all=False, location=first)) == 0
    assert capsys.readouterr().out == f"{first}: deleting, a scrubber will try again\n"
    assert (owners.location(first).status, owners.location(second).status) == ("deleting", "failed")
    assert owners.due()[0] == [first]


def test_replay_of_all(owners: Owners, conf: Any) -> None:
    locations = {fail(owners)[1] for _ in range(3)}
    assert purge.replay(conf, SimpleNamespace(all=True, location=None)) == 0
    assert set(owners.due()[0]) == locations


def test_replay_of_what_cannot_be_replayed_is_an_error(
    owners: Owners, conf: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    _, active = owners.active()
    unknown = new_id()
    assert purge.replay(conf, SimpleNamespace(all=False, location=active)) == 1
    assert purge.replay(conf, SimpleNamespace(all=False, location=unknown)) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"{active}: location {active} is active, not failed", f"{unknown}: No location found with ID {unknown}",
    ]


def test_the_command_line_reaches_the_commands(
    owners: Owners, conf: Any, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    _, location = fail(owners)
    file = tmp_path / "glance-manage.conf"
    file.write_text(f"[database]\nconnection = {conf.database.connection}\n")
    assert main.main(["--config-file", str(file), "deletions", "failed"]) == 0
    assert location in capsys.readouterr().out
    assert main.main(["--config-file", str(file), "deletions", "replay", location]) == 0
    assert owners.location(location).status == "deleting"
    for wrong in (["replay"], ["replay", "no uuid"], ["replay", location, "--all"]):
        with pytest.raises(SystemExit):
            main.main(["--config-file", str(file), "deletions", *wrong])


def test_removals_from_a_lost_store_are_written_off(
    owners: Owners, conf: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    parked, _ = fail(owners)
    deleted, _ = owners.active()
    owners.delete(deleted)
    dead = owners.create()
    upload = owners.start(dead)
    elsewhere = owners.create()
    other = owners.upload(elsewhere, store="other")
    owners.delete(elsewhere)
    kept, active = owners.active()
    owners.pass_time(7200)
    assert purge.write_off(conf, SimpleNamespace(store="fast")) == 0
    assert capsys.readouterr().out == "3 of 3 removals from the store fast are written off.\n"
    assert [owners.image(image).status for image in (parked, deleted, dead)] == ["deleted", "deleted", "queued"]
    assert (owners.location(upload.id).status, owners.location(upload.id).late_passes) == ("deleted", 0)
    assert owners.due()[0] == [other], "what is in other stores is still to be removed"
    assert (owners.image(kept).status, owners.location(active).status) == ("active", "active")


def test_a_removal_under_way_is_not_written_off(owners: Owners, conf: Any) -> None:
    image, location = owners.active()
    owners.delete(image)
    owners.claim(location)
    assert purge.write_off(conf, SimpleNamespace(store="fast")) == 0
    assert owners.location(location).status == "deleting"
