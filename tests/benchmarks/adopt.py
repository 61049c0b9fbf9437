"""How long glance-manage adopt takes for a database of N images, and how much memory.

    python -m tests.benchmarks.adopt 200000 [--mariadb]

The other database is made here: of Mitaka's schema, with four properties, two tags and one location an image, a member
for every third, and a tenth more images that are deleted. Both servers, the tool and this program share the machine.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from glance_registry.db.schema import upgrade
from tests.servers.mariadb import running_mariadb
from tests.servers.postgres import running_postgres
from tests.support.old_database import OldDatabase

_CHUNK = 50_000

# One statement a table. u(n) is the id of image n: it looks random, as real ones do.
FILL = {
    "images": """SELECT {id}, concat('image-', n), n, CASE WHEN n % 11 = 0 THEN 'deleted' ELSE 'active' END, n % 7 = 0,
        {times}, CASE WHEN n % 11 = 0 THEN {now} END, n % 11 = 0, 'qcow2', 'bare', md5(concat('c', n)),
        concat('project-', n % 300), 1, 512, false, NULL FROM numbers""",
    "image_properties": """SELECT n * 4 + k, {id}, concat('property_', k), concat('value ', n % 1000), {child}
        FROM numbers, (SELECT 0 AS k UNION SELECT 1 UNION SELECT 2 UNION SELECT 3) keys WHERE n % 11 <> 0""",
    "image_tags": """SELECT n * 2 + k, {id}, concat('tag-', k, '-', n % 50), {child}
        FROM numbers, (SELECT 0 AS k UNION SELECT 1) keys WHERE n % 11 <> 0""",
    "image_locations": """SELECT n, {id}, concat('file:///var/lib/glance/images/', {id}), {child},
        '{{"store": "disk"}}', 'active' FROM numbers WHERE n % 11 <> 0""",
    "image_members": """SELECT n, {id}, concat('project-', n % 299), false, {child}, 'accepted'
        FROM numbers WHERE n % 3 = 0 AND n % 11 <> 0""",
}
_TEXT_ID = (
    "concat(substr(md5({0}), 1, 8), '-', substr(md5({0}), 9, 4), '-', substr(md5({0}), 13, 4), '-',"
    " substr(md5({0}), 17, 4), '-', substr(md5({0}), 21, 12))"
).format("concat('image ', n)")


def fill(old: OldDatabase, images: int) -> None:
    """Make the tables, and fill them with so many images that live and a tenth more that are deleted."""
    old.make_tables()
    mysql = old.engine.dialect.name == "mysql"
    everything = images * 11 // 10
    for begin in range(1, everything + 1, _CHUNK):
        end = min(begin + _CHUNK - 1, everything)
        numbers = f"seq AS n FROM seq_{begin}_to_{end}" if mysql else f"generate_series({begin}, {end}) AS n"
        for table, select in FILL.items():
            text = select.format(
                id=_TEXT_ID, now=_typed("2016-06-01 00:00:00", mysql), times=_times(mysql),
                child=f"{_times(mysql)}, NULL, false",
            )
            statement = f"INSERT INTO {table} WITH numbers AS (SELECT {numbers}) {text}"
            # The drivers take a percent sign for a parameter.
            old.run(statement.replace("%", "%%"))
    old.run("ANALYZE TABLE images" if mysql else "ANALYZE")


def _times(mysql: bool) -> str:
    return ", ".join(_typed(text, mysql) for text in ("2016-05-17 12:00:00", "2016-05-17 13:00:00"))


def _typed(text: str, mysql: bool) -> str:
    return f"'{text}'" if mysql else f"TIMESTAMP '{text}'"


@contextmanager
def servers(with_mariadb: bool) -> Iterator[tuple[str, str]]:
    """Give the URLs of our database, with the schema, and of the other one, which is empty."""
    with running_postgres() as postgres:
        postgres.create_database("ours")
        upgrade(postgres.url("ours"))
        if with_mariadb:
            with running_mariadb() as mariadb:
                mariadb.create_database("old")
                yield postgres.url("ours"), mariadb.url("old")
        else:
            postgres.create_database("old")
            yield postgres.url("ours"), postgres.url("old")


def run(folder: Path, target: str, source: str, *arguments: str) -> float:
    """Run the tool, and return the seconds that it took; print those of its processor. Raises AssertionError."""
    configured = folder / "glance-manage.conf"
    configured.write_text(
        f"[database]\nconnection = {target}\n[DEFAULT]\nenabled_backends = disk:file\n[glance_store]\n"
        "default_backend = disk\n[disk]\nfilesystem_store_datadir = /var/lib/glance/images\n"
    )
    program = Path(sys.executable).with_name("glance-manage")
    began, before = time.monotonic(), _processor_seconds()
    done = subprocess.run(
        [program, "--config-file", configured, "adopt", "--from", source, *arguments], capture_output=True, text=True,
        check=False,
    )
    took = time.monotonic() - began
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)
    print(f"the tool itself: {_processor_seconds() - before:.1f} processor seconds")
    return took


def _processor_seconds() -> float:
    """Return the seconds of all programs that were run and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Fill, adopt, adopt again, compare; print rates and memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=int)
    parser.add_argument("--mariadb", action="store_true", help="the other database is one of MariaDB")
    arguments = parser.parse_args()
    with servers(arguments.mariadb) as (target, source), tempfile.TemporaryDirectory() as folder:
        old = OldDatabase(source)
        began = time.monotonic()
        fill(old, arguments.images)
        old.close()
        print(f"filled in {time.monotonic() - began:.0f} s")
        for name, more in (("first run", []), ("second run", []), ("comparison", ["--verify"])):
            took = run(Path(folder), target, source, *more)
            rows = arguments.images * 11 // 10
            print(f"{name}: {took:.1f} s, {rows / took:.0f} images/s, {took * 1_000_000 / rows:.0f} s for a million")
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        print(f"largest process: {peak / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
