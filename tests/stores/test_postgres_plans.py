"""The index's promise on a million facts in PostgreSQL, by the pages that a lookup touches and the scans that it makes.

Counted, not timed: a plan that walks the log touches tens of thousands of pages on any machine. The log is made by SQL,
as the store would write it but for its records, which nobody reads here.
"""

import asyncio
import secrets
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection, sql

from factstr_server.contract.query import CompiledQuery
from factstr_server.stores.postgres.location import location_of
from factstr_server.stores.postgres.lookup import BLOCK_BITS, ERA_BITS, lookup_expressions
from factstr_server.stores.postgres.reading import Reader
from factstr_server.stores.postgres.statements import Statements
from tests.conformance.driver import Filter, Query, of_type, where
from tests.postgres.fresh import server_url, with_schema
from tests.stores.opened import compiled, opened

FACTS = 1_000_000
MATCHES = 10
LAST = 2**63 - 1

pytestmark = pytest.mark.timeout(300)

# Every fact is of the type "common" but one in a thousand. Which facts hold what:
HOLDERS = {
    '{"tenant": "t"}': "true",
    '{"half": true}': "n % 2 = 0",
    '{"early": true}': f"n % 2 = 0 AND n <= {FACTS // 2}",
    '{"late": true}': f"n % 2 = 1 AND n > {FACTS // 2}",
    '{"some": 7}': "n % 1000 = 7",
    '{"rare": 7}': f"n % {FACTS // MATCHES} = 77",
}


def both(event_type: str, predicate: str) -> Query:
    return Query((Filter(types=(event_type,), predicates=(predicate,)),))


RARE = {
    "a rare predicate": (where('{"rare": 7}'), MATCHES),
    "a rare predicate and a common type": (both("common", '{"rare": 7}'), MATCHES),
    "a rare predicate beside common ones": (where('{"tenant": "t", "half": true, "rare": 7}'), 0),
    "a rare predicate in several filters": (
        Query((*both("common", '{"rare": 7}').filters, *both("none", '{"half": true}').filters)),
        MATCHES,
    ),
    "what no fact holds": (both("common", '{"rare": 8}'), 0),
}
COMMON = {
    "half of all facts": where('{"half": true}'),
    "half of the early facts": where('{"early": true}'),
    "half of the late facts": where('{"late": true}'),
    "the common type": of_type("common"),
}


@pytest.fixture(scope="module")
def log() -> Iterator["Log"]:
    url = with_schema(server_url(), f"t_{secrets.token_hex(8)}")
    location = location_of(url)
    with psycopg.connect(location.conninfo, autocommit=True) as connection:
        made = Log(connection, url)
        try:
            made.fill()
            yield made
        finally:
            made.run("DROP SCHEMA {schema} CASCADE")


class Log:
    """A million facts, and how much a lookup in them touches."""

    def __init__(self, connection: psycopg.Connection, url: str) -> None:
        self.connection = connection
        self.url = url
        self.schema = location_of(url).schema

    def run(self, text: str, *parameters: object) -> psycopg.Cursor[Any]:
        schema = sql.Identifier(self.schema).as_string(self.connection)
        return self.connection.execute(text.replace("{schema}", schema).encode(), parameters or None)

    def fill(self) -> None:
        async def make_schema() -> None:
            async with opened(self.url):
                pass

        asyncio.run(make_schema())
        held = ", ".join(
            f"CASE WHEN {condition} THEN e || '{term_of(where(predicate))}' END"
            for predicate, condition in HOLDERS.items()
        )
        types = f"e || CASE n % 1000 WHEN 0 THEN '{term_of(of_type('seldom'))}' ELSE '{term_of(of_type('common'))}' END"
        block = f"e || 'b' || lpad(to_hex(((n - 1) >> {BLOCK_BITS}) & {2 ** (ERA_BITS - BLOCK_BITS) - 1}), 2, '0')"
        self.run("DROP INDEX {schema}.records_terms")
        self.run(
            f"""
            INSERT INTO {{schema}}.records
            SELECT
                n, to_timestamp(n), 'common', NULL, '1', '\\x0a', 1, 1,
                array_to_tsvector(array_remove(ARRAY[{types}, {block}, {held}], NULL))
            FROM (
                SELECT n, lpad(to_hex((n - 1) >> {ERA_BITS}), 6, '0') AS e FROM generate_series(1, {FACTS}) AS n
            ) AS numbered
            """
        )
        self.run(
            "CREATE INDEX records_terms ON {schema}.records USING gin (terms) WITH (gin_pending_list_limit = 64)"
        )
        self.run(f"UPDATE {{schema}}.head SET sequence_number = {FACTS}")

    def candidates(self, query: CompiledQuery, *, after: int = 0, descending: bool, most: int) -> list[int]:
        rows = self.run(
            "SELECT sequence_number FROM {schema}.candidates(%s::text[], %s, %s, %s, %s, %s)",
            lookup_expressions(query), after, LAST, descending, most, 10**9,
        )  # fmt: skip
        return [row[0] for row in rows]

    def pages(self, query: CompiledQuery, *, after: int = 0, descending: bool, most: int) -> int:
        """Of 8 KiB, that one lookup touches."""
        row = self.run(
            "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) "
            "SELECT * FROM {schema}.candidates(%s::text[], %s, %s, %s, %s, %s)",
            lookup_expressions(query), after, LAST, descending, most, 10**9,
        ).fetchone()  # fmt: skip
        assert row
        plan = row[0][0]["Plan"]
        return int(plan["Shared Hit Blocks"]) + int(plan["Shared Read Blocks"])

    def walks(self) -> int:
        """How often all records were walked, by a scan without an index."""
        self.run("SELECT pg_stat_force_next_flush()")
        row = self.run(
            "SELECT seq_scan FROM pg_stat_user_tables WHERE schemaname = %s AND relname = 'records'",
            self.schema,
        ).fetchone()
        assert row
        return int(row[0])


def term_of(query: Query) -> str:
    [terms] = compiled(query).terms
    [term] = terms.event_types or (terms.predicates or ((),))[0]
    return term


@pytest.fixture(params=["never analysed", "analysed"])
def known(request: pytest.FixtureRequest, log: Log) -> Log:
    """Whatever the planner knows of the table."""
    if request.param == "analysed":
        log.run("ANALYZE {schema}.records")
        # Functions keep their plans for a session.
        log.run("DISCARD PLANS")
    return log


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize(("query", "matches"), RARE.values(), ids=RARE.keys())
def test_a_rare_predicate_touches_few_pages_whatever_stands_beside_it(
    known: Log, query: Query, matches: int, descending: bool
) -> None:
    """A condition check, a context version and a filtered read are this lookup."""
    wanted = compiled(query)
    walks = known.walks()
    for most in (1, 4_096):
        found = known.candidates(wanted, descending=descending, most=most)
        assert len(found) == min(matches, most)
        assert found == sorted(found, reverse=descending)
        assert known.pages(wanted, descending=descending, most=most) < 1_000
    assert known.walks() == walks


@pytest.mark.parametrize("query", COMMON.values(), ids=COMMON.keys())
def test_the_version_of_a_common_context_touches_a_block_and_not_its_facts(known: Log, query: Query) -> None:
    wanted = compiled(query)
    walks = known.walks()
    assert len(known.candidates(wanted, descending=True, most=1)) == 1
    assert known.pages(wanted, descending=True, most=1) < 500
    assert known.walks() == walks


def test_a_filtered_replay_touches_pages_in_proportion_to_its_matches(known: Log) -> None:
    """A twentieth of the way through half of all facts costs no more anywhere than at the beginning."""
    wanted = compiled(where('{"half": true}'))
    first = known.pages(wanted, descending=False, most=500)
    for after in range(FACTS // 20, FACTS - 2_000, FACTS // 20):
        assert known.candidates(wanted, after=after, descending=False, most=3) == [
            after + 2 - after % 2,
            after + 4 - after % 2,
            after + 6 - after % 2,
        ]
        assert known.pages(wanted, after=after, descending=False, most=500) <= 3 * first


def test_a_fresh_condition_looks_at_what_is_newer_alone(known: Log) -> None:
    wanted = compiled(where('{"half": true}'))
    assert known.candidates(wanted, after=FACTS - 1, descending=True, most=1) == [FACTS]
    assert known.pages(wanted, after=FACTS - 1, descending=True, most=1) < 100


async def test_the_sequence_number_of_a_moment_is_looked_for_without_compiling_plans(log: Log) -> None:
    url = location_of(log.url).conninfo
    async with await AsyncConnection.connect(url, autocommit=True, options="-c jit=on") as connection:
        assert (
            await Reader(Statements(log.schema)).sequence_number_at(connection, 500_000 * 1_000_000)
            == 500_000
        )
        # A function of its name, which tells how it was called, also where PostgreSQL was built without a compiler.
        await connection.execute(
            """
            CREATE FUNCTION pg_temp.sequence_number_at(timestamptz) RETURNS bigint LANGUAGE plpgsql
            AS $$ BEGIN RETURN (current_setting('jit') = 'off')::int; END $$
            """
        )
        schema = Statements("pg_temp")
        assert await Reader(schema).sequence_number_at(connection, 0) == 1
        cursor = await connection.execute(schema("SELECT {schema}.sequence_number_at(now())"))
        assert await cursor.fetchone() == (0,)


async def test_where_postgresql_can_compile_plans_it_compiles_none_for_a_moment(log: Log) -> None:
    plans: list[str] = []
    schema = Statements(log.schema)
    async with await AsyncConnection.connect(location_of(log.url).conninfo, autocommit=True) as connection:
        cursor = await connection.execute("SELECT pg_jit_available()")
        if await cursor.fetchone() == (False,):
            return  # There is no compiler in it, and often no auto_explain.
        connection.add_notice_handler(lambda notice: plans.append(notice.message_primary or ""))
        for setting in (
            "LOAD 'auto_explain'", "SET auto_explain.log_min_duration = 0", "SET auto_explain.log_analyze = on",
            "SET auto_explain.log_nested_statements = on", "SET client_min_messages = log",
        ):  # fmt: skip
            await connection.execute(setting.encode())
        assert await Reader(schema).sequence_number_at(connection, 500_000 * 1_000_000) == 500_000
        assert any("head" in plan for plan in plans)
        assert not any("JIT:" in plan for plan in plans)
        # As it would be otherwise.
        await connection.execute("DISCARD PLANS")
        await connection.execute(schema("SELECT {schema}.sequence_number_at(now())"))
        assert any("JIT:" in plan for plan in plans)
