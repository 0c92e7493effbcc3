"""Everything that calls one server: a mix of all calls at a bounded rate, and the verdict on what came of it.

It can be begun and ended again and again. When it has ended, no call of it is open and no connection but two.
"""

import asyncio
import gc
from collections.abc import Coroutine, Sequence
from random import Random
from typing import Final, Protocol

from tests.conformance.streams import Batch
from tests.histories.history import Committed, History
from tests.histories.linearizability import problems
from tests.reliability.endurance.appending import NOTHING, Decider, Desks, come_and_go
from tests.reliability.endurance.calling import CONSUMED, Caller
from tests.reliability.endurance.delivered import check_delivered
from tests.reliability.endurance.filling import fill
from tests.reliability.endurance.naming import Name
from tests.reliability.endurance.pace import Pace
from tests.reliability.endurance.visiting import Visitor
from tests.reliability.load.consuming import Consumption
from tests.reliability.load.following import Follower
from tests.reliability.load.pipelining import Pipeline
from tests.reliability.load.workload import check_acknowledged
from tests.reliability.part import Figures
from tests.sharing.accounts import ALL, OF_ACCOUNT, logged
from tests.sharing.recording import whole_log
from tests.sharing.servers import Remote
from tests.sharing.writing import write_the_end

MOST_OPEN_CALLS: Final = 60
"""That it has at once."""

MOST_CONNECTIONS: Final = 12

_ENDING_SECONDS: Final = 30.0


class Worker(Protocol):
    async def work(self, pace: Pace, ending: asyncio.Event) -> None: ...


class Mix:
    """On one log, from its first fact to the end."""

    def __init__(self, store: Remote, rival: Remote, chance: Random, turns_per_second: float) -> None:
        """`rival` is another connection to the same server. Most turns make several calls."""
        self._turns_per_second = turns_per_second
        self._history = History()
        self._store, self._rival = store, rival
        self._chance = chance

    async def fill(self) -> None:
        """To be called first."""
        await fill(self._store, self._history, self._draws("fill"))
        self._set_up(await self._store.head())

    def _set_up(self, head: int) -> None:
        store, history, draws, desks = self._store, self._history, self._draws, Desks(3)
        self._deciders = [
            Decider(f"decider {n}", store, history, draws("decider", n), desks) for n in range(3)
        ]
        self._pipelines = [
            Pipeline(f"pipeline {n}", store, history, NOTHING, draws("pipe", n)) for n in range(1)
        ]
        self._visitors = [Visitor(store, head, draws("visitor", n)) for n in range(6)]
        self._names = [
            Name(f"name {n}", selection, store, draws("name", n))
            for n, selection in enumerate((ALL, OF_ACCOUNT))
        ]
        self._callers = [Caller(f"caller {n}", store, draws("caller", n)) for n in range(3)]
        self._consumptions = [
            Consumption(selection.name, selection, NOTHING, draws(selection.name), leaving=0.1)
            for selection in CONSUMED
        ]
        self._workers: list[Worker] = [*self._deciders, *self._visitors, *self._names, *self._callers]
        self._follower = Follower([store], ALL, None, NOTHING, draws("follower"))

    def _draws(self, *names: object) -> Random:
        return Random(f"{self._chance.random()} {names}")

    async def go(self, seconds: float) -> None:
        """Raises what anything of it has raised."""
        pace, ending = Pace(self._turns_per_second), asyncio.Event()
        in_turn = [
            *(worker.work(pace, ending) for worker in self._workers),
            *(come_and_go(each, pace, ending, self._draws("come and go")) for each in self._pipelines),
        ]
        tasks = list(map(asyncio.create_task, in_turn))
        lasting = list(map(asyncio.create_task, self._reading()))
        try:
            await _first_failure((*tasks, *lasting), seconds)
            ending.set()
            await _first_failure(tasks, _ENDING_SECONDS)
            assert all(task.done() for task in tasks), f"a call has no answer after {_ENDING_SECONDS} s"
        finally:
            for task in (*tasks, *lasting):
                task.cancel()
            await asyncio.gather(*tasks, *lasting, return_exceptions=True)
        # A call that is over holds its connection until the collector finds it.
        gc.collect()

    def _reading(self) -> list[Coroutine[object, object, None]]:
        """What goes on where it has been interrupted, until the log's end."""
        rivals = ((self._store,), (self._rival,))
        return [self._follower.follow(), *(each.consume(rivals) for each in self._consumptions)]

    async def end(self) -> None:
        """Ends the log, and returns when those that read it all the time have come there."""
        await write_the_end(self._store, self._history)
        async with asyncio.timeout(_ENDING_SECONDS):
            await asyncio.gather(*self._reading())

    async def verdict(self) -> None:
        """After the end: holds the log, streams and cursors to all that was seen."""
        log = await whole_log(self._store)
        for consumption in self._consumptions:
            assert (await self._store.durable(consumption.name)).cursor == log[-1].last
        listed = await self._store.list_durable()
        assert {*listed.names} == {
            *(consumption.name for consumption in self._consumptions),
            *(name.name for name in self._names if name.exists),
        }
        # Takes long, and others go on meanwhile.
        await asyncio.to_thread(self._check, log)

    def _check(self, log: Sequence[Batch]) -> None:
        found = problems(self._history, logged(log))
        assert not found, "\n".join(found[:20])
        check_acknowledged(self._deciders, self._pipelines, [fact for batch in log for fact in batch.facts])
        check_delivered([delivery for visitor in self._visitors for delivery in visitor.deliveries], log)
        check_delivered([delivery for name in self._names for delivery in name.deliveries], log)
        self._follower.check(log)
        for consumption in self._consumptions:
            consumption.check(log)

    def figures(self) -> Figures:
        return {
            "appends acknowledged": sum(
                isinstance(call.outcome, Committed) for call in self._history.appends
            ),
            "appends abandoned": sum(decider.abandoned for decider in self._deciders),
            "conflicts": sum(decider.conflicts for decider in self._deciders),
            "leases": sum(len(each.leases) for each in self._consumptions),
        }


async def _first_failure(tasks: Sequence[asyncio.Task[None]], seconds: float) -> None:
    """Waits for all of them, or for so long; raises what the first one raises."""
    done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
    for task in done:
        task.result()
