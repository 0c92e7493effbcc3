"""What is known of the log when a group is decided: context versions, keys, cursors.

Conditions are looked up before the head row is locked, so that other servers need not wait for it. Under the lock only
the facts that were committed since are looked at: usually none.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from psycopg import AsyncConnection, AsyncCursor

from factstr_server.contract.append import Condition, PreparedAppend
from factstr_server.contract.limits import MAX_SEQUENCE_NUMBER
from factstr_server.contract.query import CompiledQuery
from factstr_server.stores.paging import Candidate
from factstr_server.stores.postgres.reading import Reader
from factstr_server.stores.protocol import Advance, Window


@dataclass
class Known:
    """A `KnownLog`: the log up to `head_now`, as far as a group's conditions are concerned."""

    head_now: int
    versions: dict[int, int | None] = field(default_factory=dict)
    """By a query's identity: the version of the whole context, or None."""

    def version(self, query: CompiledQuery, after: int) -> int | None:
        newest = self.versions[id(query)]
        return newest if newest is not None and newest > after else None

    def matches(self, query: CompiledQuery, sequence_number: int) -> bool:
        """Asked only when nothing newer matches: then the number is the context's version, or does not match."""
        return self.versions[id(query)] == sequence_number

    def take_newer(self, facts: Sequence[Candidate], conditions: Sequence[Condition]) -> None:
        """Takes facts in that came after the versions were looked up, in order."""
        for condition in conditions:
            for fact in reversed(facts):
                if fact.matches(condition.query):
                    self.versions[id(condition.query)] = fact.sequence_number
                    break


def conditions_of(group: Sequence[PreparedAppend | Advance]) -> list[Condition]:
    return [item.condition for item in group if isinstance(item, PreparedAppend) and item.condition]


def keys_of(group: Sequence[PreparedAppend | Advance]) -> list[str]:
    return [item.idempotency.key for item in group if isinstance(item, PreparedAppend) and item.idempotency]


async def look_up_versions(
    reader: Reader, connection: AsyncConnection, conditions: Sequence[Condition], known: Known
) -> None:
    """The contexts' versions now, which is at the known head or later."""
    asked: list[tuple[Condition, AsyncCursor]] = []
    # Usually the newest candidate from the expected version on is the expected fact itself, and that is all.
    async with connection.pipeline():
        for condition in conditions:
            known.versions[id(condition.query)] = None
            if not condition.query.nothing:
                after = min(max((condition.expected_version or 0) - 1, 0), MAX_SEQUENCE_NUMBER)
                window = Window(after, descending=True)
                asked.append((condition, await reader.ask(connection, condition.query, window, 1, 1)))
    for (query, expected), cursor in asked:
        found = await reader.found(cursor, 1, 1)
        newest = next((fact.sequence_number for fact in found.candidates if fact.matches(query)), None)
        if newest is None and (found.cut or expected):
            below = found.candidates[-1].sequence_number if found.cut else expected or 0
            newest = await reader.version(connection, query, 0, below)
        known.versions[id(query)] = newest
