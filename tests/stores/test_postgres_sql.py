"""The queries that docs/postgresql.md shows an operator, run as they stand there."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from factstr_server.stores.postgres.location import location_of
from factstr_server.stores.stream_protocol import Acquired, Acquisition
from tests.architecture.repository import ROOT
from tests.conformance.driver import NewFact
from tests.conformance.facts import Query
from tests.postgres.fresh import fresh_url
from tests.stores.opened import commit, compiled, opened

PAGE = (ROOT / "docs" / "postgresql.md").read_text(encoding="utf-8")
QUERIES = re.findall(r"```sql\n(SELECT.*?)```", PAGE, re.DOTALL)


def query_about(words: str) -> str:
    [found] = [query for query in QUERIES if words in query]
    return str(found)


@pytest.fixture
async def rows_of(tmp_path: Path) -> Any:
    """Runs one of the page's queries on a small log."""
    url = fresh_url(tmp_path)
    async with opened(url) as store:
        drill, saw = '{"tool": {"id": "drill-1"}, "days": 2}', '{"tool":{"id":"saw-1"}}'
        await commit(store, NewFact("tool-checked-out", drill), NewFact("tool-checked-out", saw))
        await commit(store, NewFact("tool-returned", '{"tool":{"id":"drill-1","n":1.50}}', {"by": "Ada"}))
        canonical = compiled(Query()).canonical
        lease = await store.acquire(Acquisition("inventory", "[]", canonical, "10.0.0.1", 1))
        assert isinstance(lease, Acquired)
        await store.acquire(Acquisition("mails", "[]", canonical, "10.0.0.2", None))

        location = location_of(url)

        def rows(words: str) -> list[tuple[Any, ...]]:
            text = query_about(words).replace("factstr.", f"{location.schema}.")
            with psycopg.connect(location.conninfo) as connection:
                connection.execute("SET TIME ZONE 'UTC'")
                today = connection.execute("SELECT current_date, current_date + 1").fetchone()
                assert today
                days = {"2026-11-24": str(today[0]), "2026-11-25": str(today[1])}
                text = re.sub("|".join(days), lambda day: days[day[0]], text)
                return connection.execute(text.encode()).fetchall()

        yield rows


async def test_the_page_shows_five_queries() -> None:
    assert len(QUERIES) == 5


async def test_the_facts_of_a_day(rows_of: Any) -> None:
    assert [row[0] for row in rows_of("sequence_number_at")] == [1, 2, 3]


async def test_how_many_of_each_type(rows_of: Any) -> None:
    assert [row[:2] for row in rows_of("GROUP BY")] == [("tool-checked-out", 2), ("tool-returned", 1)]


async def test_one_context(rows_of: Any) -> None:
    assert [row[0] for row in rows_of("jsonb @>")] == [1, 3]


async def test_cursors_and_how_far_they_are_behind(rows_of: Any) -> None:
    behind, up_to_date = rows_of("durable_streams")
    assert behind[:3] == ("inventory", 1, 2)
    assert timedelta() < behind[3] < timedelta(hours=1)
    assert behind[4] == "10.0.0.1"
    assert up_to_date[:4] == ("mails", 3, 0, timedelta())


async def test_the_size_of_the_log(rows_of: Any) -> None:
    [(facts, _, _, bytes_per_fact)] = rows_of("pg_size_pretty")
    assert facts == 3
    assert bytes_per_fact > 0


async def test_a_payload_is_kept_byte_for_byte_and_can_be_asked_for_its_members(tmp_path: Path) -> None:
    url = fresh_url(tmp_path)
    payload = ' { "b" : 1.50, "a":[ 1e2 ,"\\u00e9é"],\t"b" : 2.0 } '
    async with opened(url) as store:
        await commit(store, NewFact("a", payload, {"k": "v"}))
    location = location_of(url)
    with psycopg.connect(location.conninfo) as connection:
        row = connection.execute(
            "SELECT payload::text, payload ->> 'b', payload -> 'a' ->> 1, metadata ->> 'k' "
            f"FROM {location.schema}.facts".encode()
        ).fetchone()
    assert row == (payload, "2.0", "éé", "v")
