"""What a server keeps in memory within bounds, filled to these bounds, so that it need not grow any further.

The newest facts and their encoding (32 MiB, as the server counts them), compiled queries (1,024), predicates (4,096),
event types (4,096).
"""

import asyncio
from random import Random
from typing import Final

from factstr.v1 import event_store_service_pb2 as pb
from tests.histories.history import AppendCall, Committed, History
from tests.reliability.endurance.calling import never_asked_before
from tests.service import pipe
from tests.sharing.accounts import new_fact, sent
from tests.sharing.servers import Remote

APPENDS: Final = 17_000
_IN_A_MESSAGE: Final = 250
TYPES: Final = 4_200
QUERIES: Final = 1_100
_AT_ONCE: Final = 4


async def fill(store: Remote, history: History, chance: Random) -> None:
    """With batches and facts of the sizes that the load has, which take the room of these."""
    messages = iter(range(0, APPENDS, _IN_A_MESSAGE))
    queries = iter(range(QUERIES))

    async def append() -> None:
        async with pipe.piped(store) as appending:
            for first in messages:
                appends = [_append(history, n, chance) for n in range(first, first + _IN_A_MESSAGE)]
                await appending.send(*(item for _, item in appends))
                for call, _ in appends:
                    answer = pipe.committed(await appending.outcome())
                    call.finish(Committed(answer.first, answer.last, answer.occurred_at))

    async def query() -> None:
        for number in queries:
            assert not (await store.query(never_asked_before(f"fill, query {number}"))).facts

    await asyncio.gather(*(work() for work in (append, query) for _ in range(_AT_ONCE)))
    # The newest facts are encoded when the first stream wants them.
    async with store.stream_all(after=0) as stream:
        await stream.until_caught_up()


def _append(history: History, number: int, chance: Random) -> tuple[AppendCall, pb.AppendStreamItem]:
    facts = [
        new_fact(
            f"fill {number % TYPES}",
            f"fill, fact {number}.{place}",
            (),
            padding=30_000 if chance.random() < 1 / 180 else 0,
        )
        for place in range(chance.choice((1, 1, 1, 2, 3)))
    ]
    return history.append("fill", sent(facts)), pipe.append(*facts, key=f"fill, append {number}")
