"""Work folders, injected properties, and the parts of imports as configured (IMP-08, CFG-07)."""

import errno
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from oslo_config import cfg

from glance_api import config as api_config
from glance_api.content.formats import FormatRules
from glance_api.imports import options, tools
from glance_api.imports.confinement import landlock
from glance_api.imports.contract import ImageFacts, ImportChanges, ImportFailed, Work
from glance_api.imports.inspection import inspect_file
from glance_api.imports.plugins.image_conversion import ImageConversion
from glance_api.imports.plugins.inject_metadata import InjectMetadata
from glance_api.imports.plugins.no_op import NoOp
from glance_api.imports.work import Swept, sweep_work, work_folder
from glance_common.config import loading
from glance_common.config.loading import ConfigError
from glance_common.model.errors import Unavailable

RULES = FormatRules()


def configuration(tmp_path: Path, text: str = "") -> cfg.ConfigOpts:
    path = tmp_path / "glance-api.conf"
    path.write_text(text)
    return loading.load("glance-api", ["--config-file", str(path)], api_config.list_opts())


def image(*roles: str) -> ImageFacts:
    return ImageFacts("1", "raw", "bare", {"os_type": "linux"}, roles)


def apply(plugin: Any, tmp_path: Path, facts: ImageFacts) -> ImportChanges:
    return plugin.apply(facts, tmp_path / "staged", Work(tmp_path, lambda: None, NoRoom()))


class NoRoom:
    """Room for nothing; fulfils ``contract.Room``."""

    def cover(self, size: int, *, wait: bool = True) -> None:
        pytest.fail(f"{size} bytes are written (wait: {wait})")

    def left(self) -> int | None:
        return 0


def test_plugins_run_in_the_order_of_the_option(tmp_path: Path):
    conf = configuration(tmp_path, "[image_conversion]\noutput_format = qcow2\n")
    found = options.build_plugins(conf, ["image_decompression", "no_op", "image_conversion", "no_op"], RULES)
    assert [plugin.name for plugin in found] == ["image_decompression", "no_op", "image_conversion", "no_op"]
    assert apply(found[1], tmp_path, image()) == ImportChanges()
    assert isinstance(found[1], NoOp)
    assert isinstance(found[2], ImageConversion)


def test_a_plugin_that_does_not_exist_or_lacks_its_tool_stops_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    conf = configuration(tmp_path)
    with pytest.raises(ConfigError, match=r"\[image_import_opts\] image_import_plugins = no_op,nonsense: must"):
        options.build_plugins(conf, ["no_op", "nonsense"], RULES)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="needs qemu-img, which is not installed"):
        options.build_plugins(conf, ["image_conversion"], RULES)
    assert options.conversion(conf, "raw", RULES) is None
    with pytest.raises(ConfigError, match="must be one of qcow2, raw, vmdk"):
        configuration(tmp_path, "[image_conversion]\noutput_format = vdi\n")


def test_s18_a_confinement_that_this_host_does_not_have_stops_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    tools.choose.cache_clear()
    monkeypatch.setattr(landlock, "version", lambda: 0)
    conf = configuration(tmp_path, "[import_tools]\nconfinement = landlock\n")
    with pytest.raises(ConfigError, match=r"\[import_tools\] confinement = landlock: does not work on this host"):
        options.build_plugins(conf, ["image_decompression"], RULES)
    with pytest.raises(ConfigError, match="must be one of auto, landlock, bubblewrap, none"):
        configuration(tmp_path, "[import_tools]\nconfinement = chroot\n")
    conf = configuration(tmp_path, "[import_tools]\nconfinement = none\n")
    assert options.sandbox(conf).limits.file_size == conf.image_size_cap


def test_metadata_are_injected_except_for_some_roles(tmp_path: Path):
    text = "[inject_metadata_properties]\nignore_user_roles = Admin,operator\ninject = os_type:windows,hw_x:1\n"
    (plugin,) = options.build_plugins(configuration(tmp_path, text), ["inject_image_metadata"], RULES)
    assert apply(plugin, tmp_path, image("member")) == ImportChanges(properties={"os_type": "windows", "hw_x": "1"})
    for role in ("admin", "operator"):
        assert apply(plugin, tmp_path, image("member", role)) == ImportChanges()


def test_nothing_is_injected_by_default_and_never_for_administrators(tmp_path: Path):
    (plugin,) = options.build_plugins(configuration(tmp_path), ["inject_image_metadata"], RULES)
    assert apply(plugin, tmp_path, image("member")) == ImportChanges()
    assert apply(InjectMetadata({"a": "b"}, ["admin"]), tmp_path, image("admin")) == ImportChanges()


@pytest.mark.parametrize(
    "name", ["status", "os_glance_import_task", "os_glancefoo", "os_hash_value", "os_hash_x", "owner", "locations"]
)
def test_s47_fields_and_reserved_properties_cannot_be_injected(tmp_path: Path, name: str):
    conf = configuration(tmp_path, f"[inject_metadata_properties]\ninject = {name}:x\n")
    with pytest.raises(ConfigError, match="is no name of a property"):
        options.build_plugins(conf, ["inject_image_metadata"], RULES)


def test_the_sources_as_configured(tmp_path: Path):
    conf = configuration(tmp_path)
    assert options.download_rules(conf).prefixes == ("hw_", "trait:", "os_distro", "os_secure_boot", "os_type")
    assert options.download_rules(conf).verify is True
    text = f"[glance_download_properties]\nextra_properties = [a_, b]\n[import_sources]\nca_file = {tmp_path / 'ca'}\n"
    conf = configuration(tmp_path, text)
    with pytest.raises(ConfigError, match=r"\[import_sources\] ca_file = .*: must be a readable file"):
        options.download_rules(conf)
    (tmp_path / "ca").touch()
    rules = options.download_rules(conf)
    assert (rules.prefixes, rules.verify) == (("a_", "b"), str(tmp_path / "ca"))


def test_a_work_folder_is_private_and_goes_with_its_block(tmp_path: Path):
    with work_folder(tmp_path) as folder, work_folder(tmp_path) as other:
        assert folder != other
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "inner").mkdir()
        (folder / "inner" / "file").write_bytes(b"data")
    assert not folder.exists()
    assert {path.name for path in (tmp_path / ".work").iterdir()} == {".guard"}


def test_imp13_folders_of_dead_processes_are_swept_and_no_others(tmp_path: Path):
    dead = tmp_path / ".work" / "dead"
    with work_folder(tmp_path) as living:
        dead.mkdir()
        (dead / "half").write_bytes(b"data")
        assert sweep_work(tmp_path).removed == 1
        assert living.exists()
        assert not dead.exists()
    assert sweep_work(tmp_path) == Swept()


def test_a_folder_that_cannot_be_removed_is_swept_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched, work_folder(tmp_path) as folder:
        patched.setattr(Path, "unlink", fail)
        patched.setattr("shutil.rmtree", lambda *_, **__: None)
    assert folder.exists()
    assert sweep_work(tmp_path) == Swept(removed=1)
    assert not folder.exists()


def opened_below(folder: Path) -> list[str]:
    """Return the files in ``folder`` that this process has open."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        # Another thread may have closed it meanwhile.
        with suppress(FileNotFoundError):
            found.append(os.readlink(link))
    return [path for path in found if path.startswith(str(folder))]


def test_a_folder_that_cannot_be_made_leaves_neither_lock_nor_descriptor(tmp_path: Path):
    """The disk is full: every try of every import fails so."""
    (tmp_path / ".work").mkdir()
    make = Path.mkdir

    def full(path: Path, *args: Any, **kwargs: Any) -> None:
        if path.parent.name == ".work":
            raise OSError(errno.ENOSPC, "No space left on device")
        make(path, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Path, "mkdir", full)
        for _ in range(3):
            with pytest.raises(Unavailable, match="No space left on device"), work_folder(tmp_path):
                pass
    assert {path.name for path in (tmp_path / ".work").iterdir()} == {".guard"}
    assert opened_below(tmp_path) == []


def test_a_lock_without_a_folder_is_swept_unless_it_is_held(tmp_path: Path):
    with work_folder(tmp_path) as living:
        (living.parent / "left.lock").touch()
        living.rmdir()
        assert sweep_work(tmp_path) == Swept(removed=1)
        assert {path.name for path in living.parent.iterdir()} == {".guard", f"{living.name}.lock"}


def test_a_lock_that_cannot_be_opened_does_not_hide_other_folders(tmp_path: Path):
    with work_folder(tmp_path) as living:
        work = living.parent
    for name in ("a", "b", "c"):
        (work / name).mkdir()
    (work / "b.lock").symlink_to("elsewhere")
    swept = sweep_work(tmp_path)
    assert (swept.removed, list(swept.failed)) == (2, ["b"])
    assert {path.name for path in work.iterdir()} == {".guard", "b", "b.lock"}


def test_a_file_that_cannot_be_read_is_no_defect(tmp_path: Path):
    with pytest.raises(ImportFailed, match=r"^the staged data are not there any more; they have to be staged again$"):
        inspect_file(tmp_path / "missing", "raw", RULES, lambda: None)
    with pytest.raises(ImportFailed, match=r"^the staged data cannot be read: Is a directory$"):
        inspect_file(tmp_path, "raw", RULES, lambda: None)


def test_a_sweep_makes_nothing_in_a_directory_that_was_never_used(tmp_path: Path):
    assert sweep_work(tmp_path) == Swept()
    assert os.listdir(tmp_path) == []
    with pytest.raises(OSError, match="No such file"):
        sweep_work(tmp_path / "missing")


def test_sto18_without_a_staging_directory_there_is_no_work(tmp_path: Path):
    with pytest.raises(Unavailable, match="staging directory of this host"), work_folder(tmp_path / "missing"):
        pass
    assert os.listdir(tmp_path) == []
