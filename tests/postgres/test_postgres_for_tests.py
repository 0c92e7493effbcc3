"""The tests' own PostgreSQL does what the tests rely on, on every installation that this machine has."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from tests.postgres import installation
from tests.postgres.cluster import Cluster
from tests.postgres.fresh import drop_schemas, fresh_url, server_url, with_schema, without_schema
from tests.postgres.installation import Installation
from tests.postgres.processes import Process, children, process
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(120)

ROOT = Path(__file__).parents[2]
OF_THE_WHEEL = [found for found in installation.found() if installation.WHEEL in found.bin.parts][:1]


@pytest.fixture(params=installation.found(), ids=lambda found: f"postgresql-{found.major}")
def each_cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A cluster with a table for numbers, of every installation."""
    with with_table(Cluster.create(request.param)) as cluster:
        yield cluster


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """The same, of the installation that all other tests take."""
    with with_table(Cluster.create()) as cluster:
        yield cluster


def with_table(cluster: Cluster) -> Cluster:
    with cluster.connect() as connection:
        connection.execute("CREATE TABLE numbers (n bigint)")
    return cluster


def insert(cluster: Cluster, number: int) -> None:
    with cluster.connect() as connection:
        connection.execute("INSERT INTO numbers VALUES (%s)", [number])


def numbers(cluster: Cluster) -> list[int]:
    with cluster.connect() as connection:
        return [number for (number,) in connection.execute("SELECT n FROM numbers ORDER BY n")]


def setting(cluster: Cluster, name: str) -> str:
    with cluster.connect() as connection:
        row = connection.execute("SELECT current_setting(%s)", [name]).fetchone()
    assert row is not None
    return str(row[0])


def processes_of(cluster: Cluster) -> list[Process]:
    """The postmaster, as the parent of a connection's process, and all its children."""
    with cluster.connect() as connection:
        row = connection.execute("SELECT pg_backend_pid()").fetchone()
        assert row is not None
        backend = process(row[0])
        assert backend is not None
        postmaster = process(backend.parent)
        assert postmaster is not None
        return [postmaster, *children(postmaster.pid)]


def test_a_killed_cluster_is_gone_and_starts_again_on_its_port_with_its_data(each_cluster: Cluster) -> None:
    assert int(setting(each_cluster, "server_version_num")) // 10000 == each_cluster.installation.major
    insert(each_cluster, 1)
    with each_cluster.connect() as connection:
        running = processes_of(each_cluster)
        assert len(running) > 5
        each_cluster.kill()
        assert not any(one.runs for one in running)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError):
        each_cluster.connect()
    each_cluster.start()
    insert(each_cluster, 2)
    assert numbers(each_cluster) == [1, 2]


def test_a_synchronous_standby_has_what_its_killed_primary_committed(each_cluster: Cluster) -> None:
    insert(each_cluster, 1)
    with each_cluster.standby("second") as standby:
        each_cluster.make_synchronous("second")
        for number in range(2, 50):
            insert(each_cluster, number)
        each_cluster.kill()
        standby.promote()
        insert(standby, 50)
        assert numbers(standby) == list(range(1, 51))


def test_a_stopped_cluster_keeps_its_port_and_its_data(cluster: Cluster) -> None:
    insert(cluster, 1)
    cluster.stop()
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", cluster.port))
    cluster.start()
    cluster.restart()
    assert numbers(cluster) == [1]


def test_a_cluster_that_does_not_start_says_why_and_can_be_started_again(cluster: Cluster) -> None:
    cluster.stop()
    file = cluster.folder / "data" / "postgresql.auto.conf"
    sound = file.read_text(encoding="utf-8")
    file.write_text("no_such_setting = 1\n", encoding="utf-8")
    with pytest.raises(AssertionError, match="no_such_setting"):
        cluster.start()
    file.write_text(sound, encoding="utf-8")
    cluster.start()
    assert numbers(cluster) == []


def test_a_promoted_standby_gets_a_standby_of_its_own(cluster: Cluster) -> None:
    with cluster.standby("second") as second:
        cluster.make_synchronous("second")
        cluster.kill()
        second.promote()
        with second.standby("third") as third:
            second.make_synchronous("third")
            # A copy of a primary that waits for a standby waits for none itself.
            with second.standby("fourth") as fourth:
                assert setting(fourth, "synchronous_standby_names") == ""
            insert(second, 1)
            second.kill()
            third.promote()
            insert(third, 2)
            assert numbers(third) == [1, 2]


def test_without_its_synchronous_standby_a_primary_acknowledges_nothing(cluster: Cluster) -> None:
    with cluster.standby("second") as standby:
        cluster.make_synchronous("second")
        standby.kill()
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
        with ThreadPoolExecutor() as thread, cluster.connect() as connection:
            inserting = thread.submit(insert, cluster, 1)
            try:
                wait_until(
                    lambda: connection.execute(waiting).fetchone() == (1,), "the commit waits for the standby"
                )
                assert not inserting.done()
            finally:
                standby.start()
            inserting.result()
        # On the standby's disk; to be seen there, it is applied a moment later.
        wait_until(lambda: numbers(standby) == [1], "the standby has applied it")


def test_a_frozen_cluster_keeps_its_connections_and_answers_nobody_until_it_is_thawed(
    cluster: Cluster,
) -> None:
    with cluster.connect() as connection:
        cluster.freeze()
        with pytest.raises(psycopg.errors.ConnectionTimeout):
            psycopg.connect(cluster.url(), connect_timeout=2)
        cluster.thaw()
        assert connection.execute("SELECT 1").fetchone() == (1,)
    cluster.freeze()
    cluster.kill()
    cluster.start()


def test_a_closed_cluster_leaves_nothing() -> None:
    with Cluster.create() as cluster:
        running = processes_of(cluster)
        assert cluster.folder.is_dir()
    assert not any(each.runs for each in running)
    assert not cluster.folder.exists()


def test_only_a_durable_cluster_waits_for_the_disk() -> None:
    with Cluster.create() as cluster:
        assert setting(cluster, "fsync") == "off"
    with Cluster.create(durable=True) as cluster:
        assert setting(cluster, "fsync") == "on"


def test_tests_that_end_without_a_word_leave_nothing() -> None:
    program = """
import os
from tests.postgres.cluster import Cluster
from tests.postgres.test_postgres_for_tests import processes_of
cluster = Cluster.create()
print(cluster.folder, *(each.pid for each in processes_of(cluster)), flush=True)
os._exit(3)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 3, done.stderr
    folder, *pids = done.stdout.split()
    assert len(pids) > 3
    wait_until(lambda: not Path(folder).exists(), f"{folder} is removed")
    assert not [pid for pid in pids if (found := process(int(pid))) is not None and found.runs]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as somebody else")
@pytest.mark.parametrize("wheel", OF_THE_WHEEL, ids=lambda wheel: f"postgresql-{wheel.major}")
def test_an_installation_that_is_roots_alone_is_copied_to_where_others_can_run_it(
    wheel: Installation, tmp_path: Path
) -> None:
    package = wheel.bin.parents[1]
    for part in (package, package.with_name(f"{package.name}.libs")):
        shutil.copytree(part, tmp_path / part.name)
    tmp_path.chmod(0o700)
    hidden = Installation(tmp_path / wheel.bin.relative_to(package.parent), wheel.major)
    with Cluster.create(hidden) as cluster:
        assert cluster.installation != hidden
        assert int(setting(cluster, "server_version_num")) // 10000 == wheel.major
        with cluster.standby("second") as standby:
            assert setting(standby, "in_hot_standby") == "on"


def schemas() -> set[str]:
    with psycopg.connect(server_url(), autocommit=True) as connection:
        return {name for (name,) in connection.execute("SELECT nspname FROM pg_namespace")}


def make_schema(url: str) -> str:
    """As the server under test would."""
    name = url.rpartition("schema=")[2]
    with psycopg.connect(without_schema(url), autocommit=True) as connection:
        schema = sql.Identifier(name)
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(schema))
        connection.execute(sql.SQL("CREATE TABLE {}.facts (id bigint)").format(schema))
    return name


def test_each_folder_has_a_fresh_url_and_keeps_it(tmp_path: Path) -> None:
    first = fresh_url(tmp_path / "first")
    assert fresh_url(tmp_path / "second") != first == fresh_url(tmp_path / "first")


def test_schemas_that_were_handed_out_are_dropped_each_time(tmp_path: Path) -> None:
    first, second = (make_schema(fresh_url(tmp_path / name)) for name in ("first", "second"))
    assert {first, second} <= schemas()
    drop_schemas()
    assert schemas().isdisjoint({first, second})
    assert make_schema(fresh_url(tmp_path / "first")) == first
    drop_schemas()
    assert first not in schemas()


def test_a_schema_that_is_held_is_reported_and_waited_for_no_longer_than_said(tmp_path: Path) -> None:
    name = make_schema(fresh_url(tmp_path))
    with psycopg.connect(server_url()) as connection:
        connection.execute(sql.SQL("LOCK TABLE {}").format(sql.Identifier(name, "facts")))
        with pytest.raises(psycopg.errors.LockNotAvailable):
            drop_schemas(patience="50ms")
    fresh_url(tmp_path)
    drop_schemas()
    assert name not in schemas()


def test_a_parameter_stays_in_a_url() -> None:
    given = "postgresql://someone@db.example:5433/facts?sslmode=require&schema=old&options=-c%20a%3Db"
    assert without_schema(given) == (
        "postgresql://someone@db.example:5433/facts?sslmode=require&options=-c%20a%3Db"
    )
    assert with_schema(given, "t_1") == f"{without_schema(given)}&schema=t_1"
    assert with_schema("postgresql:///facts", "t_1") == "postgresql:///facts?schema=t_1"
    assert without_schema("postgresql:///facts?schema=t_1") == "postgresql:///facts"
