"""Commits of groups: decided first, then written in one statement. Used by the writer thread alone."""

import time
from collections.abc import Sequence
from datetime import timedelta

import apsw
import orjson

from factstr_server.contract.append import PreparedAppend
from factstr_server.contract.query import CompiledQuery
from factstr_server.contract.record import occurred_at_field, record_prefix
from factstr_server.stores.deciding import GroupDecision
from factstr_server.stores.protocol import Committed, Outcome, StoreInfo
from factstr_server.stores.sqlite.reading import Reader


class Writer:
    """The one connection that writes. It knows the head and the last time without asking."""

    def __init__(self, connection: apsw.Connection, idempotency_retention: timedelta | None) -> None:
        self.connection = connection
        self._reader = Reader(connection)
        self._retention = idempotency_retention
        self.info = StoreInfo("sqlite", *connection.execute("SELECT store_id, history_id FROM store").get)
        self.head_now = self._reader.head()
        self._last_occurred_at = self._reader.occurred_at(self.head_now) if self.head_now else 0

    def version(self, query: CompiledQuery, after: int) -> int | None:
        return self._reader.version(query, after)

    def matches(self, query: CompiledQuery, sequence_number: int) -> bool:
        return self._reader.matches(query, sequence_number)

    def commit(self, group: Sequence[PreparedAppend]) -> list[Outcome]:
        """Everything is decided against the committed log and the group's own appends before anything is written:
        FTS5 must not be read after it was written to in the same transaction.
        """
        now = max(time.time_ns() // 1000, self._last_occurred_at)
        decision = GroupDecision(self, self._keys(group, self._keys_expire_before(now)), now)
        outcomes = decision.decide_all(group)
        if decision.batches:
            self._write(decision)
            self.head_now = decision.accepted.head
            self._last_occurred_at = now
        return outcomes

    def _keys(
        self, group: Sequence[PreparedAppend], expire_before: int
    ) -> dict[str, tuple[bytes, Committed]]:
        keys = [append.idempotency.key for append in group if append.idempotency]
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
        time_field = occurred_at_field(decision.occurred_at)
        events: list[tuple[str, str | None, int, int, int]] = []
        records: list[bytes] = []
        tokens: list[str] = []
        offset = 1
        for sequence_number in range(self.head_now + 1, decision.accepted.head + 1):
            event_type, body, payload_size, metadata_text, terms = decision.accepted.event(sequence_number)
            prefix = record_prefix(sequence_number, time_field)
            size = len(prefix) + len(body)
            events.append((event_type, metadata_text, payload_size, offset, size))
            records.append(prefix)
            records.append(body)
            tokens.append(terms)
            offset += size
        self.connection.execute(
            "INSERT INTO commit_group VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                self.head_now,
                decision.occurred_at,
                _json(events),
                b"".join(records),
                _json(tokens),
                _json([batch[:2] for batch in decision.batches if batch[0] != batch[1]]),
                _json(
                    [
                        (first.first_sequence_number, first.last_sequence_number, key, fingerprint.hex())
                        for key, fingerprint, first in decision.new_keys
                    ]
                ),
                self._keys_expire_before(decision.occurred_at),
            ),
        )


def _json(value: object) -> str:
    return orjson.dumps(value).decode()
