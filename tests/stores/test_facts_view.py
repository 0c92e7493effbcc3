"""The view `facts`: someone opens the file with a SQLite of their own and reads the facts as text."""

import asyncio
import json
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import apsw
import pytest

from tests.conformance.driver import NewFact
from tests.stores.opened import commit, opened_sqlite

READ_OFTEN = """
import apsw, json, sys
connection = apsw.Connection(sys.argv[1], flags=apsw.SQLITE_OPEN_READONLY)
connection.set_busy_timeout(5000)
seen = []
while len(seen) < 30:
    with connection:
        rows = connection.execute("SELECT * FROM facts ORDER BY sequence_number").fetchall()
    seen.append([row[0] for row in rows])
    for row in rows:
        assert json.loads(row[3])["n"] == row[0], row
print(json.dumps(seen))
"""

FACTS = [
    NewFact("order placed", ' {"b": 1,\n"a": "é😀"} ', {"source": "web", "ключ": "\u2028"}),
    NewFact("odd \"type\" \\ 'x'", '"' + "x" * 300_000 + '"'),
    NewFact("plain", "null"),
]


async def test_people_can_read_the_facts_as_text(tmp_path: Path) -> None:
    database = tmp_path / "facts.db"
    async with opened_sqlite(database) as store:
        committed = await commit(store, *FACTS)
        connection = apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)
        cursor = connection.execute("SELECT * FROM facts ORDER BY sequence_number")
        assert [column[0] for column in cursor.get_description()] == [
            "sequence_number",
            "occurred_at",
            "event_type",
            "payload",
            "metadata",
        ]
        rows: list[Any] = connection.execute("SELECT * FROM facts ORDER BY sequence_number").fetchall()
        connection.close()
    moment = datetime.fromtimestamp(committed.occurred_at // 1_000_000, UTC)
    for number, (row, fact) in enumerate(zip(rows, FACTS, strict=True), 1):
        sequence_number, occurred_at, event_type, payload, metadata = row
        assert (sequence_number, event_type, payload) == (number, fact.event_type, fact.payload)
        assert json.loads(metadata) == dict(fact.metadata)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", occurred_at)
        assert occurred_at.startswith(moment.strftime("%Y-%m-%dT%H:%M:%S"))
        assert int(occurred_at[-7:-1]) == committed.occurred_at % 1_000_000


@pytest.mark.timeout(120)
async def test_another_process_reads_whole_commits_while_the_server_writes(tmp_path: Path) -> None:
    database = tmp_path / "facts.db"
    async with opened_sqlite(database) as store:
        await commit(store, NewFact(payload='{"n": 1}'))
        reader = await asyncio.create_subprocess_exec(
            sys.executable, "-c", READ_OFTEN, str(database), stdout=asyncio.subprocess.PIPE
        )
        answer = asyncio.create_task(reader.communicate())
        head = 1
        while not answer.done():
            batch = [NewFact(payload=f'{{"n": {head + i}}}') for i in (1, 2, 3)]
            head = (await commit(store, *batch)).last_sequence_number
        output, _ = await answer
    assert reader.returncode == 0
    lengths = []
    for numbers in json.loads(output):
        assert numbers == list(range(1, len(numbers) + 1))
        assert len(numbers) % 3 == 1
        lengths.append(len(numbers))
    assert lengths == sorted(lengths)
    assert lengths[-1] <= head
