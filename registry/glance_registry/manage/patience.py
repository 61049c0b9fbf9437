"""Waiting for a database that is not there yet, as at the start of a host."""

import sys
import time

import sqlalchemy as sa
from oslo_config import cfg

from glance_common.model.errors import Unavailable
from glance_registry.db.session import make_engine
from glance_registry.monitoring import check_database
from glance_registry.wsgi import database_url, engine_settings


def wait_for_database(conf: cfg.ConfigOpts) -> None:
    """Return when the database answers, or after ``[database] max_retries`` further tries. Raises ConfigError."""
    left = conf.database.max_retries
    if not left:
        return
    engine = make_engine(database_url(conf), engine_settings(conf))
    try:
        while left and not _answers(engine):
            print(  # noqa: T201 - a command line tool speaks to the terminal
                f"The database does not answer; next try in {conf.database.retry_interval:g} s.", file=sys.stderr
            )
            time.sleep(conf.database.retry_interval)
            left -= 1
    finally:
        engine.dispose()


def _answers(engine: sa.Engine) -> bool:
    try:
        check_database(engine)
    except Unavailable:
        return False
    return True
