"""`verify` finds each way in which a file can be damaged, says where, and changes nothing."""

import asyncio
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from random import Random

import apsw
import pytest

from factstr_server.contract.terms import event_type_term
from factstr_server.stores import sqlite
from factstr_server.stores.offline import migrate_store, verify_store
from factstr_server.stores.protocol import StoreError
from factstr_server.stores.sqlite.verifying import Verified
from tests.backups.damaging import Damage, damage, in_silence, make_store, rewritten, with_bits_flipped
from tests.conformance.driver import NewFact
from tests.copying.content import fill
from tests.copying.copied import command
from tests.stores.opened import commit, opened_sqlite, url_of

A = event_type_term("a")


def verified(database: Path) -> Verified:
    return verify_store(url_of(database), in_silence)


def patched(number: int, place: int, byte: str) -> str:
    """SQL that puts a byte at a place of a record, counted from its beginning, or from its end where negative."""
    at = f"length(record) + {place} + 1" if place < 0 else f"{place} + 1"
    return (
        f"UPDATE records SET record = CAST(substr(record, 1, {at} - 1) || x'{byte}' || substr(record, {at} + 1) "
        f"AS BLOB) WHERE sequence_number = {number}"
    )


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    database = tmp_path_factory.mktemp("template") / "facts.db"
    asyncio.run(make_store(database))
    return database


@pytest.fixture
def database(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(template, tmp_path / "facts.db"))


DAMAGES: dict[str, tuple[Damage, str]] = {
    # Numbers.
    "a fact is missing": ("DELETE FROM records WHERE sequence_number = 2", "fact 2 is missing"),
    "facts are missing": ("DELETE FROM records WHERE sequence_number IN (3, 4)", "facts 3 to 4 are missing"),
    "the newest facts are missing": (
        "DELETE FROM records WHERE sequence_number = 6",
        "the index holds 3 terms of facts that are not there",
    ),
    "a number is none": (
        "UPDATE records SET sequence_number = -1 WHERE sequence_number = 1",
        "fact -1: numbers begin with 1",
    ),
    "a number is far away": (
        "UPDATE records SET sequence_number = 1 << 60 WHERE sequence_number = 6",
        f"facts 6 to {2**60 - 1} are missing",
    ),
    # Records, and what stands beside them.
    "a record is no record": (
        "UPDATE records SET record = x'0a', opening_bytes = 0 WHERE sequence_number = 2",
        "fact 2: its record cannot be read",
    ),
    "a record is empty": (
        "UPDATE records SET record = x'', opening_bytes = 0 WHERE sequence_number = 2",
        "fact 2: its record cannot be read",
    ),
    "a record is another fact's": (
        (
            "UPDATE records SET (record, opening_bytes) = (SELECT record, opening_bytes FROM records WHERE "
            "sequence_number = 6) WHERE sequence_number = 1"
        ),
        "fact 1: its record has another number, time, event type than what stands beside it",
    ),
    "a time differs": (
        "UPDATE records SET occurred_at = occurred_at + 1 WHERE sequence_number = 6",
        "fact 6: its record has another time than",
    ),
    "a time is none": (
        "UPDATE records SET occurred_at = -1 WHERE sequence_number = 1",
        "fact 1: its record has another time than",
    ),
    "an event type differs": (
        "UPDATE records SET event_type = 'z' WHERE sequence_number = 1",
        "fact 1: its record has another event type than",
    ),
    "metadata differs": (
        'UPDATE records SET metadata = \'{"user":"e"}\' WHERE sequence_number = 2',
        "fact 2: its record has another metadata or encoding than",
    ),
    "metadata is lost": (
        "UPDATE records SET metadata = NULL WHERE sequence_number = 2",
        "fact 2: its record has another metadata or encoding than",
    ),
    "metadata is no JSON": (
        "UPDATE records SET metadata = '{' WHERE sequence_number = 2",
        "fact 2: its record has another metadata or encoding than",
    ),
    "a payload's length differs": (
        "UPDATE records SET payload_bytes = 6 WHERE sequence_number = 1",
        "fact 1: its record has another payload length than",
    ),
    "a payload's length is none": (
        "UPDATE records SET payload_bytes = -1 WHERE sequence_number = 1",
        "fact 1: its record has another payload length than",
    ),
    "a text is none": (
        "UPDATE records SET event_type = CAST(x'ff' AS TEXT) WHERE sequence_number = 4",
        "the facts or their index cannot be read to the end, but to fact 3: a text in it is not UTF-8",
    ),
    # The contract.
    "a payload is no JSON": (patched(1, -1, "5d"), "fact 1: its payload is not a JSON text"),
    "a payload is no text": (patched(1, -3, "ff"), "fact 1: its payload "),
    "a payload is another one": (
        patched(1, -2, "32"),
        "the index does not hold the terms of facts 1 to 6, or holds others",
    ),
    "an event type is invalid": (rewritten(1, event_type="\x01"), "fact 1: its event type holds the control"),
    "metadata is invalid": (
        lambda connection: (
            rewritten(6, metadata={"": "x"})(connection),  # type: ignore[operator]
            connection.execute('UPDATE records SET metadata = \'{"":"x"}\' WHERE sequence_number = 6'),
        ),
        'fact 6: metadata[""] has a key of 0 characters',
    ),
    "a time goes back": (rewritten(6, occurred_at=1), "fact 6: its time is earlier than the one of the fact"),
    "a batch has two times": (
        "UPDATE records SET occurred_at = occurred_at + 1 WHERE sequence_number = 4",
        "fact 4: its time is not the one of its batch, facts 3 to 5",
    ),
    # Framing and batches.
    "a frame is another one": (
        patched(1, 1, "7f"),
        "fact 1: what stands before its record is not the framing",
    ),
    "a frame in a batch is another one": (
        patched(5, 1, "7f"),
        "fact 5: what stands before its record is not the framing of its batch, facts 3 to 5",
    ),
    "a frame is lost": (
        "UPDATE records SET record = substr(record, opening_bytes + 1), opening_bytes = 0 WHERE sequence_number = 4",
        "fact 4: what stands before its record is not the framing of its batch, facts 3 to 5",
    ),
    "a frame's length is none": (
        "UPDATE records SET opening_bytes = -1 WHERE sequence_number = 1",
        "fact 1: its record cannot be read",
    ),
    "a batch is lost": ("DELETE FROM batches", "fact 3: what stands before its record is not the framing"),
    "a batch is too many": (
        "INSERT INTO batches VALUES (1, 2)",
        "fact 1: what stands before its record is not",
    ),
    "a batch is of one": (
        "INSERT INTO batches VALUES (6, 6)",
        "the batch of facts 6 to 6 does not hold 2 to",
    ),
    "a batch is too large": (
        "UPDATE batches SET last_sequence_number = 1 << 60",
        f"the batch of facts 3 to {2**60} does not hold 2 to 10000 facts",
    ),
    "a batch overlaps": (
        "INSERT INTO batches VALUES (5, 6)",
        "the batch of facts 5 to 6 overlaps the one before",
    ),
    "a batch is nowhere": (
        "INSERT INTO batches VALUES (6, 7)",
        "the batch of facts 6 to 7 goes beyond the head 6",
    ),
    # Idempotency keys.
    "a key names half a batch": (
        "UPDATE idempotency_keys SET last_sequence_number = 4",
        "the idempotency key 'k' (facts 3 to 4) does not name a committed batch",
    ),
    "a key names the inside of a batch": (
        "UPDATE idempotency_keys SET first_sequence_number = 4, last_sequence_number = 4",
        "the idempotency key 'k' (facts 4 to 4) does not name a committed batch",
    ),
    "a key names facts that are not there": (
        "UPDATE idempotency_keys SET first_sequence_number = 9, last_sequence_number = 9",
        "the idempotency key 'k' (facts 9 to 9) does not name a committed batch",
    ),
    "a key has another time": (
        "UPDATE idempotency_keys SET occurred_at = 1",
        "the idempotency key 'k' (facts 3 to 5) has another time than its facts",
    ),
    "a key has no fingerprint": ("UPDATE idempotency_keys SET fingerprint = x''", "has no fingerprint"),
    "a key is invalid": ("UPDATE idempotency_keys SET idempotency_key = ''", "the idempotency key '' "),
    # The index.
    "a term is missing": (
        f"INSERT INTO terms (terms, rowid, tokens) VALUES ('delete', 4, '{A}')",
        "the index does not hold the terms of facts 1 to 6, or holds others",
    ),
    "a term is invented": (
        "INSERT INTO terms (rowid, tokens) VALUES (4, '0123456789abcdef')",
        "the index does not hold the terms of facts 1 to 6, or holds others",
    ),
    "a term has moved": (
        (
            f"INSERT INTO terms (terms, rowid, tokens) VALUES ('delete', 6, '{event_type_term('b')}'); "
            f"INSERT INTO terms (rowid, tokens) VALUES (1, '{event_type_term('b')}')"
        ),
        "the index does not hold the terms of facts 1 to 6, or holds others",
    ),
    "a fact is not indexed": (
        "INSERT INTO terms (terms) VALUES ('delete-all')",
        "the index does not hold the terms of facts 1 to 6, or holds others",
    ),
    "the index goes on beyond the log": (
        "INSERT INTO terms (rowid, tokens) VALUES (7, 'a b')",
        "the index holds 2 terms of facts that are not there",
    ),
    # Durable streams.
    "a cursor is ahead": (
        "UPDATE durable_streams SET cursor = 7",
        "the durable stream 's' has the cursor 7, which is not within 0 and the head 6",
    ),
    "an epoch is ahead": (
        "UPDATE durable_streams SET lease_epoch = 99",
        "the durable stream 's' has the lease epoch 99, above the store's counter 1",
    ),
    "a query is none": ("UPDATE durable_streams SET query = '{'", "has a query that cannot be read"),
    "a query is no text": (
        "UPDATE durable_streams SET query = CAST(x'ff' AS TEXT)",
        "the table durable_streams cannot be read to the end: a text in it is not UTF-8",
    ),
    "a query has another shape": (
        "UPDATE durable_streams SET query = '[1]'",
        "has a query that cannot be read",
    ),
    "a query is another one": (
        "UPDATE durable_streams SET query = '[]'",
        "is not the canonical one beside it",
    ),
    "a stream's name is invalid": (
        "UPDATE durable_streams SET durable_stream = ''",
        "the durable stream '' is empty",
    ),
    # The whole.
    "the store has no name": ("DELETE FROM store", "does not say which store this is"),
    "tokens have no key": ("UPDATE store SET acknowledgement_key = x''", "does not say which store this is"),
    "a view is missing": ("DROP VIEW facts", "the definition of view facts is missing"),
    "a view is another one": (
        "DROP VIEW facts; CREATE VIEW facts AS SELECT 1",
        "the definition of view facts is another one",
    ),
    "a trigger is not ours": (
        "CREATE TRIGGER forget AFTER INSERT ON idempotency_keys BEGIN DELETE FROM idempotency_keys; END",
        "trigger forget is not part of a store",
    ),
    "an index is not ours": (
        "CREATE UNIQUE INDEX once ON records (event_type, sequence_number)",
        "index once is not part of a store",
    ),
    "a table is not ours": ('CREATE TABLE "a\nb" (x)', "table a�b is not part of a store"),
    "a view is not ours": ("CREATE VIEW mine AS SELECT 1", "view mine is not part of a store"),
    "the store's time is none": (
        "UPDATE store SET created_at = -1",
        "the store was created at -1 microseconds since 1970, which cannot be",
    ),
    "a stream's time is none": (
        "UPDATE durable_streams SET created_at = -1",
        "the durable stream 's' was created at -1 microseconds since 1970, which cannot be",
    ),
    "a stream's time is yet to come": (
        "UPDATE durable_streams SET acknowledged_at = unixepoch('now', '+2 days') * 1000000",
        "the durable stream 's' was acknowledged at ",
    ),
    "a table is missing": (
        "DROP TABLE idempotency_keys",
        "the table idempotency_keys cannot be read to the end: no such table",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_each_damage_is_found(database: Path, name: str) -> None:
    how, finding = DAMAGES[name]
    damage(database, how)
    found = verified(database).findings
    assert any(finding in each for each in found), found
    assert not any("\n" in each for each in found)


def overwrite_pages(database: Path, pages: Iterable[int]) -> None:
    """As a disk that has lost them."""
    content = bytearray(database.read_bytes())
    for page in pages:
        content[(page - 1) * 4096 : page * 4096] = bytes(4096)
    database.write_bytes(content)


def test_what_sqlite_finds_is_found(database: Path) -> None:
    connection = apsw.Connection(str(database))
    index = "SELECT pageno FROM dbstat WHERE name = 'sqlite_autoindex_idempotency_keys_1'"
    page = connection.execute(index).get
    connection.close()
    overwrite_pages(database, [page])
    assert any(each.startswith("SQLite finds the file damaged: ") for each in verified(database).findings)


def test_a_file_that_is_mostly_lost_is_told_table_by_table(database: Path) -> None:
    overwrite_pages(database, range(3, database.stat().st_size // 4096 + 1))
    found = verified(database).findings
    for what in ("the file", "the table batches", "the facts or their index"):
        assert any(each.startswith(f"{what} cannot be read to the end: ") for each in found)


def test_whatever_bit_is_flipped_is_told_in_a_line(database: Path) -> None:
    told = set[str]()
    for file in with_bits_flipped(database, 300):
        try:
            told |= set(verified(file).findings)
        except StoreError as error:
            told.add(str(error))
    assert len(told) > 100
    assert not [line for line in told if not line.isprintable()]


def test_a_whole_store_has_no_findings(database: Path) -> None:
    assert verified(database) == Verified(6, 4, 1, 1, [], 0)


async def test_a_store_with_a_bit_of_everything_has_no_findings(tmp_path: Path) -> None:
    database = tmp_path / "facts.db"
    await fill(url_of(database), Random(1))
    damage(database, "DELETE FROM durable_streams")  # Their queries are no queries.
    found = verified(database)
    assert (found.findings, found.more) == ([], 0)
    assert found.facts > 6_000


def test_what_sqlite_keeps_for_itself_is_no_finding(database: Path) -> None:
    damage(database, "ANALYZE")
    assert verified(database).findings == []


def test_a_store_whose_clock_was_ahead_has_no_findings(database: Path) -> None:
    """Its facts have those times, and its streams none after them."""
    ahead = (time.time_ns() // 1000) + 10 * 86_400_000_000
    damage(database, rewritten(6, occurred_at=ahead))
    damage(database, f"UPDATE durable_streams SET acknowledged_at = {ahead}")
    assert verified(database).findings == []


async def test_records_of_an_earlier_format_have_no_findings(tmp_path: Path) -> None:
    """They are not framed."""
    database = tmp_path / "facts.db"
    await make_store(database)
    damage(database, "UPDATE records SET record = substr(record, opening_bytes + 1), opening_bytes = 0")
    assert verified(database).findings == []


async def test_a_difference_of_the_index_names_the_thousand(tmp_path: Path) -> None:
    database = tmp_path / "facts.db"
    async with opened_sqlite(database) as store:
        await commit(store, *[NewFact("a", "1")] * 3_000)
    damage(database, f"INSERT INTO terms (terms, rowid, tokens) VALUES ('delete', 1234, '{A}')")
    damage(database, "INSERT INTO terms (rowid, tokens) VALUES (3000, 'invented')")
    assert verified(database).findings == [
        f"the index does not hold the terms of facts {which}, or holds others"
        for which in ("1000 to 1999", "3000 to 3000")
    ]


def test_many_findings_are_counted(database: Path) -> None:
    def many(connection: apsw.Connection) -> None:
        connection.executemany("INSERT INTO batches VALUES (?, 0)", [(number,) for number in range(100, 300)])

    damage(database, many)
    found = verified(database)
    assert len(found.findings) == 40
    assert len(found.findings) + found.more >= 200


def test_a_store_is_read_only_and_nothing_is_left_beside_it(database: Path) -> None:
    before = database.read_bytes()
    verified(database)
    assert {path.name: path.read_bytes() for path in database.parent.iterdir()} == {"facts.db": before}


def test_what_a_crash_has_left_is_verified_and_kept(database: Path, tmp_path: Path) -> None:
    """The newest commits are beside the file."""
    writer = apsw.Connection(str(database))
    writer.execute("UPDATE durable_streams SET cursor = 7")
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    for name in ("facts.db", "facts.db-wal"):
        shutil.copy(tmp_path / name, crashed / name)
    writer.close()
    before = {name: (crashed / name).read_bytes() for name in ("facts.db", "facts.db-wal")}
    assert any("cursor 7" in each for each in verified(crashed / "facts.db").findings)
    assert {name: (crashed / name).read_bytes() for name in before} == before


async def test_a_store_is_verified_while_its_server_runs_and_goes_on(database: Path) -> None:
    async with opened_sqlite(database) as store:
        await commit(store, NewFact("new"))
        seen: list[str] = []

        def commit_meanwhile(doing: str, done: int, total: int, of: str) -> None:
            seen.append(doing)
            damage(database, "UPDATE durable_streams SET cursor = cursor + 1, lease_epoch = lease_epoch + 1")

        found = verify_store(url_of(database), commit_meanwhile)
        assert found == Verified(7, 5, 1, 1, [], 0)
        assert len(set(seen)) == 3
        assert (await commit(store, NewFact())).first_sequence_number == 8


async def test_a_server_may_start_and_stop_while_its_store_is_verified(database: Path) -> None:
    loop = asyncio.get_running_loop()

    async def serve() -> None:
        async with opened_sqlite(database) as store:
            await commit(store, NewFact("new"))

    def serve_meanwhile(doing: str, done: int, total: int, of: str) -> None:
        if (doing, done) == ("checking the file", 0):
            asyncio.run_coroutine_threadsafe(serve(), loop).result(30)

    found = await asyncio.to_thread(verify_store, url_of(database), serve_meanwhile)
    assert found == Verified(6, 4, 1, 1, [], 0)
    assert (verified(database).facts, verified(database).findings) == (7, [])
    assert {path.name for path in database.parent.iterdir()} == {"facts.db", "facts.db.lock"}


def test_a_file_with_a_second_name_is_refused(database: Path, tmp_path: Path) -> None:
    (tmp_path / "hard.db").hardlink_to(database)
    with pytest.raises(StoreError, match="more than one name"):
        verified(tmp_path / "hard.db")


def test_what_is_no_store_is_refused(database: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no store at"):
        verified(tmp_path / "none.db")
    assert not (tmp_path / "none.db").exists()
    (tmp_path / "text.db").write_bytes(b"no database" * 100)
    with pytest.raises(StoreError, match="is not a SQLite database"):
        verified(tmp_path / "text.db")
    (tmp_path / "empty.db").touch()
    with pytest.raises(StoreError, match="there is no store in"):
        verified(tmp_path / "empty.db")
    damage(database, "PRAGMA application_id = 5")
    with pytest.raises(StoreError, match="another application"):
        verified(database)


def test_other_formats_are_refused_with_what_to_do(database: Path) -> None:
    damage(database, "PRAGMA user_version = 99")
    with pytest.raises(StoreError, match="upgrade it"):
        verified(database)
    damage(database, "PRAGMA user_version = 1")
    with pytest.raises(StoreError, match="factstr-server migrate --store sqlite:///"):
        verified(database)


async def test_a_migrated_store_of_the_first_format_has_no_findings(tmp_path: Path) -> None:
    database = tmp_path / "facts.db"
    first = (Path(sqlite.__path__[0]) / "schema" / "0001_log.sql").read_text(encoding="utf-8")
    damage(database, first)
    damage(database, "INSERT INTO store VALUES (1, 'it', 'h', 0)")
    damage(database, "PRAGMA application_id = 0x46414354")
    damage(database, "PRAGMA user_version = 1")
    await migrate_store(url_of(database))
    assert verified(database) == Verified(0, 0, 0, 0, [], 0)


async def test_the_command_says_what_it_has_verified(database: Path) -> None:
    done = await command("verify", "--store", url_of(database))
    assert (done.code, done.out) == (0, "ok: 6 facts (head 6), 4 batches, 1 keys, 1 durable streams\n")
    assert [line.partition(":")[0] for line in done.errors[::2]] == [
        "checking the file",
        "checking facts",
        "checking the index",
    ]


async def test_the_command_says_what_it_has_found(database: Path) -> None:
    damage(database, "UPDATE durable_streams SET cursor = 7")
    done = await command("verify", "--store", url_of(database))
    assert done.failure.endswith(" is damaged: 1 finding; stop writing to it, and restore a backup")
    damage(database, "UPDATE durable_streams SET query = '['")
    done = await command("verify", "--store", url_of(database))
    assert done.failure.endswith(" is damaged: 2 findings; stop writing to it, and restore a backup")
    assert done.out.splitlines() == [
        "the durable stream 's' has the cursor 7, which is not within 0 and the head 6",
        "the durable stream 's' has a query that cannot be read, or is not the canonical one beside it",
    ]
