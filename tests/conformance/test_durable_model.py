"""Long random histories of one durable stream, on every way, beside what the contract says of it.

`tests/reliability/properties` has it beside everything else, in short histories on all stores at once.
"""

import random
from datetime import timedelta

from tests.conformance.conftest import MakeStore
from tests.conformance.driver import NewFact, Options, of_type
from tests.conformance.streams import FROM_THE_BEGINNING
from tests.reliability.properties.side import NAMES, Side
from tests.stores.list_log import ListLog, Request

STEPS = 220
QUERY = of_type("a", "b")


class History:
    """Of appends, deliveries, acknowledgements, failures, restarts."""

    def __init__(self, side: Side, log: ListLog, chance: random.Random) -> None:
        self.side = side
        self.stream = side.durable[NAMES[0]]
        self.log = log
        self.chance = chance

    async def append(self) -> None:
        types = self.chance.choices("abcd", (3, 1, 4, 1), k=self.chance.choice((1, 1, 2, 4)))
        request = Request(tuple(map(NewFact, types)))
        await self.side.append([request], [self.log.append(request)])

    async def open(self) -> None:
        start = self.chance.choice((FROM_THE_BEGINNING, 0, self.position()))
        await self.stream.open(QUERY, self.chance.choice((1, 2, 5, 100)), start)

    async def deliver(self) -> None:
        if self.stream.active:
            await self.stream.deliver(self.chance.randint(0, 20))

    async def acknowledge(self) -> None:
        if self.stream.tokens:
            await self.stream.acknowledge(self.chance.randrange(100))

    async def acknowledge_what_was_lost(self) -> None:
        await self.stream.acknowledge_what_was_lost(self.chance.randrange(100))

    async def close(self) -> None:
        await self.stream.close()

    async def look(self) -> None:
        await self.stream.look()

    async def pass_over(self) -> None:
        await self.stream.pass_over()

    async def reset(self) -> None:
        await self.stream.reset(self.position(), force=True)

    async def delete(self) -> None:
        await self.stream.delete(force=True)

    async def restart(self) -> None:
        await self.side.restart()

    def position(self) -> int:
        return self.chance.randint(0, self.log.head)


async def test_whatever_happens_a_cursor_is_where_the_model_says(make_store: MakeStore) -> None:
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    async with make_store(Options(heartbeat_interval=timedelta(milliseconds=100))) as store:
        log = ListLog()
        history = History(Side(store, log, persists=store.url != "memory:"), log, chance)
        steps = {
            history.append: 10,
            history.open: 5,
            history.deliver: 10,
            history.acknowledge: 8,
            history.acknowledge_what_was_lost: 2,
            history.close: 3,
            history.look: 4,
            history.pass_over: 2,
            history.reset: 1,
            history.delete: 1,
            history.restart: 1,
        }
        for step in chance.choices(list(steps), list(steps.values()), k=STEPS):
            print(step.__name__, log.head)
            await step()
        await history.side.close_streams()
