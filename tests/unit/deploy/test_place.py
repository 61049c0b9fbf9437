"""Where run-local keeps its data: never where somebody else's files are, never twice at a time."""

import os
import stat
from pathlib import Path

import pytest
from deploy.local import accounts, place


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_place_is_closed_to_others(tmp_path):
    here = place.Place(tmp_path / "data")
    here.make()
    # Root's database runs as another user, who passes through to its own folder.
    assert mode(here.root) == (0o711 if os.geteuid() == 0 else 0o700)
    for folder in (here.images, here.queue, here.settings, here.logs):
        assert mode(folder) == 0o700
    here.make()


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "log").mkdir(mode=0o755)
    with pytest.raises(place.PlaceError, match="holds other files"):
        place.Place(tmp_path).make()
    assert [path.name for path in tmp_path.iterdir()] == ["log"]
    assert mode(tmp_path / "log") == 0o755


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(place.PlaceError, match="choose another with --data-dir"):
        place.Place(tmp_path / "file" / "data").make()


def test_only_one_process_holds_a_place(tmp_path):
    here = place.Place(tmp_path / "data")
    here.make()
    with (
        here.locked(),
        pytest.raises(place.PlaceError, match=rf"already running .*\(process {os.getpid()}\)"),
        here.locked(),
    ):
        pass
    with here.locked():
        pass


def test_the_place_is_in_the_checkout_unless_another_is_asked_for(tmp_path):
    assert place.choose(None, tmp_path, None).root == tmp_path / ".local"
    assert place.choose(tmp_path / "other", tmp_path, None).root == tmp_path / "other"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root drops to another user")
def test_root_takes_a_place_of_its_own_when_the_database_cannot_reach_the_checkout(tmp_path):
    account = accounts.server_account()
    checkout = tmp_path / "closed" / "checkout"
    checkout.mkdir(parents=True)
    checkout.parent.chmod(0o700)
    chosen = place.choose(None, checkout, account).root
    assert chosen.parent == place.ROOTS_PLACE
    assert chosen == place.choose(None, checkout, account).root
    assert chosen != place.choose(None, checkout.parent, account).root
    with pytest.raises(place.PlaceError, match=r"cannot reach .*chmod o\+x"):
        place.choose(checkout / "data", checkout, account)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root drops to another user")
def test_what_the_unprivileged_user_can_reach(tmp_path_factory):
    account = accounts.server_account()
    closed = tmp_path_factory.mktemp("closed")
    closed.chmod(0o700)
    assert not accounts.can_reach(closed, account)
    assert not accounts.can_reach(closed / "not" / "made" / "yet", account)
    assert accounts.can_reach(closed, None)
    assert accounts.can_reach(Path("/tmp/no/such/folder"), account)
