"""A SQLite store that runs out of room or meets an I/O error says so, keeps what it acknowledged, and goes on."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

import apsw
import pytest

from factstr_server.contract.append import PreparedAppend
from factstr_server.contract.errors import Reason, Refusal
from factstr_server.contract.query import EVERYTHING, EventQuery
from factstr_server.log.durable_streams import Consumption, ConsumptionStarted
from factstr_server.log.event_log import AppendResult, EventLog
from factstr_server.stores.protocol import Outcome, StoreError, StoreOptions
from factstr_server.stores.sqlite import store as sqlite_store
from factstr_server.stores.sqlite.reading import Reader
from factstr_server.stores.sqlite.store import SqliteStore
from factstr_server.stores.sqlite.streams import StreamWriter
from factstr_server.stores.sqlite.writing import Writer
from tests.conformance.driver import NewFact, of_type
from tests.stores.opened import compiled, opened_sqlite, prepared

LARGE = NewFact("large", '"' + "x" * 1_000_000 + '"')


class OpenLog:
    """A log on a SQLite store, and the store itself."""

    def __init__(self, database: Path) -> None:
        self.store = SqliteStore(database, StoreOptions())
        self.log = EventLog(self.store)

    async def append(self, *facts: NewFact, key: str = "") -> AppendResult:
        return await self.log.append(prepared(facts, key=key))

    async def numbers(self, *types: str) -> list[int]:
        query = compiled(of_type(*types))
        return [part.context_version or 0 async for part in self.log.query(query, limit=0)]

    async def room_for(self, pages: int | None) -> None:
        """Lets the file grow by so many pages; None = as it likes."""

        def limit() -> None:
            assert self.store._writer is not None
            connection = self.store._writer.connection
            used = connection.pragma("page_count")
            connection.pragma("max_page_count", 2**30 if pages is None else used + pages)

        await self.store._run(self.store._writing, limit)


@pytest.fixture
async def opened_log(tmp_path: Path) -> AsyncIterator[OpenLog]:
    opened = OpenLog(tmp_path / "facts.db")
    await opened.log.open()
    yield opened
    await opened.log.close()


async def refused(reason: Reason, opened: OpenLog, *facts: NewFact, key: str = "") -> Refusal:
    with pytest.raises(Refusal) as caught:
        await opened.append(*facts, key=key)
    assert caught.value.reason is reason
    return caught.value


async def test_a_full_disk_refuses_appends_commits_nothing_and_goes_on_when_there_is_room(
    opened_log: OpenLog,
) -> None:
    await opened_log.append(NewFact("kept"))
    await opened_log.room_for(20)
    await refused(Reason.STORE_FULL, opened_log, LARGE, key="k")
    assert await opened_log.log.head() == 1
    await opened_log.room_for(None)
    again = await opened_log.append(LARGE, key="k")
    assert (again.first_sequence_number, again.repeated) == (2, False)


async def test_an_append_that_fits_does_not_fail_because_of_one_in_its_group_that_does_not(
    opened_log: OpenLog,
) -> None:
    await opened_log.append(NewFact("kept"))
    await opened_log.room_for(60)
    outcomes = await asyncio.gather(
        *(opened_log.append(LARGE if i % 2 else NewFact("small")) for i in range(8)), return_exceptions=True
    )
    assert [
        outcome.first_sequence_number for outcome in outcomes[::2] if isinstance(outcome, AppendResult)
    ] == [
        2,
        3,
        4,
        5,
    ]
    assert [outcome.reason for outcome in outcomes[1::2] if isinstance(outcome, Refusal)] == [
        Reason.STORE_FULL
    ] * 4
    assert await opened_log.log.head() == 5


def failing_once(monkeypatch: pytest.MonkeyPatch, *, after_the_commit: bool) -> None:
    """The next commit ends in an I/O error, before or after it has reached the file."""
    commit = Writer.commit

    def failing(writer: Writer, group: Sequence[PreparedAppend]) -> list[Outcome]:
        monkeypatch.setattr(Writer, "commit", commit)
        if after_the_commit:
            commit(writer, group)
        raise apsw.IOError("disk I/O error")

    monkeypatch.setattr(Writer, "commit", failing)


@pytest.mark.parametrize("committed", [False, True])
async def test_an_io_error_while_committing_leaves_the_outcome_open_until_the_key_is_used_again(
    opened_log: OpenLog, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    await opened_log.append(NewFact("first"))
    failing_once(monkeypatch, after_the_commit=committed)
    await refused(Reason.APPEND_OUTCOME_UNKNOWN, opened_log, NewFact("open"), key="k")
    again = await opened_log.append(NewFact("open"), key="k")
    assert (again.first_sequence_number, again.repeated) == (2, committed)
    assert (await opened_log.append(NewFact("next"))).first_sequence_number == 3


async def test_a_file_that_cannot_be_opened_again_is_unavailable_until_it_can(
    opened_log: OpenLog, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await opened_log.append(NewFact("first"))
    failing_once(monkeypatch, after_the_commit=False)
    await refused(Reason.APPEND_OUTCOME_UNKNOWN, opened_log, NewFact())

    def cannot_open(database: Path) -> apsw.Connection:
        raise StoreError(f"cannot open {database}")

    with monkeypatch.context() as patch:
        patch.setattr(sqlite_store, "open_writer", cannot_open)
        for _ in range(2):
            refusal = await refused(Reason.STORE_UNAVAILABLE, opened_log, NewFact())
            assert str(opened_log.store._database) not in refusal.message
        # Who runs the server is told why, and not at every append.
        assert caplog.messages == [f"nothing can be written: cannot open {opened_log.store._database}"]
    assert (await opened_log.append(NewFact("second"))).first_sequence_number == 2


async def test_a_file_that_opens_for_reading_alone_is_unavailable_until_it_opens_for_writing(
    opened_log: OpenLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    await opened_log.append(NewFact("first"))
    failing_once(monkeypatch, after_the_commit=False)
    await refused(Reason.APPEND_OUTCOME_UNKNOWN, opened_log, NewFact())
    # As SQLite does it where opening for writing fails, of too many open files for example.
    read_only = partial(apsw.Connection, flags=apsw.SQLITE_OPEN_READONLY)
    with monkeypatch.context() as patch:
        patch.setattr(apsw, "Connection", read_only)
        refusal = await refused(Reason.STORE_UNAVAILABLE, opened_log, NewFact())
        assert "cannot be written" in str(refusal.__cause__)
    assert (await opened_log.append(NewFact("second"))).first_sequence_number == 2


@pytest.mark.parametrize("there", ["nothing", "another store"])
async def test_after_an_io_error_no_new_log_begins_in_the_place_of_a_file_that_is_gone(
    opened_log: OpenLog, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, there: str
) -> None:
    await opened_log.append(NewFact("first"))
    failing_once(monkeypatch, after_the_commit=False)
    await refused(Reason.APPEND_OUTCOME_UNKNOWN, opened_log, NewFact())
    database = opened_log.store._database
    away = tmp_path / "away"
    away.mkdir()
    files = [file.rename(away / file.name) for file in database.parent.glob("facts.db*")]
    if there == "another store":
        async with opened_sqlite(tmp_path / "other.db"):
            pass
        (tmp_path / "other.db").rename(database)
    for _ in range(2):
        await refused(Reason.STORE_UNAVAILABLE, opened_log, NewFact())
    assert database.exists() is (there == "another store")
    for file in files:
        file.rename(database.parent / file.name)
    assert (await opened_log.append(NewFact("second"))).first_sequence_number == 2


async def test_an_io_error_while_reading_is_unavailable_and_the_next_read_is_answered(
    opened_log: OpenLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    await opened_log.append(NewFact("a"))

    def failing(reader: Reader) -> int:
        raise apsw.IOError("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(Reader, "head", failing)
        with pytest.raises(Refusal) as caught:
            await opened_log.log.head()
        assert caught.value.reason is Reason.STORE_UNAVAILABLE
    assert await opened_log.log.head() == 1


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (apsw.CorruptError, Reason.STORE_CORRUPT),
        (apsw.NotADBError, Reason.STORE_CORRUPT),
        (apsw.FullError, Reason.STORE_FULL),
        (apsw.BusyError, Reason.STORE_UNAVAILABLE),
        (apsw.ReadOnlyError, Reason.STORE_UNAVAILABLE),
        (apsw.CantOpenError, Reason.STORE_UNAVAILABLE),
    ],
)
async def test_every_error_of_sqlite_has_its_reason(
    opened_log: OpenLog, monkeypatch: pytest.MonkeyPatch, error: type[Exception], reason: Reason
) -> None:
    def failing(writer: Writer, group: Sequence[PreparedAppend]) -> list[Outcome]:
        raise error("as asked, in /var/lib/secret.db")

    with monkeypatch.context() as patch:
        patch.setattr(Writer, "commit", failing)
        refusal = await refused(reason, opened_log, NewFact())
        assert "/var" not in refusal.message
    assert (await opened_log.append(NewFact())).first_sequence_number == 1


@pytest.mark.parametrize("change", ["reset", "delete"])
@pytest.mark.parametrize("committed", [False, True])
async def test_an_io_error_while_a_durable_stream_is_changed_leaves_the_outcome_open_and_ends_its_lease(
    opened_log: OpenLog, monkeypatch: pytest.MonkeyPatch, change: str, *, committed: bool
) -> None:
    log = opened_log.log
    await opened_log.append(NewFact("a"))
    consuming = log.durable.consume(WANTED)
    assert isinstance(await anext(consuming), ConsumptionStarted)
    with monkeypatch.context() as patch:
        patch.setattr(StreamWriter, "_transaction", failing_transaction(committed=committed))
        changing = (
            log.positions.reset("s", 1, force=True)
            if change == "reset"
            else log.positions.delete("s", force=True)
        )
        with pytest.raises(Refusal) as caught:
            await changing
        assert caught.value.reason is Reason.APPEND_OUTCOME_UNKNOWN
        assert "durable stream" in caught.value.message
    with pytest.raises(Refusal) as caught:
        [_ async for _ in consuming]
    assert caught.value.reason is Reason.DURABLE_STREAM_LEASE_LOST
    if committed and change == "delete":
        assert await opened_log.store.get("s") is None
    else:
        assert (await log.positions.get("s")).cursor == (1 if committed else 0)
    again = log.durable.consume(WANTED)
    assert isinstance(await anext(again), ConsumptionStarted)
    await again.aclose()


@pytest.mark.parametrize("committed", [False, True])
async def test_an_io_error_while_a_lease_is_given_gives_none_and_asking_again_is_safe(
    opened_log: OpenLog, monkeypatch: pytest.MonkeyPatch, *, committed: bool
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(StreamWriter, "_transaction", failing_transaction(committed=committed))
        with pytest.raises(Refusal) as caught:
            await anext(opened_log.log.durable.consume(WANTED))
        assert caught.value.reason is Reason.STORE_UNAVAILABLE
    consuming = opened_log.log.durable.consume(WANTED)
    assert await anext(consuming) == ConsumptionStarted(0, 2 if committed else 1)
    await consuming.aclose()


WANTED = Consumption("s", EVERYTHING, EventQuery().as_text(), "a test", 10)


def failing_transaction(*, committed: bool) -> Callable[[StreamWriter], AbstractContextManager[None]]:
    """Ends in an I/O error, before or after it has reached the file."""
    transaction = StreamWriter._transaction

    @contextmanager
    def failing(writer: StreamWriter) -> Iterator[None]:
        if not committed:
            raise apsw.IOError("disk I/O error")
        with transaction(writer):
            yield
        raise apsw.IOError("disk I/O error")

    return failing
