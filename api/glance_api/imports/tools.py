"""Which confinement the tools of this host get: tried once in each process, and told in the log."""

import logging
import shutil
import sys
import tempfile
from functools import cache
from pathlib import Path

from glance_api.imports.confinement import landlock
from glance_api.imports.confinement.bubblewrap import Bubblewrap
from glance_api.imports.confinement.contract import Access, Confinement, Unconfined
from glance_api.imports.confinement.landlock import Landlock
from glance_api.imports.contract import ImportFailed
from glance_api.imports.sandbox import Sandbox, ToolLimits
from glance_common.config.loading import ConfigError

LOG = logging.getLogger(__name__)

CONFINEMENTS = ("auto", "landlock", "bubblewrap", "none")
"""The values of ``[import_tools] confinement``; auto takes the first of the others that works."""

_LIMITS = ToolLimits(cpu=10, memory=1 << 30, file_size=1 << 16, timeout=30.0)
_HELD = 3
_TRY = f"""
import sys
try:
    open(sys.argv[1]).close()
except OSError:
    sys.exit({_HELD})
"""


@cache
def choose(name: str) -> Confinement:
    """Return the confinement of that name. Raises ConfigError for one that this host does not have."""
    if name == Unconfined.name:
        LOG.warning("%s ([import_tools] confinement = none)", Unconfined().describe())
        return Unconfined()
    reasons = []
    for each in CONFINEMENTS[1:-1] if name == "auto" else (name,):
        found = _landlock() if each == Landlock.name else _bubblewrap()
        if not isinstance(found, str):
            LOG.info("%s", found.describe())
            return found
        reasons.append(found)
    if name != "auto":
        raise ConfigError("import_tools", "confinement", name, f"does not work on this host: {reasons[0]}")
    LOG.warning("%s: %s", Unconfined().describe(), "; ".join(reasons))
    return Unconfined()


def _landlock() -> Confinement | str:
    """Return Landlock, or why there is none."""
    abi = landlock.version()
    return _tried(Landlock(abi)) if abi else "the kernel has no Landlock, or it is switched off"


def _bubblewrap() -> Confinement | str:
    """Return bubblewrap, or why there is none."""
    tool = shutil.which("bwrap")
    return _tried(Bubblewrap(Path(tool).absolute())) if tool else "bubblewrap is not installed"


def _tried(confinement: Confinement) -> Confinement | str:
    """Return the confinement when a program under it runs and cannot open a file of ours, otherwise the reason."""
    with tempfile.TemporaryDirectory(prefix="glance-confinement-") as name:
        folder, secret = Path(name) / "work", Path(name) / "secret"
        folder.mkdir()
        secret.touch()
        command = [sys.executable, "-I", "-S", "-c", _TRY, str(secret)]
        try:
            outcome = Sandbox(_LIMITS, confinement).run(command, Access(write=folder), folder, lambda: None)
        except ImportFailed as error:
            return f"{confinement.name} was tried: {error}"
    if outcome.code == _HELD:
        return confinement
    if outcome.code == 0:
        return f"{confinement.name} was tried and does not hold"
    last = (outcome.stderr.strip().splitlines() or [f"exit code {outcome.code}"])[-1]
    return f"{confinement.name} was tried: {last}"
