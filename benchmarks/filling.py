"""A log made for a replay, written straight through the store: through gRPC, half a million appends take minutes.

Run as a process of its own (`python -m benchmarks.filling FILE PLAN COUNT`), before a server opens the file.
"""

import asyncio
import sys
from itertools import islice
from pathlib import Path
from typing import Final

from benchmarks.stream_facts import batches, stream_fact
from factstr.v1 import event_pb2
from factstr_server.contract.append import PreparedAppend, prepare_append
from factstr_server.contract.validation import Violations
from factstr_server.stores.protocol import StoreOptions
from factstr_server.stores.sqlite.store import SqliteStore

_FACTS_PER_COMMIT: Final = 5_000


async def _fill(database: Path, plan: str, count: int) -> None:
    store = SqliteStore(database, StoreOptions())
    await store.open()
    try:
        numbers = batches(plan, count)
        group: list[PreparedAppend] = []
        facts = 0
        for batch in numbers:
            group.append(_prepared(batch))
            facts += len(batch)
            if facts >= _FACTS_PER_COMMIT:
                await store.commit(group)
                group, facts = [], 0
        if group:
            await store.commit(group)
    finally:
        await store.close()


def _prepared(numbers: range) -> PreparedAppend:
    facts = map(stream_fact, numbers)
    events = [event_pb2.NewEvent(event_type=fact.event_type, payload=fact.payload) for fact in facts]
    return prepare_append(events, Violations())


if __name__ == "__main__":
    file, plan_name, size = islice(sys.argv, 1, 4)
    asyncio.run(_fill(Path(file), plan_name, int(size)))
