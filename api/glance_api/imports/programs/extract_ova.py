"""Takes the one disk out of an OVA; every byte of the archive may be hostile, so this runs confined (S-41).

usage: extract_ova.py ARCHIVE [SETTING ...]

An OVA is a tar archive of plain files without folders: a descriptor ``*.ovf`` and what it refers to. The disk goes to
the standard output, where the reader stops this program when it is too much. Then a JSON object on stderr has
the values of the settings of processors that were asked for and that the descriptor has. Exit code 1 and one line on
stderr say why not.
"""

import json
import sys
import tarfile
from pathlib import Path
from typing import BinaryIO
from xml.parsers import expat

_PIECE = 1024 * 1024
_LARGEST_DESCRIPTOR = 1024 * 1024
_MOST_MEMBERS = 1000
_PROCESSOR = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ProcessorAllocationSettingData"
"""Namespace of the settings of processors."""


class OvaRefused(Exception):
    """The archive is not one that we take apart; the text is for the owner of the image."""


def main(argv: list[str]) -> int:
    """Extract and return the exit code."""
    try:
        settings = extract(Path(argv[0]), sys.stdout.buffer, frozenset(argv[1:]))
    except OvaRefused as refused:
        return _failed(str(refused))
    except MemoryError:
        return _failed("the OVA needs more memory than is allowed")
    except tarfile.TarError:
        return _failed("the OVA is not a tar archive, or a damaged one")
    except OSError:
        return _failed("the OVA cannot be unpacked")
    sys.stderr.write(json.dumps(settings))
    return 0


def _failed(text: str) -> int:
    sys.stderr.write(text + "\n")
    return 1


def extract(archive: Path, out: BinaryIO, wanted: frozenset[str]) -> dict[str, str]:
    """Write the disk that the descriptor names to ``out``; return the values of the ``wanted`` settings.

    Raises OvaRefused, TarError, OSError, MemoryError.
    """
    with tarfile.open(archive, "r:") as tar:
        members = _members(tar)
        descriptors = [member for name, member in members.items() if name.lower().endswith(".ovf")]
        if len(descriptors) != 1:
            raise OvaRefused(f"the OVA must hold exactly one descriptor (*.ovf); it holds {len(descriptors)}")
        descriptor = _Descriptor(_text(tar, descriptors[0]), wanted)
        disk = members.get(_disk_name(descriptor))
        if disk is None:
            raise OvaRefused("the disk that the descriptor names is not in the OVA")
        content = tar.extractfile(disk)
        assert content is not None
        size = 0
        with content:
            while piece := content.read(_PIECE):
                size += out.write(piece)
        out.flush()
        if size != disk.size:
            raise OvaRefused("the OVA ends too early")
        return descriptor.settings


def _members(tar: tarfile.TarFile) -> dict[str, tarfile.TarInfo]:
    found: dict[str, tarfile.TarInfo] = {}
    for member in tar:
        if not member.isreg() or member.issparse():
            raise OvaRefused("the OVA holds something that is not a plain file")
        if "/" in member.name or "\\" in member.name or member.name in ("", ".", ".."):
            raise OvaRefused("the OVA holds a file with a path in its name")
        if member.name in found:
            raise OvaRefused("the OVA holds two files of the same name")
        found[member.name] = member
        if len(found) > _MOST_MEMBERS:
            raise OvaRefused(f"the OVA holds more than {_MOST_MEMBERS} files")
    return found


def _text(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    if member.size > _LARGEST_DESCRIPTOR:
        raise OvaRefused(f"the descriptor of the OVA has more than {_LARGEST_DESCRIPTOR} bytes")
    file = tar.extractfile(member)
    assert file is not None
    return file.read()


class _Descriptor:
    """The files and the disks that an OVF descriptor names, and the settings of processors that are wanted."""

    def __init__(self, text: bytes, wanted: frozenset[str]) -> None:
        self.files: dict[str, dict[str, str]] = {}
        self.disks: list[dict[str, str]] = []
        self.settings: dict[str, str] = {}
        self._wanted = frozenset(f"{_PROCESSOR} {name}" for name in wanted)
        self._open = ""
        parser = expat.ParserCreate(namespace_separator=" ")
        # A call for each line of a text would take hours for a hostile one.
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = self._refuse_doctype
        parser.StartElementHandler = self._element
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        try:
            parser.Parse(text, True)
        except expat.ExpatError:
            raise OvaRefused("the descriptor of the OVA is not well-formed XML") from None

    def _refuse_doctype(self, *_declared: object) -> None:
        # No document type, no entities: neither outer files nor a billion laughs.
        raise OvaRefused("the descriptor of the OVA must not have a document type declaration")

    def _element(self, name: str, attributes: dict[str, str]) -> None:
        local = {key.rpartition(" ")[2]: value for key, value in attributes.items()}
        match name.rpartition(" ")[2]:
            case "File":
                self.files[local.get("id", "")] = local
            case "Disk":
                self.disks.append(local)
        if name in self._wanted:
            self._open = name
            self.settings[name.rpartition(" ")[2]] = ""

    def _end(self, name: str) -> None:
        if name == self._open:
            self._open = ""
            setting = name.rpartition(" ")[2]
            self.settings[setting] = self.settings[setting].strip()

    def _characters(self, text: str) -> None:
        if self._open:
            self.settings[self._open.rpartition(" ")[2]] += text


def _disk_name(descriptor: _Descriptor) -> str:
    """Return the name of the file of the only disk."""
    if len(descriptor.disks) != 1:
        raise OvaRefused(f"the OVA must describe exactly one disk; it describes {len(descriptor.disks)}")
    file = descriptor.files.get(descriptor.disks[0].get("fileRef", ""), {})
    if file.get("compression", "identity") != "identity" or "chunkSize" in file:
        raise OvaRefused("the disk in the OVA is compressed or split")
    return file.get("href", "")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
