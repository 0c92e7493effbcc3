"""The head row, which every commit writes: PostgreSQL keeps its old versions as long as any transaction may see them,
and whoever reads the row walks them.
"""

from pathlib import Path

import psycopg

from factstr_server.contract.append import PreparedAppend
from factstr_server.stores.postgres.location import location_of
from factstr_server.stores.protocol import Committed, Conflict
from tests.conformance.driver import NewFact, of_type
from tests.postgres.fresh import fresh_url
from tests.stores.opened import opened, prepared
from tests.waiting import wait_until


def a_fact(*, key: str = "", expected: int | None = None) -> PreparedAppend:
    return prepared([NewFact("a")], key=key, context=of_type("a"), expected=expected)


async def test_a_commit_leaves_one_version_of_the_head_row_and_a_refused_append_none(tmp_path: Path) -> None:
    url = fresh_url(tmp_path)
    location = location_of(url)
    head = 0
    async with opened(f"{url}&application_name={location.schema}") as store:
        for number in range(5):
            groups = (
                [prepared([NewFact("a")])],
                [a_fact(expected=head + 1)],
                [a_fact(key=f"key {number}", expected=head + 2), prepared([NewFact("a")] * 2)],
            )
            for group in groups:
                outcomes = await store.commit(group)
                assert all(isinstance(outcome, Committed) for outcome in outcomes)
            head += 5
            [refused] = await store.commit([a_fact(expected=head + 1)])
            assert isinstance(refused, Conflict)
    with psycopg.connect(location.conninfo, autocommit=True) as connection:
        # A connection tells what it has done at its end.
        wait_until(
            lambda: (
                connection.execute(
                    "SELECT FROM pg_stat_activity WHERE application_name = %s", (location.schema,)
                ).fetchone()
                is None
            ),
            "the store's connections have ended",
        )
        counted = connection.execute(
            "SELECT n_tup_ins, n_tup_upd, n_tup_del FROM pg_stat_user_tables "
            "WHERE schemaname = %s AND relname = 'head'",
            (location.schema,),
        ).fetchone()
    assert counted == (1, 15, 0)
