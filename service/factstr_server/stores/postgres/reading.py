"""Reads on a connection: versions, pages of facts, pages of batches, positions in time.

A statement sees one snapshot. Because numbers are committed in their order, every snapshot is the log up to some
position, and whatever is read of an earlier position stays as it is.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, TypeAlias, TypeVar

from psycopg import AsyncConnection, AsyncCursor
from psycopg.types.numeric import Int4, Int8

from factstr_server.contract.limits import MAX_RESPONSE_BYTES, MAX_SEQUENCE_NUMBER
from factstr_server.contract.query import CompiledQuery
from factstr_server.stores.batching import fill_batches
from factstr_server.stores.paging import Candidate, fill_page
from factstr_server.stores.postgres.lookup import lookup_expressions
from factstr_server.stores.postgres.statements import Statements
from factstr_server.stores.postgres.times import microseconds, moment
from factstr_server.stores.protocol import BatchPage, BatchWindow, Page, Window
from factstr_server.stores.stream_protocol import Ages

_MOST_CANDIDATES: Final = 4_096
_MOST_BYTES: Final = MAX_RESPONSE_BYTES
"""Of one lookup, and of the records that come with it, but for the last: what a page of a message can hold."""

_MOST_JOINED: Final = 8_192
_FIRST_GUESS_BYTES: Final = 512
"""What a fact takes, before the first page has told."""

_MATCHED_HERE: Final = 64
_MATCHED_HERE_BYTES: Final = 64 * 1024
"""More candidates than that are matched in a thread, so that the event loop goes on."""

_SEQUENCE_NUMBER_AT: Final = """
    WITH settings AS MATERIALIZED (SELECT set_config('jit', 'off', true))
    SELECT {schema}.sequence_number_at(%s) FROM settings
"""
"""The function puts a price on walks through tables, for which PostgreSQL would compile even the read of the head's one
row.
"""

Digest: TypeAlias = tuple[object, object]
"""When a fact was committed, and the digest of its framing."""

NO_FACT: Final[Digest] = (None, None)

T = TypeVar("T")


class Found(NamedTuple):
    """What one lookup brought."""

    candidates: list[Candidate]
    batches: list[tuple[int, int]]
    """First and last sequence number of the batch that holds each."""
    cut: bool
    """There may be more in the window."""

    @property
    def lowest(self) -> int:
        """Of a descending lookup that was cut: what is left is below it."""
        return self.candidates[-1].sequence_number

    @property
    def bytes(self) -> int:
        return sum(len(candidate.record) for candidate in self.candidates)


class Searched(NamedTuple):
    """How far a search for the newest fact that matches has come."""

    newest: int | None
    before: int | None
    """What is left to look at; None when the search is over."""
    most: int
    """Candidates to look at next."""


class Reader:
    """The statements that read. Stateless but for a guess of how large facts are."""

    def __init__(self, statements: Statements) -> None:
        self._sql = statements
        self._fact_bytes = _FIRST_GUESS_BYTES

    async def head(self, connection: AsyncConnection) -> int:
        cursor = await connection.execute(self._sql("SELECT sequence_number FROM {schema}.head"))
        return _only(await cursor.fetchone())

    async def ask(
        self, connection: AsyncConnection, query: CompiledQuery, window: Window, most: int, most_bytes: int
    ) -> AsyncCursor:
        """Sends a lookup; in a pipeline the answer comes later."""
        return await connection.execute(
            self._sql("SELECT * FROM {schema}.candidates(%s::text[], %s, %s, %s, %s, %s)"),
            (
                lookup_expressions(query),
                Int8(min(window.after, MAX_SEQUENCE_NUMBER - 1)),
                Int8(min(window.before, MAX_SEQUENCE_NUMBER)),
                window.descending,
                Int4(most),
                Int8(most_bytes),
            ),
        )

    async def found(self, cursor: AsyncCursor, most: int, most_bytes: int) -> Found:
        rows = await cursor.fetchall()
        candidates = [Candidate(*row[:4]) for row in rows]
        batches = [(row[0], row[0]) if row[4] is None else (row[4], row[5]) for row in rows]
        found = Found(candidates, batches, cut=False)
        return found._replace(cut=len(rows) >= most or found.bytes >= most_bytes)

    async def candidates(
        self,
        connection: AsyncConnection,
        query: CompiledQuery,
        window: Window,
        most: int = _MOST_CANDIDATES,
        most_bytes: int = _MOST_BYTES,
    ) -> Found:
        if query.nothing:
            return Found([], [], cut=False)
        return await self.found(await self.ask(connection, query, window, most, most_bytes), most, most_bytes)

    async def version(
        self,
        connection: AsyncConnection,
        query: CompiledQuery,
        after: int,
        before: int = MAX_SEQUENCE_NUMBER,
    ) -> int | None:
        """The highest sequence number between two positions that matches."""
        searched = Searched(None, before, 1)
        while searched.before is not None:
            searched = await self.search(connection, query, after, searched)
        return searched.newest

    async def search(
        self, connection: AsyncConnection, query: CompiledQuery, after: int, searched: Searched
    ) -> Searched:
        """One step of the search for the newest fact that matches, downwards."""
        assert searched.before is not None, "the search is not over"
        window = Window(after, searched.before, descending=True)
        found = await self.candidates(connection, query, window, searched.most)
        newest = await _matched(
            query,
            found,
            lambda: next((c.sequence_number for c in found.candidates if c.matches(query)), None),
        )
        if newest is not None or not found.cut:
            return Searched(newest, None, 0)
        # Candidates that do not match are few, unless the query asks for what terms cannot tell.
        return Searched(None, found.lowest, min(searched.most * 8, _MOST_CANDIDATES))

    async def read_facts(self, connection: AsyncConnection, query: CompiledQuery, window: Window) -> Page:
        if window.max_facts == 0 or query.nothing:
            return fill_page(query, window, ())
        most = _MOST_CANDIDATES if window.max_facts is None else min(window.max_facts, _MOST_CANDIDATES)
        found = await self.candidates(connection, query, window, most)
        looked_at = window
        if found.cut:
            last = found.candidates[-1].sequence_number
            looked_at = window._replace(after=last) if window.descending else window._replace(before=last + 1)
        page = await _matched(query, found, lambda: fill_page(query, looked_at, found.candidates))
        if found.cut and page.finished and len(page.records) != window.max_facts:
            return page._replace(finished=False)
        return page

    async def read_batches(
        self, connection: AsyncConnection, query: CompiledQuery, window: BatchWindow
    ) -> BatchPage:
        if query.everything and window.joined and window.max_batches is None:
            page = await self._joined(connection, window)
            if page:
                return page
        if query.nothing or window.after >= window.up_to:
            return BatchPage([], [], window.up_to)
        found = await self.candidates(connection, query, Window(window.after, window.up_to + 1))
        looked_at = window
        if found.cut:
            found, looked_at = await self._whole_batches(connection, query, window, found)
        batches = dict(
            zip((candidate.sequence_number for candidate in found.candidates), found.batches, strict=True)
        )
        return await _matched(
            query,
            found,
            lambda: fill_batches(query, looked_at, found.candidates, batches.__getitem__),
        )

    async def _whole_batches(
        self, connection: AsyncConnection, query: CompiledQuery, window: BatchWindow, found: Found
    ) -> tuple[Found, BatchWindow]:
        """Of a lookup that was cut, what is certainly whole: all batches but the last, or the one that there is."""
        first, last = found.batches[-1]
        whole = sum(batch != (first, last) for batch in found.batches)
        if whole:
            kept = Found(found.candidates[:whole], found.batches[:whole], cut=False)
            return kept, window._replace(up_to=first - 1)
        up_to = min(last, window.up_to)
        rest = await self.candidates(
            connection, query, Window(window.after, up_to + 1), most=2**31 - 1, most_bytes=MAX_SEQUENCE_NUMBER
        )
        return rest, window._replace(up_to=up_to)

    async def _joined(self, connection: AsyncConnection, window: BatchWindow) -> BatchPage | None:
        """One page, and those after it that are wanted: of large batches fewer. None where a frame is not stored."""
        page = await self._joined_page(connection, window)
        following: list[BatchPage] = []
        last, room = page, window.pages_ahead * window.max_bytes
        while last and room > 0 and last.looked_up_to < window.up_to:
            last = await self._joined_page(connection, window._replace(after=last.looked_up_to))
            if last:
                following.append(last)
                room -= len(last.frames[0])
        return page and page._replace(following=tuple(following))

    async def _joined_page(self, connection: AsyncConnection, window: BatchWindow) -> BatchPage | None:
        if window.after >= window.up_to:
            return None
        most = max(min(window.max_bytes // self._fact_bytes + 1, _MOST_JOINED), 1)
        cursor = await connection.execute(
            self._sql("SELECT looked_up_to, frames FROM {schema}.joined_batches(%s, %s, %s, %s)"),
            (Int8(window.after), Int8(window.up_to), Int8(window.max_bytes), Int4(most)),
        )
        row = await cursor.fetchone()
        if row is None:
            return None
        end, frames = row
        self._fact_bytes = max(len(frames) // (end - window.after), 1)
        return BatchPage([frames], [(window.after + 1, end)], end)

    async def digest(self, connection: AsyncConnection, sequence_number: int) -> Digest:
        """By which a fact is recognised; NO_FACT where there is none."""
        return await self.digest_of(await self.ask_digest(connection, sequence_number))

    async def ask_digest(self, connection: AsyncConnection, sequence_number: int) -> AsyncCursor:
        return await connection.execute(
            self._sql("SELECT occurred_at, md5(framing) FROM {schema}.records WHERE sequence_number = %s"),
            (Int8(sequence_number),),
        )

    async def digest_of(self, cursor: AsyncCursor) -> Digest:
        row = await cursor.fetchone()
        return (row[0], row[1]) if row else NO_FACT

    async def sequence_number_at(self, connection: AsyncConnection, at: int) -> int:
        try:
            wanted = moment(at)
        except OverflowError:
            return 0 if at < 0 else await self.head(connection)
        cursor = await connection.execute(self._sql(_SEQUENCE_NUMBER_AT), (wanted,))
        return _only(await cursor.fetchone())

    async def ages(self, connection: AsyncConnection, sequence_numbers: Sequence[int]) -> Ages:
        cursor = await connection.execute(
            self._sql(
                """
                SELECT h.sequence_number, greatest(clock_timestamp(), h.occurred_at), w.place, r.occurred_at
                FROM {schema}.head AS h
                LEFT JOIN unnest(%s::bigint[]) WITH ORDINALITY AS w (number, place) ON true
                LEFT JOIN {schema}.records AS r ON r.sequence_number = w.number
                ORDER BY w.place
                """
            ),
            ([Int8(min(number, MAX_SEQUENCE_NUMBER)) for number in sequence_numbers],),
        )
        rows = await cursor.fetchall()
        times = [None if at is None else microseconds(at) for _, _, place, at in rows if place is not None]
        return Ages(microseconds(rows[0][1]), rows[0][0], times)


async def _matched(query: CompiledQuery, found: Found, fill: Callable[[], T]) -> T:
    if query.everything or (len(found.candidates) <= _MATCHED_HERE and found.bytes <= _MATCHED_HERE_BYTES):
        return fill()
    return await asyncio.to_thread(fill)


def _only(row: tuple[int, ...] | None) -> int:
    assert row, "there is always one"
    return row[0]
