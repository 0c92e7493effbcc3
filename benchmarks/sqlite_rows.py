"""What SQLite does without FACTSTR: facts as rows of a plain table, without an index, and as durable.

The rows are inserted by this process, one transaction after the other: between it and the disk is only SQLite.
"""

from collections.abc import Sequence
from pathlib import Path
from time import process_time, time

import apsw

from benchmarks.facts import Fact
from benchmarks.ledger import check


class RowInserts:
    """So many rows in each transaction; facts begin again after the last one."""

    def __init__(self, database: Path, facts: Sequence[Fact], rows: int) -> None:
        self.rows = rows
        self._facts = facts
        self._written = 0
        self._connection = apsw.Connection(str(database))
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.execute(
            "CREATE TABLE facts (sequence_number INTEGER PRIMARY KEY, occurred_at INTEGER, event_type TEXT, "
            "payload TEXT) STRICT"
        )

    def cpu_seconds(self) -> float:
        """Of this process, in which SQLite works."""
        return process_time()

    async def insert(self, _: int) -> None:
        now = int(time() * 1e6)
        numbers = range(self._written, self._written + self.rows)
        rows = [(number + 1, now, *self._fact(number)) for number in numbers]
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany("INSERT INTO facts VALUES (?, ?, ?, ?)", rows)
        self._connection.execute("COMMIT")
        self._written += self.rows

    def check(self) -> str:
        """The table holds the rows that were inserted, and closes it."""
        found = 0
        for number, event_type, payload in self._connection.execute(
            "SELECT sequence_number, event_type, payload FROM facts ORDER BY sequence_number"
        ):
            check(
                (number, event_type, payload) == (found + 1, *self._fact(found)),
                f"row {found + 1} is not what was inserted",
            )
            found += 1
        check(found == self._written, f"the table holds {found} rows; {self._written} were inserted")
        self._connection.close()
        return f"SQLite alone: {found:,} rows, equal to what was inserted"

    def _fact(self, number: int) -> Fact:
        return self._facts[number % len(self._facts)]
