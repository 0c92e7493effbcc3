"""What is known of the log when a group is decided: context versions, keys, cursors.

Conditions are looked up before the head row is locked, so that other servers need not wait for it. Under the lock only
the facts that were committed since are looked at: usually none.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from psycopg import AsyncConnection, AsyncCursor

from factstr_server.contract.append import Condition, PreparedAppend
from factstr_server.contract.limits import MAX_SEQUENCE_NUMBER
from factstr_server.contract.query import CompiledQuery
from factstr_server.stores.deciding import LongSearch, Searching
from factstr_server.stores.paging import Candidate
from factstr_server.stores.postgres.reading import Found, Reader, Searched
from factstr_server.stores.protocol import Advance, Window

_MOST_CANDIDATES: Final = 512
"""That one step of a search looks at, while others wait for the commit."""


@dataclass
class Known:
    """A `KnownLog`: the log up to `head_now`, as far as a group's conditions are concerned."""

    head_now: int
    versions: dict[int, int | None] = field(default_factory=dict)
    """By a query's identity: the version of the whole context, or None. Missing where it would take long to find."""

    def version(self, query: CompiledQuery, after: int, searching: Searching | None) -> int | None:
        """What takes long was left out before."""
        if id(query) not in self.versions:
            raise LongSearch
        newest = self.versions[id(query)]
        return newest if newest is not None and newest > after else None

    def matches(self, query: CompiledQuery, sequence_number: int, searching: Searching) -> bool:
        """Asked only when nothing newer matches: then the number is the context's version, or does not match."""
        return self.versions[id(query)] == sequence_number

    def take_newer(self, facts: Sequence[Candidate], conditions: Sequence[Condition]) -> None:
        """Takes facts in that came after the versions were looked up, in order."""
        for condition in conditions:
            for fact in reversed(facts):
                if fact.matches(condition.query):
                    self.versions[id(condition.query)] = fact.sequence_number
                    break


def conditions_of(group: Sequence[PreparedAppend | Advance], history_id: str) -> list[Condition]:
    """But for those that were looked up in another history: nothing is known of them, and they stay undecided."""
    conditions = [item.condition for item in group if isinstance(item, PreparedAppend) and item.condition]
    return [
        condition
        for condition in conditions
        if condition.looked_up is None or condition.looked_up.history_id == history_id
    ]


def keys_of(group: Sequence[PreparedAppend | Advance]) -> list[str]:
    return [item.idempotency.key for item in group if isinstance(item, PreparedAppend) and item.idempotency]


async def look_up_versions(
    reader: Reader,
    connection: AsyncConnection,
    conditions: Sequence[Condition],
    known: Known,
) -> None:
    """The contexts' versions now, which is at the known head or later, but for those that take long to find."""
    asked: list[tuple[Condition, AsyncCursor]] = []
    # Usually the newest candidate from the expected version on is the expected fact itself, and that is all.
    async with connection.pipeline():
        for condition in conditions:
            query, expected, looked_up = condition
            if query.nothing:
                known.versions[id(query)] = None
            else:
                after = looked_up.head if looked_up else max((expected or 0) - 1, 0)
                window = Window(min(after, MAX_SEQUENCE_NUMBER), descending=True)
                asked.append((condition, await reader.ask(connection, query, window, 1, 1)))
    for condition, cursor in asked:
        with suppress(LongSearch):
            found = await reader.found(cursor, 1, 1)
            known.versions[id(condition.query)] = await _version(reader, connection, condition, found)


async def _version(
    reader: Reader, connection: AsyncConnection, condition: Condition, found: Found
) -> int | None:
    """The whole context's, after one candidate was asked for. Raises LongSearch."""
    query, expected, looked_up = condition
    newest = next((fact.sequence_number for fact in found.candidates if fact.matches(query)), None)
    if newest is not None:
        return newest
    if looked_up:
        if found.cut:
            newest = await reader.version(connection, query, looked_up.head, found.lowest)
        return newest or looked_up.version
    if not found.cut and not expected:
        return None
    search = Searched(None, found.lowest if found.cut else expected, 1)
    while search.before is not None:
        if search.most > _MOST_CANDIDATES:
            raise LongSearch
        search = await reader.search(connection, query, 0, search)
    return search.newest
