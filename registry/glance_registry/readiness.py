"""Whether the database has the schema that this release needs to serve.

A registry of a new release may start before the schema is expanded, beside one of the release before. Until then it is
*not ready*: it answers 503 to everything, also to its health check, so that a load balancer leaves requests to the
other one. A request that it refuses was not executed. When the schema is there it serves, without a restart.
"""

import logging
import re
import time
from functools import cache
from importlib import resources

import sqlalchemy as sa

from glance_common.model.errors import Unavailable
from glance_registry.db.session import read

LOG = logging.getLogger(__name__)

INTERVAL = 1.0
"""Seconds between two questions to the database while it lacks something."""

_KNOWN_FORM = re.compile("[0-9]{4}")
_MODULE = re.compile(r"v[0-9]{4}_\w+\.py")
_REVISION = re.compile(r'^revision = "([0-9]{4})"$', re.MULTILINE)
_PHASE = re.compile(r'^phase = "([a-z]+)"$', re.MULTILINE)
_EXISTS = sa.text("SELECT to_regclass('alembic_version') IS NOT NULL")
_FOUND = sa.text("SELECT version_num FROM alembic_version")


class Readiness:
    """Asks the database behind ``engine`` until it has the schema, and never again."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._is_ready = False
        self._reason = ""
        self._asked_at: float | None = None

    def check(self) -> None:
        """Return when this release can serve. Raises Unavailable with what is missing and the command that adds it."""
        # Without a lock: threads that ask at the same time do no harm, and would wait for each other.
        if not self._is_ready and (self._asked_at is None or time.monotonic() - self._asked_at >= INTERVAL):
            self._ask()
        if not self._is_ready:
            raise Unavailable(self._reason)

    def _ask(self) -> None:
        reason = missing(read(self._engine, revision))
        if reason is None:
            if self._reason and not self._is_ready:
                LOG.info("the database has the schema of this release now")
            self._is_ready = True
        elif reason != self._reason:
            LOG.warning("not ready: %s", reason)
            self._reason = reason
        self._asked_at = time.monotonic()


def revision(connection: sa.Connection) -> str | None:
    """Return the revision that the database says it has, None when it says nothing."""
    if not connection.execute(_EXISTS).scalar_one():
        return None
    found: str | None = connection.execute(_FOUND).scalar()
    return found


def missing(found: str | None) -> str | None:
    """Return why this release cannot serve with the revision ``found``, None when it can.

    It needs every revision of the phase ``expand``. The others, and those of a newer release, are no condition.
    """
    known = phases()
    needed = max(each for each, phase in known.items() if phase == "expand")
    if found is None:
        return f"the database has no schema, and this release needs revision {needed}: run glance-manage db sync"
    if not _KNOWN_FORM.fullmatch(found):
        return f"the database has the revision {found}, which no release of this service has: it is another service's"
    if found >= needed:
        return None
    step = next(phase for each, phase in sorted(known.items()) if each > found)
    return f"the database has revision {found}, and this release needs {needed}: run glance-manage db {step}"


@cache
def phases() -> dict[str, str]:
    """Return the phase of each revision, as the modules of the migrations say.

    They are read, not imported: Alembic would cost every process of the service 10 MB.
    """
    folder = resources.files("glance_registry.migrations.versions")
    texts = [each.read_text() for each in folder.iterdir() if _MODULE.fullmatch(each.name)]
    return {_only(_REVISION, text): _only(_PHASE, text) for text in texts}


def _only(pattern: re.Pattern[str], text: str) -> str:
    [found] = pattern.findall(text)
    return str(found)
