"""Rolling upgrades: two servers on one PostgreSQL, each of its own version, replaced one after the other under load.

A server keeps its address, as pods behind a service do, so that its clients come back to the version that is there
then.
"""

from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from typing import Final, NamedTuple

from tests.conformance.driver import Driver, refused
from tests.conformance.streams import Batch
from tests.copying.content import connected, schema_of
from tests.postgres.fresh import fresh_url
from tests.reliability.crash.mortal import MortalServer, Returning
from tests.reliability.load.excuses import SERVER_DIES
from tests.reliability.load.logs import log_in_schema
from tests.reliability.load.workload import Workload
from tests.reliability.upgrade.earlier import environment_of
from tests.sharing.writing import Excused


class Neighbour(NamedTuple):
    """An earlier version that today's may stand beside: one with the same format."""

    commit: str
    most_pipelines: int
    """Clients that append through AppendStream, if it offers that."""


NEIGHBOURS: Final = {
    # The first one whose format has its last shape.
    "7e7765b": Neighbour("7e7765b115e40ed8e1fd24e35654923c28285e7f", 0),
    # The last one before admission, telemetry and backups.
    "f5579a4": Neighbour("f5579a4313627e4495fcde53b0b6e71402ca0c25", 1),
}

OLD, NEW, NONE = "old", "new", "none"

STATES: Final = (
    (OLD, NONE),
    (OLD, NEW),
    (NONE, NEW),
    # And back.
    (OLD, NEW),
    (OLD, NONE),
    # All the way.
    (OLD, NEW),
    (NEW, NEW),
)
"""Which versions run at the two addresses, one state after the other."""

_REPLACED: Final = Excused(frozenset({"SERVER_DRAINING"}), frozenset({""}))
"""What clients may see of a server that is replaced in order: it says so, or it is not there. Its store answers."""


class Rollout:
    """One log, from its first fact to the end."""

    def __init__(self, neighbour: Neighbour, folder: Path, chance: Random, *, rough: bool = False) -> None:
        """A rough one kills some servers instead of stopping them. Raises NoHistory."""
        self._neighbour = neighbour
        self._chance = chance
        self._rough = rough
        self._url = fresh_url(folder)
        self._environments = {OLD: environment_of(neighbour.commit, folder), NEW: {}}
        self._servers = [MortalServer(folder, self._url, name=name) for name in ("a", "b")]
        self._running = [NONE, NONE]
        self._figures = Counter({"rolling upgrades": 1})

    async def run(self, commits: int) -> Counter[str]:
        """With about so many appends acknowledged in each state."""
        async with AsyncExitStack() as stack:
            for server in self._servers:
                stack.callback(server.kill)
            stores = [await stack.enter_async_context(Returning(server.address)) for server in self._servers]
            work = Workload(
                stores,
                SERVER_DIES if self._rough else _REPLACED,
                self._chance,
                writers=4,
                pipelines=self._chance.randint(0, self._neighbour.most_pipelines),
            )
            stack.push_async_callback(work.abandon)
            work.begin()
            for state in STATES:
                await self._become(state)
                await work.made(self._chance.randint(commits // 2, commits))
                if NONE not in state:
                    await self._hand_over(*stores)
                work.check_history(self._log())
            await work.end()
            log = await work.verdict(stores[0])
            assert await work.verdict(stores[1]) == log == self._log()
        return self._figures + Counter(work.figures())

    async def _become(self, state: tuple[str, str]) -> None:
        """What is to run and does not is started first, as a rollout does it."""
        changed = [place for place in (0, 1) if self._running[place] != state[place]]
        for place in sorted(changed, key=lambda place: self._running[place] != NONE):
            server = self._servers[place]
            if self._running[place] != NONE:
                if self._rough and self._chance.random() < 0.3:
                    server.kill()
                else:
                    await server.stop()
                self._figures["servers replaced or stopped"] += 1
            if state[place] != NONE:
                await server.start(**self._environments[state[place]])
            self._running[place] = state[place]

    async def _hand_over(self, one: Driver, other: Driver) -> None:
        """A durable stream goes on at the other server where it was left, and back; each takes the other's tokens."""
        name = f"handed over {self._figures['durable streams handed over']}"
        cursor, epoch, left = 0, 0, ""
        for here, there in ((one, other), (other, one), (one, other)):
            async with here.stream_all_durable(name) as consumer:
                started = await consumer.started()
                assert started.after == cursor, "it goes on where the other server left it"
                assert started.lease_epoch > epoch
                with refused("DURABLE_STREAM_ACTIVE"):
                    async with there.stream_all_durable(name) as rival:
                        await rival.started()
                if left:
                    with refused("DURABLE_STREAM_LEASE_LOST"):
                        await there.acknowledge(name, left)
                first, second = await consumer.batches(2)
                cursor = await there.acknowledge(name, first.token)
                assert cursor == first.last
                epoch, left = started.lease_epoch, second.token
            await there.free(name)
        self._figures["durable streams handed over"] += 1

    def _log(self) -> list[Batch]:
        with connected(self._url) as connection:
            return log_in_schema(connection, schema_of(self._url))
