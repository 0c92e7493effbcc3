"""The statement of docs/backups.md that makes a restored schema of PostgreSQL a history of its own."""

import re
import time
from pathlib import Path

from factstr_server.stores.stream_protocol import Acquired, Acquisition
from tests.architecture.repository import ROOT
from tests.copying.content import connected, schema_of, select
from tests.postgres.fresh import fresh_url
from tests.stores.opened import opened

[STATEMENT] = re.findall(
    r"```sql\n(.*?)```", (ROOT / "docs" / "backups.md").read_text(encoding="utf-8"), re.DOTALL
)


def say(url: str) -> None:
    with connected(url) as connection:
        connection.execute(STATEMENT.replace("factstr.", f"{schema_of(url)}.").encode())


async def test_the_statement_begins_a_history_with_epochs_of_its_own(tmp_path: Path) -> None:
    url = fresh_url(tmp_path)
    async with opened(url) as store:
        before = store.info
        await store.acquire(Acquisition("s", "[]", "[]", "h"))
        await store.acquire(Acquisition("t", "[]", "[]", "h"))
    say(url)
    [first, second] = [
        epoch for (epoch,) in select(url, "SELECT lease_epoch FROM durable_streams ORDER BY 1")
    ]
    [(counter,)] = select(url, "SELECT last_lease_epoch FROM store")
    assert 10**12 < first < second == counter < 2**53
    async with opened(url) as store:
        assert store.info.store_id == before.store_id
        assert store.info.history_id != before.history_id
        again = await store.acquire(Acquisition("s", "[]", "[]", "h"))
        assert isinstance(again, Acquired)
        assert again.lease_epoch > counter


async def test_said_again_the_statement_raises_epochs_to_the_clock_and_not_by_it(tmp_path: Path) -> None:
    """Otherwise a schema that was restored twice would be ahead of an older one that is restored after it."""
    url = fresh_url(tmp_path)
    async with opened(url) as store:
        await store.acquire(Acquisition("s", "[]", "[]", "h"))
    counters = []
    for _ in range(3):
        say(url)
        counters += [counter for (counter,) in select(url, "SELECT last_lease_epoch FROM store")]
    now = time.time_ns() // 1_000_000
    assert counters == sorted(set(counters))
    assert counters[-1] <= now + 3


async def test_the_statement_needs_no_durable_stream(tmp_path: Path) -> None:
    url = fresh_url(tmp_path)
    async with opened(url) as store:
        before = store.info
    say(url)
    async with opened(url) as store:
        assert store.info.history_id != before.history_id
