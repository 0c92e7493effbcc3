"""A server and its clients in networks of their own, tied by cables: a program that is run for that.

Its process leaves the network of the machine for good. It says what came of it as JSON, or why it is not allowed.
"""

import asyncio
import ctypes
import json
import signal
import sys
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from random import Random
from typing import Final, NoReturn

from tests.operations.process import ServerProcess
from tests.reliability.network.cable import Cable, carry, device, enter_new_network
from tests.reliability.network.calling import Caller
from tests.reliability.network.leases import Loss, seconds_to_move
from tests.reliability.network.storm import Storm, Weather
from tests.reliability.network.storms import weathered
from tests.reliability.part import Figures
from tests.sharing.servers import HEARTBEAT, Remote
from tests.stores.opened import url_of

NOT_ALLOWED: Final = 77
"""The exit code where the machine does not allow it."""

_PORT: Final = 50051
_STORM_CABLES: Final = 4
_CABLES: Final = 3 + _STORM_CABLES
_PR_SET_PDEATHSIG: Final = 1


def main() -> None:
    folder, faults, longest, seed = sys.argv[1:]
    # Whoever wants to know what comes of it is gone then.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    with ExitStack() as stack:
        try:
            enter_new_network()
            far = [device(f"far{n}", f"10.0.{n}.2") for n in range(_CABLES)]
            server = stack.enter_context(_server(Path(folder)))
            enter_new_network()
            near = [device(f"near{n}", f"10.0.{n}.1") for n in range(_CABLES)]
        except OSError as error:
            _not_allowed(error)
        server.ready()
        chance = Random(seed)
        cables = [Cable(*ends, chance) for ends in zip(near, far, strict=True)]
        figures = asyncio.run(_tried(cables, Weather(int(faults), float(longest)), chance))
        server.end_input()
        assert server.ended() == 0, server.said
    print(json.dumps(figures))


def _server(folder: Path) -> ServerProcess:
    return ServerProcess(
        folder / "server.log",
        *("--store", url_of(folder / "facts.db"), "--listen", f"0.0.0.0:{_PORT}", "--insecure"),
        *("--heartbeat-interval", str(HEARTBEAT.total_seconds()), "--drain-seconds", "2", "--stop-at-eof"),
    )


def _not_allowed(error: OSError) -> NoReturn:
    print(f"no networks of its own here: {error}")
    sys.exit(NOT_ALLOWED)


async def _tried(cables: list[Cable], weather: Weather, chance: Random) -> Figures:
    """A storm on most cables, and meanwhile a consumer whose cable is dead."""
    carry(cables)
    stream, call, _, *stormy = cables
    addresses = [f"10.0.{n}.2:{_PORT}" for n in range(_CABLES)]
    async with AsyncExitStack() as stack:
        streams = await stack.enter_async_context(Caller(addresses[0]))
        calls, direct = [await stack.enter_async_context(Remote(address)) for address in addresses[1:3]]

        async def find() -> None:
            stream.work()
            call.work()

        loss = Loss("dead cable", streams, calls, direct, lose=stream.die, holds=call.die, find=find)
        figures, seconds = await asyncio.gather(
            weathered(addresses[3:], Storm(stormy, weather, chance), [direct], chance), seconds_to_move(loss)
        )
    return {
        **dict(figures),
        "packets lost": sum(cable.lost for cable in cables),
        "leases moved": 1,
        "late acknowledgements refused": 1,
        "longest move of a lease, SQLite, dead cable, seconds": round(seconds, 1),
    }


if __name__ == "__main__":
    main()
