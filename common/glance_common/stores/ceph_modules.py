"""Ceph's own Python modules, which come with the distribution and not with pip.

They are extension modules of one file each and need no other Python package. A virtual environment does not see those
of the distribution, so they are loaded by their paths. The suffix of the files names the version of Python: a file that
is there fits.
"""

import sys
import sysconfig
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

PACKAGES = "python3-rados and python3-rbd"

_VERSION = f"python{sys.version_info[0]}.{sys.version_info[1]}"
FOLDERS = (
    "/usr/lib/python3/dist-packages", f"/usr/lib64/{_VERSION}/site-packages", f"/usr/lib/{_VERSION}/site-packages",
)
"""Where distributions keep them: Debian and Ubuntu, Red Hat and SUSE, others."""


@dataclass(frozen=True, slots=True)
class Bindings:
    """The two modules."""

    rados: Any
    rbd: Any

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """The bases of their errors, which have nothing in common."""
        return (self.rados.Error, self.rbd.Error)


@cache
def bindings() -> Bindings:
    """Return the modules, which are loaded once. Raises ImportError."""
    return Bindings(_module("rados"), _module("rbd"))


def _module(name: str) -> ModuleType:
    """Return a module: the one of this environment, or else that of the distribution."""
    found = sys.modules.get(name)
    if found is not None:
        return found
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        # Without an origin it is a folder of that name on the path, which holds no module.
        places = (Path(folder) / f"{name}{sysconfig.get_config_var('EXT_SUFFIX')}" for folder in FOLDERS)
        place = next((place for place in places if place.is_file()), None)
        spec = None if place is None else spec_from_file_location(name, place)
    if spec is None or spec.loader is None:
        raise ImportError(f"there is no module {name} for this Python: install the packages {PACKAGES}")
    module = module_from_spec(spec)
    # The second module imports the first one by its name.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
