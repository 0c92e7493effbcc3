"""A log made to be read, written straight through the store: through gRPC, half a million appends take minutes.

Run as a process of its own (`python -m benchmarks.filling URL PLAN COUNT [CONTEXTS]`), before a server opens the store.
With a number of contexts, these and the source's facts are what the log holds (`benchmarks.scenarios.filled_log`).
"""

import asyncio
import sys
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Final

from benchmarks.facts import Fact, fact_source
from benchmarks.scenarios.filled_log import FilledLog
from benchmarks.stream_facts import batches
from benchmarks.stream_ledger import ordinary_facts
from factstr.v1 import event_pb2
from factstr_server.contract.append import PreparedAppend, prepare_append
from factstr_server.contract.validation import Violations
from factstr_server.stores.opening import store_by_url
from factstr_server.stores.protocol import StoreOptions

_FACTS_PER_COMMIT: Final = 5_000


async def _fill(url: str, plan: str, count: int, facts_of: Callable[[range], Iterable[Fact]]) -> None:
    store = store_by_url(url, StoreOptions())
    await store.open()
    try:
        numbers = batches(plan, count)
        group: list[PreparedAppend] = []
        facts = 0
        for batch in numbers:
            group.append(_prepared(facts_of(batch)))
            facts += len(batch)
            if facts >= _FACTS_PER_COMMIT:
                await store.commit(group)
                group, facts = [], 0
        if group:
            await store.commit(group)
    finally:
        await store.close()


def _prepared(facts: Iterable[Fact]) -> PreparedAppend:
    events = [event_pb2.NewEvent(event_type=fact.event_type, payload=fact.payload) for fact in facts]
    return prepare_append(events, Violations())


if __name__ == "__main__":
    store_url, plan_name, size, *contexts = islice(sys.argv, 1, None)
    facts = FilledLog(fact_source(), int(size), int(contexts[0])).facts if contexts else ordinary_facts
    asyncio.run(_fill(store_url, plan_name, int(size), facts))
