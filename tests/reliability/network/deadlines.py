"""Calls with a deadline on a dead link: they end at their deadline, and their keys settle what came of them, also when
the link gives out afterwards what was on its way.
"""

import asyncio
import time
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from typing import Final

from tests.conformance.driver import Failure, NewFact, of_type
from tests.reliability.load.excuses import NETWORK_FAILS
from tests.reliability.network.calling import Caller
from tests.reliability.network.link import BLOCKED, DEAD, Link, Ways
from tests.reliability.network.served import served, stopped
from tests.sharing.recording import whole_log
from tests.sharing.servers import Remote
from tests.stores.opened import url_of

_DEADLINE_SECONDS: Final = 0.5
_LATE_SECONDS: Final = 3.0
"""No call takes longer than so much more. A busy machine may take a part of it."""

_TRIED: Final = {
    "dead": DEAD,
    "dead towards the server": Ways(up=BLOCKED),
    "dead towards the client": Ways(down=BLOCKED),
}


async def deadlines(folder: Path, chance: Random) -> Counter[str]:
    async with AsyncExitStack() as stack:
        [server] = await served(stack, [url_of(folder / "facts.db")], folder)
        direct = await stack.enter_async_context(Remote(server.address()))
        figures: Counter[str] = Counter()
        for name, ways in _TRIED.items():
            for thaw in (True, False):
                link = await stack.enter_async_context(Link.to(server.address(), chance))
                caller = await stack.enter_async_context(Caller(link.address, _DEADLINE_SECONDS))
                figures += await _tried(f"{name}, {thaw}", link, ways, caller, direct, thaw=thaw)
        await stopped(server)
    return figures


async def _tried(
    name: str, link: Link, ways: Ways, caller: Remote, direct: Remote, *, thaw: bool
) -> Counter[str]:
    """One append with a key, one with a condition too, one without; each of a type of its own."""
    types = [f"{name}, {which}" for which in ("keyed", "conditional", "without a key")]
    keyed, conditional, bare = ([NewFact(each)] for each in types)
    context = of_type(types[1])
    await caller.head()
    link.meets(ways)
    began = time.monotonic()
    failures = await asyncio.gather(
        caller.append(keyed, key=types[0]),
        caller.append_if(conditional, context, None, key=types[1]),
        caller.append(bare),
        return_exceptions=True,
    )
    took = time.monotonic() - began
    assert took >= _DEADLINE_SECONDS - 0.05, f"{name}: {took}"
    assert took <= _DEADLINE_SECONDS + _LATE_SECONDS, f"{name}: ended after {took:.1f} s"
    for failure in failures:
        assert isinstance(failure, Failure), failure
        assert (failure.code, failure.reason) == ("DEADLINE_EXCEEDED", ""), failure
    # What was committed before, and its answer lost, is repeated now; what was not is committed now.
    arrived = not ways.up.blocked
    settled = [
        await direct.append(keyed, key=types[0]),
        await direct.append_if(conditional, context, None, key=types[1]),
    ]
    assert [answer.repeated for answer in settled] == [arrived, arrived], f"{name}: {settled}"
    await link.mend(thaw=thaw)
    # Whatever still arrives does so before this, on the same connection if it lasted.
    await _gets_through(caller)
    assert [answer.as_repeat for answer in settled] == [
        await direct.append(keyed, key=types[0]),
        await direct.append_if(conditional, context, None, key=types[1]),
    ]
    found = Counter(fact.event_type for batch in await whole_log(direct) for fact in batch.facts)
    assert [found[each] for each in types[:2]] == [1, 1], f"{name}: {found}"
    assert found[types[2]] in ((1,) if arrived else (0, 1)), f"{name}: {found}"
    return Counter({"calls ended at their deadlines": len(failures)})


async def _gets_through(caller: Remote) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                await caller.append([NewFact("after it")], key=caller.address)
                return
            except Failure as failure:
                if not NETWORK_FAILS(failure):
                    raise
