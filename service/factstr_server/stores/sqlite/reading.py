"""Reads on one connection: versions, pages, positions in time. Used by one thread at a time."""

import time
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager
from typing import Final

import apsw
import orjson

from factstr_server.contract.limits import MAX_SEQUENCE_NUMBER
from factstr_server.contract.query import EVERYTHING, CompiledQuery
from factstr_server.stores.batching import fill_batches
from factstr_server.stores.paging import Candidate, announced, fill_page
from factstr_server.stores.protocol import BatchPage, BatchWindow, Page, Window
from factstr_server.stores.sqlite.batches import BatchReader
from factstr_server.stores.sqlite.lookup import lookup_expression
from factstr_server.stores.sqlite.streams import Holders, cursor_states, list_streams, read_stream
from factstr_server.stores.stream_protocol import Ages, CursorState, StoredStream

# The index leads and records follow by primary key; CROSS JOIN keeps the planner from turning that around.
_PROPOSED: Final = """
    SELECT r.sequence_number, r.event_type, r.payload_bytes, substr(r.record, r.opening_bytes + 1)
    FROM terms CROSS JOIN records AS r ON r.sequence_number = terms.rowid
    WHERE terms MATCH ?3 AND terms.rowid > ?1 AND terms.rowid < ?2
    ORDER BY terms.rowid {}
"""
_ALL: Final = """
    SELECT sequence_number, event_type, payload_bytes, substr(record, opening_bytes + 1) FROM records
    WHERE sequence_number > ?1 AND sequence_number < ?2
    ORDER BY sequence_number {}
"""
_FEW: Final = """
    SELECT
        r.sequence_number, r.event_type, r.payload_bytes,
        CASE WHEN length(r.record) <= ?3 THEN substr(r.record, r.opening_bytes + 1) ELSE x'' END
    FROM terms CROSS JOIN records AS r ON r.sequence_number = terms.rowid
    WHERE terms MATCH ?1
    LIMIT ?2
"""
_STATEMENTS: Final = {
    (proposed, descending): sql.format("DESC" if descending else "ASC")
    for proposed, sql in ((True, _PROPOSED), (False, _ALL))
    for descending in (True, False)
}


class Reader:
    """The log as one connection sees it."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._batches = BatchReader(connection)

    def head(self) -> int:
        return int(self._value("SELECT coalesce(max(sequence_number), 0) FROM records"))

    def newest(
        self, query: CompiledQuery, window: Window, before_match: Callable[[int], object] | None = None
    ) -> Page:
        """The newest fact of the window, or how far down it was looked for."""
        return self.read_facts(query, window._replace(descending=True, max_facts=1), before_match)

    def matches(
        self, query: CompiledQuery, sequence_number: int, before_match: Callable[[int], object]
    ) -> bool:
        with self._candidates(EVERYTHING, Window(sequence_number - 1, sequence_number + 1)) as found:
            return any(candidate.matches(query) for candidate in announced(query, found, before_match))

    def read_facts(
        self, query: CompiledQuery, window: Window, before_match: Callable[[int], object] | None = None
    ) -> Page:
        """Before a candidate is compared, `before_match` is told how many steps that may take, and may raise."""
        with self._candidates(query, window) as candidates:
            return fill_page(
                query, window, announced(query, candidates, before_match) if before_match else candidates
            )

    def read_context(self, query: CompiledQuery, window: Window) -> tuple[Page, Page]:
        """The newest fact of the whole context (or how far down it was looked for), and the window's first page.

        One read transaction is one snapshot, however many statements it takes.
        """
        with self.snapshot():
            page = self.read_facts(query, window)
            if holds_whole_context(window, page):
                return page, page
            if query.everything:
                head = self.head()
                return Page([], head or None, 0, finished=True), page
            return self.newest(query, Window()), page

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """The reads of a block see the log at one moment."""
        self._connection.execute("BEGIN")
        try:
            yield
        finally:
            if self._connection.in_transaction:
                self._connection.execute("COMMIT")

    def few_facts(self, expression: str, bound: int, max_bytes: int) -> list[Candidate] | None:
        """The facts whose terms an expression matches; None when so many of them are there, or they take more bytes."""
        facts: list[Candidate] = []
        with closing(self._connection.execute(_FEW, (expression, bound, max_bytes))) as rows:
            for row in rows:
                fact = Candidate._make(row)
                max_bytes -= len(fact.record) if fact.record else max_bytes + 1
                facts.append(fact)
                if max_bytes < 0 or len(facts) == bound:
                    return None
        return facts

    def read_batches(self, query: CompiledQuery, window: BatchWindow) -> BatchPage:
        if query.everything and (page := self._batches.read_framed(window)):
            return page
        with self._candidates(query, Window(window.after, window.up_to + 1)) as candidates:
            return fill_batches(query, window, candidates, self._batches.batch_of)

    def sequence_number_at(self, microseconds: int) -> int:
        """Times never decrease and numbers have no gaps: a binary search by primary key."""
        return bisect_right(range(1, self.head() + 1), microseconds, key=self.occurred_at)

    def occurred_at(self, sequence_number: int) -> int:
        return int(
            self._value("SELECT occurred_at FROM records WHERE sequence_number = ?", (sequence_number,))
        )

    def durable_stream(self, holders: Holders, durable_stream: str) -> StoredStream | None:
        return read_stream(self._connection, holders, durable_stream)

    def durable_streams(
        self, holders: Holders, after: str, name_prefix: str, limit: int
    ) -> list[StoredStream]:
        return list_streams(self._connection, holders, after, name_prefix, limit)

    def cursors(self, durable_streams: Collection[str]) -> dict[str, CursorState]:
        return cursor_states(self._connection, durable_streams)

    def ages(self, sequence_numbers: list[int]) -> Ages:
        rows = self._connection.execute(
            """
            SELECT r.sequence_number, r.occurred_at
            FROM json_each(?1) AS wanted CROSS JOIN records AS r ON r.sequence_number = wanted.value
            """,
            (orjson.dumps(sequence_numbers).decode(),),
        )
        times: dict[int, int] = dict(rows.fetchall())  # type: ignore[arg-type]
        head = self.head()
        now = max(time.time_ns() // 1000, self.occurred_at(head) if head else 0)
        return Ages(now, head, [times.get(number) for number in sequence_numbers])

    @contextmanager
    def _candidates(self, query: CompiledQuery, window: Window) -> Iterator[Iterator[Candidate]]:
        if query.nothing:
            yield iter(())
            return
        proposed = not query.everything
        bindings: tuple[int | str, ...] = (
            min(window.after, MAX_SEQUENCE_NUMBER),
            min(window.before, MAX_SEQUENCE_NUMBER),
        )
        if proposed:
            bindings += (lookup_expression(query, self._holders),)
        rows = self._connection.execute(_STATEMENTS[proposed, window.descending], bindings)
        with closing(rows):
            yield map(Candidate._make, rows)

    def _holders(self, term: str, bound: int) -> int:
        """How many facts hold a term, counted up to a bound."""
        return int(
            self._value(
                "SELECT count(*) FROM (SELECT 1 FROM terms WHERE terms MATCH ?1 LIMIT ?2)",
                (f'"{term}"', bound),
            )
        )

    def _value(self, sql: str, bindings: tuple[int | str, ...] = ()) -> int:
        return self._connection.execute(sql, bindings).get  # type: ignore[no-any-return]


def holds_whole_context(window: Window, page: Page) -> bool:
    """Whether the page's last fact is the newest one of the context."""
    whole = not window.descending and not window.after and window.before > MAX_SEQUENCE_NUMBER
    return whole and page.finished and (window.max_facts is None or len(page.records) < window.max_facts)
