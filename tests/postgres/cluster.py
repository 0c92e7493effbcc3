"""One PostgreSQL of the tests' own: made, started, killed, followed by a standby, and gone without a trace."""

import atexit
import ctypes
import shutil
import signal
import socket
import subprocess
from typing import Final, Self
from urllib.parse import quote, urlencode

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from tests.postgres import account, installation
from tests.postgres.guard import end_postgres, watch_process
from tests.postgres.installation import Installation
from tests.postgres.processes import Process, kill_with_children, process, send, stop_with_children
from tests.waiting import wait_until

SUPERUSER: Final = "postgres"

# Of <sys/ipc.h>.
IPC_RMID: Final = 0

SETTINGS: Final = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    "max_connections": "200",
    "shared_buffers": "128MB",
    # In files beside the data, so that they go with it after a kill.
    "dynamic_shared_memory_type": "mmap",
    "wal_level": "replica",
    "max_wal_senders": "10",
    "max_replication_slots": "10",
    # A standby that lost its primary looks for it again at once.
    "wal_retrieve_retry_interval": "100ms",
}


class Cluster:
    """A PostgreSQL server and its data, in a folder of its own, on a port that is its own until it is closed."""

    def __init__(self, runnable: Installation) -> None:
        """Only its place; `create` and `standby` make one that runs."""
        self.installation = runnable
        self.folder = account.new_folder()
        self.log = self.folder / "log"
        self._data = self.folder / "data"
        self._process: subprocess.Popen[bytes] | None = None
        self._postmaster: Process
        self._frozen: list[Process] = []
        # Linux lets PostgreSQL listen on a port that is bound here as long as nobody listens here. So the port stays
        # this cluster's while it is stopped: nobody is given it, neither to listen on nor to connect from.
        self._port = socket.socket()
        self._port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._port.bind(("127.0.0.1", 0))
        self.port: int = self._port.getsockname()[1]
        atexit.register(self.close)

    @classmethod
    def create(cls, which: Installation | None = None, *, durable: bool = False) -> Self:
        """A new cluster, running. It does not wait for the disk unless it is durable: only a machine that stops would
        tell the difference, a kill does not.
        """
        cluster = cls(account.runnable(which or installation.chosen()))
        try:
            cluster._initialise(durable)
            cluster.start()
        except BaseException:
            cluster.close()
            raise
        return cluster

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _initialise(self, durable: bool) -> None:
        self._run(
            *("initdb", "--no-sync", "--no-instructions", f"--username={SUPERUSER}", "--auth=trust"),
            *("--encoding=UTF8", "--locale=C", "-D", str(self._data)),
        )
        settings = {**SETTINGS, "fsync": "on" if durable else "off"}
        self._configure("postgresql.conf", settings)

    def _configure(self, file: str, settings: dict[str, str]) -> None:
        """Of two lines for a setting the later one counts, and `postgresql.auto.conf` comes after all others."""
        with (self._data / file).open("a", encoding="utf-8") as out:
            out.writelines(f"{name} = '{value}'\n" for name, value in settings.items())

    def _run(self, program: str, *arguments: str) -> None:
        account.run([self.installation.program(program), *arguments], self.folder, self.log)

    # --- Running and not running --------------------------------------------------------------------------------------

    @property
    def runs(self) -> bool:
        return self._process is not None

    def start(self) -> None:
        """Returns when it answers, after a kill when it has recovered."""
        assert not self.runs
        command = [self.installation.program("postgres"), "-D", str(self._data), "-p", str(self.port)]
        self._process = account.start(command, self.folder, self.log)
        started = process(self._process.pid)
        # Not awaited yet, so at least a zombie.
        assert started is not None
        self._postmaster = started
        watch_process(started)
        wait_until(self._answers, f"PostgreSQL on port {self.port} answers")

    def _answers(self) -> bool:
        assert self._process is not None
        ended = self._process.poll()
        if ended is not None:
            self._process = None
            raise AssertionError(f"PostgreSQL ended with {ended}: {account.end_of(self.log)}")
        try:
            self.connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self) -> None:
        """A fast shutdown, as an operator would do it: transactions are rolled back, everything is written."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        self._process = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def kill(self) -> None:
        """Ends all its processes at once by SIGKILL, and returns when they are gone. `start` recovers."""
        assert self._process is not None
        kill_with_children(self._postmaster)
        self._process.wait()
        self._process = None
        self._remove_shared_memory()

    def freeze(self) -> None:
        """Stops all its processes where they are: its connections live, and nobody answers, until `thaw`."""
        self._frozen = stop_with_children(self._postmaster)

    def thaw(self) -> None:
        """Idempotent."""
        for each in self._frozen:
            send(each, signal.SIGCONT)
        self._frozen = []

    def close(self) -> None:
        """Ends it, if it runs, and removes all that it had."""
        atexit.unregister(self.close)
        self.thaw()
        if self._process is not None:
            end_postgres(self._postmaster)
            self._process.wait()
            self._process = None
        self._port.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _remove_shared_memory(self) -> None:
        """What a killed PostgreSQL leaves is one small segment, but a machine has room for 4096 of them, and there may
        be no next start that would remove it.
        """
        file = self._data / "postmaster.pid"
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        if len(lines) > 6 and lines[6].strip():
            _key, number = map(int, lines[6].split())
            ctypes.CDLL(None).shmctl(number, IPC_RMID, None)

    # --- Standbys -----------------------------------------------------------------------------------------------------

    def standby(self, name: str) -> Self:
        """A new cluster, running, that follows this one under a name: a letter, then letters, digits, underscores."""
        standby = type(self)(self.installation)
        try:
            self._start_standby(standby, name)
        except BaseException:
            standby.close()
            raise
        return standby

    def _start_standby(self, standby: Self, name: str) -> None:
        standby._run(
            *("pg_basebackup", "--no-sync", "--checkpoint=fast", "--wal-method=stream"),
            *("--host=127.0.0.1", f"--port={self.port}", f"--username={SUPERUSER}"),
            *("--create-slot", f"--slot={name}", "-D", str(standby._data)),
        )
        primary = f"host=127.0.0.1 port={self.port} user={SUPERUSER} application_name={name}"
        standby._configure(
            "postgresql.auto.conf",
            {
                "primary_conninfo": primary,
                "primary_slot_name": name,
                # The primary's value came along; once promoted, it would wait for its sisters.
                "synchronous_standby_names": "",
            },
        )
        (standby._data / "standby.signal").touch()
        standby.start()
        self._wait_for_standby(name, ("async", "potential", "sync", "quorum"))

    def make_synchronous(self, name: str) -> None:
        """From now on a commit here is acknowledged only when that standby has it on its disk."""
        with self.connect() as connection:
            names = sql.Literal(f'FIRST 1 ("{name}")')
            connection.execute(sql.SQL("ALTER SYSTEM SET synchronous_standby_names = {}").format(names))
            connection.execute("SELECT pg_reload_conf()")
        self._wait_for_standby(name, ("sync",))

    def _wait_for_standby(self, name: str, states: tuple[str, ...]) -> None:
        query = (
            "SELECT sync_state FROM pg_stat_replication WHERE application_name = %s AND state = 'streaming'"
        )
        with self.connect() as connection:
            wait_until(
                lambda: connection.execute(query, [name]).fetchone() in [(state,) for state in states],
                f"standby {name} is one of {states}",
            )

    def promote(self) -> None:
        """Makes a standby a primary of its own. Returns when it takes writes."""
        with self.connect() as connection:
            promoted = connection.execute("SELECT pg_promote(true, 30)").fetchone()
            assert promoted == (True,), account.end_of(self.log)
            assert connection.execute("SELECT pg_is_in_recovery()").fetchone() == (False,)

    # --- For its clients ----------------------------------------------------------------------------------------------

    def url(self, database: str = "postgres", **parameters: str) -> str:
        query = "?" + urlencode(parameters, quote_via=quote) if parameters else ""
        return f"postgresql://{SUPERUSER}@127.0.0.1:{self.port}/{quote(database, safe='')}{query}"

    def connect(self, database: str = "postgres") -> psycopg.Connection[TupleRow]:
        """A connection that commits each statement; closed by its own `with`."""
        return psycopg.connect(self.url(database), autocommit=True, connect_timeout=10)
