"""Commits of groups: decided first, then written in one statement. Used by the writer thread alone."""

import time
from collections.abc import Sequence
from datetime import timedelta
from itertools import accumulate
from typing import Final

import apsw
import orjson

from factstr_server.contract.append import PreparedAppend
from factstr_server.contract.query import CompiledQuery
from factstr_server.contract.terms import OVERFLOW
from factstr_server.stores.deciding import GroupDecision, LongSearch, Searching, moved_streams
from factstr_server.stores.framing import FramedFacts, framed_facts
from factstr_server.stores.protocol import Advance, Committed, Outcome, StoreInfo, Window
from factstr_server.stores.recent_facts import RecentFacts
from factstr_server.stores.sqlite.reading import Reader
from factstr_server.stores.sqlite.streams import cursor_states


class Writer:
    """The one connection that writes. It knows the head and the last time without asking."""

    def __init__(self, connection: apsw.Connection, idempotency_retention: timedelta | None) -> None:
        self.connection = connection
        self._reader = Reader(connection)
        self._retention = idempotency_retention
        self.wal_pages = 0
        """After the last commit."""
        # Instead of a checkpoint by SQLite itself, which tells nobody that it failed.
        connection.set_wal_hook(self._wal_grew)
        store_id, history_id, self.acknowledgement_key = connection.execute(
            "SELECT store_id, history_id, acknowledgement_key FROM store"
        ).get
        self.info = StoreInfo("sqlite", store_id, history_id)
        self.head_now = self._reader.head()
        self.overflows = self._reader.few_facts(OVERFLOW, 1, 0) is None
        """Whether a fact holds OVERFLOW: true before it can be read."""
        self._recent = RecentFacts(self.head_now)
        self._last_occurred_at = self._reader.occurred_at(self.head_now) if self.head_now else 0

    def _wal_grew(self, _connection: apsw.Connection, _name: str, pages: int) -> int:
        self.wal_pages = pages
        return apsw.SQLITE_OK

    def version(self, query: CompiledQuery, after: int, searching: Searching | None) -> int | None:
        """One read's worth of candidates is looked at in the file, unless the search must come to its end."""
        if query.everything:
            return self.head_now if self.head_now > after else None
        before_match = searching.before_match if searching else None
        recent = self._recent.version(query, after, before_match)
        if recent is not None or after >= self._recent.base:
            return recent
        newest = self._reader.newest(query, Window(after, self._recent.base + 1), before_match)
        while not newest.finished:
            if searching:
                raise LongSearch
            newest = self._reader.newest(query, Window(after, newest.looked_up_to))
        return newest.last_sequence_number

    def matches(self, query: CompiledQuery, sequence_number: int, searching: Searching) -> bool:
        if sequence_number > self._recent.base:
            return self._recent.matches(query, sequence_number, searching.before_match)
        return self._reader.matches(query, sequence_number, searching.before_match)

    def now(self) -> int:
        """The store's clock: never earlier than the last commit."""
        return max(time.time_ns() // 1000, self._last_occurred_at)

    def commit(self, group: Sequence[PreparedAppend | Advance]) -> list[Outcome]:
        """Everything is decided against the committed log and the group's own appends before anything is written:
        FTS5 must not be read after it was written to in the same transaction.
        """
        now = self.now()
        keys = self._keys(group, self._keys_expire_before(now))
        names = moved_streams(group)
        cursors = cursor_states(self.connection, names) if names else {}
        decision = GroupDecision(self, keys, cursors, now)
        outcomes = decision.decide_all(group)
        if decision.batches or decision.moved_cursors:
            self._write(decision)
        if decision.batches:
            self.head_now = decision.accepted.head
            self._recent.add(decision.accepted.events)
            self._last_occurred_at = now
        return outcomes

    def _keys(
        self, group: Sequence[PreparedAppend | Advance], expire_before: int
    ) -> dict[str, tuple[bytes, Committed]]:
        keys = [
            item.idempotency.key for item in group if isinstance(item, PreparedAppend) and item.idempotency
        ]
        if not keys:
            return {}
        rows = self.connection.execute(
            """
            SELECT k.idempotency_key, k.fingerprint, k.first_sequence_number, k.last_sequence_number, k.occurred_at
            FROM json_each(?1) AS wanted CROSS JOIN idempotency_keys AS k ON k.idempotency_key = wanted.value
            WHERE k.occurred_at >= ?2
            """,
            (orjson.dumps(keys).decode(), expire_before),
        )
        return {key: (fingerprint, Committed(*result)) for key, fingerprint, *result in rows}

    def _keys_expire_before(self, now: int) -> int:
        return now - self._retention // timedelta(microseconds=1) if self._retention is not None else 0

    def _write(self, decision: GroupDecision) -> None:
        columns = _columns(framed_facts(decision)) if decision.batches else _NO_FACTS
        # Terms are hashes in hexadecimal: nothing else in their text can read so.
        self.overflows = self.overflows or OVERFLOW in columns[-1]
        self.connection.execute(
            "INSERT INTO commit_group VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                self.head_now,
                decision.occurred_at,
                *columns,
                _json([batch[:2] for batch in decision.batches if batch[0] != batch[1]]),
                _json(
                    [
                        (first.first_sequence_number, first.last_sequence_number, key, fingerprint.hex())
                        for key, fingerprint, first in decision.new_keys
                    ]
                ),
                self._keys_expire_before(decision.occurred_at),
                _json([(name, *moved) for name, moved in decision.moved_cursors.items()]),
            ),
        )


def _columns(facts: FramedFacts) -> tuple[str, bytes, str]:
    """What the statement takes of the facts: what describes each, their records, and their terms."""
    types, bodies, payload_sizes, metadata, terms = zip(*facts.events, strict=True)
    records = list(map(b"".join, zip(facts.openings, facts.prefixes, bodies, strict=True)))
    sizes = list(map(len, records))
    offsets = accumulate(sizes[:-1], initial=1)
    described = zip(types, metadata, payload_sizes, map(len, facts.openings), offsets, sizes, strict=True)
    return _json(list(described)), b"".join(records), _json(terms)


_NO_FACTS: Final = ("[]", b"", "[]")


def _json(value: object) -> str:
    return orjson.dumps(value).decode()
