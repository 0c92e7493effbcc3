"""Stores without a log around them, and what goes into them: for what only one store, or only its inside, can show."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from factstr_server.contract.append import Condition, PreparedAppend, prepare_append
from factstr_server.contract.query import CompiledQuery, EventFilter, EventQuery, compile_query
from factstr_server.contract.validation import Violations
from factstr_server.stores.opening import store_by_url
from factstr_server.stores.protocol import Committed, Conflict, Store, StoreOptions
from factstr_server.stores.sqlite.store import SqliteStore
from tests.conformance.driver import NewFact, Query


def url_of(database: Path) -> str:
    return f"sqlite:///{database}"


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Store]:
    """The store of a URL, for the length of a block."""
    store = store_by_url(url, StoreOptions())
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def opened_sqlite(database: Path) -> AsyncIterator[SqliteStore]:
    async with opened(url_of(database)) as store:
        assert isinstance(store, SqliteStore)
        yield store


def compiled(query: Query) -> CompiledQuery:
    violations = Violations()
    filters = tuple(EventFilter(f.types, f.predicates) for f in query.filters)
    result = compile_query(EventQuery(filters, query.after), violations)
    violations.refuse_if_any()
    return result


def prepared(
    facts: Sequence[NewFact], *, key: str = "", context: Query | None = None, expected: int | None = None
) -> PreparedAppend:
    condition = None if context is None else Condition(compiled(context), expected)
    return prepare_append(facts, Violations(), idempotency_key=key, condition=condition)


async def commit(store: Store, *facts: NewFact) -> Committed:
    [outcome] = await store.commit([prepared(facts)])
    assert isinstance(outcome, Committed)
    return outcome


async def conflict(store: Store, context: Query, expected: int | None) -> Conflict:
    [outcome] = await store.commit([prepared([NewFact()], context=context, expected=expected)])
    assert isinstance(outcome, Conflict)
    return outcome
