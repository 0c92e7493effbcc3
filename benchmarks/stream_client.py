"""The clients of the stream scenarios, in a process of their own: so that they take nothing from who appends.

Started by `benchmarks.workers`. Commands come as lines of JSON, each is answered by a line; the process ends with its
input, so with its parent. Calls hand bytes through: what is parsed here is parsed on purpose.
"""

import asyncio
import gc
import json
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, Final

import grpc
import uvloop

from benchmarks.ledger import CheckFailed, check
from benchmarks.replay_check import check_replay, frames_digest, says_caught_up
from benchmarks.subscribers import Subscribers
from factstr.v1 import event_store_service_pb2 as pb

Answer = Mapping[str, Any]

_LONGEST_LINE: Final = 64 * 1024 * 1024


class Client:
    """What one process remembers between its commands."""

    def __init__(self) -> None:
        self._subscribers: dict[str, Subscribers] = {}
        self._checked: dict[int, str] = {}
        self.commands: dict[str, Callable[..., Awaitable[Answer]]] = {
            "replay": self.replay,
            "subscribe": self.subscribe,
            "settle": self.settle,
            "latencies": self.latencies,
            "unsubscribe": self.unsubscribe,
        }

    async def replay(
        self,
        *,
        address: str,
        method: str,
        request: str,
        parse: bool,
        look: bool,
        log: Mapping[str, Any],
        record: str | None = None,
    ) -> Answer:
        """Takes a stream up to `caught_up`, and looks at each fact's number, type and payload where it should. `log`
        says what must have come; `record` is where the messages are put.
        """
        received: list[bytes] = []
        async with grpc.aio.insecure_channel(address) as channel:
            stream: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(method)
            call = stream(bytes.fromhex(request))
            cpu, begin = process_time(), perf_counter()
            async for raw in call:
                received.append(raw)
                if look:
                    _look_at(pb.StreamResponse.FromString(raw))
                elif parse:
                    pb.StreamResponse.FromString(raw)
                if says_caught_up(raw):
                    break
            seconds, cpu = perf_counter() - begin, process_time() - cpu
        digest = frames_digest(received)
        if digest not in self._checked:
            # The same bytes need not be looked at twice.
            check_replay(received, log)
            self._checked[digest] = json.dumps(log)
        check(self._checked[digest] == json.dumps(log), "the replay of one log brought the bytes of another")
        if record:
            _keep(received, Path(record))
        return {
            "seconds": seconds,
            "cpu_seconds": cpu,
            "messages": len(received),
            "bytes": sum(map(len, received)),
        }

    async def subscribe(
        self, *, name: str, address: str, method: str, requests: list[str], **options: Any
    ) -> Answer:
        """Opens streams; answers once all of them are registered."""
        subscribers = Subscribers(
            address, method, [bytes.fromhex(request) for request in requests], **options
        )
        self._subscribers[name] = subscribers
        begin = perf_counter()
        await subscribers.open()
        return {"seconds": perf_counter() - begin}

    async def settle(self, *, name: str, expected: list[tuple[int, int]]) -> Answer:
        """Waits until every stream has brought what it should, and compares."""
        return {"last_arrival": await self._subscribers[name].settled([(n, d) for n, d in expected])}

    async def unsubscribe(self, *, name: str) -> Answer:
        await self._subscribers.pop(name).close()
        return {}

    async def latencies(self, *, name: str, since: Mapping[str, float]) -> Answer:
        """How long after a time each batch came: to every stream, and to the last one. The times are by sequence
        number; deliveries are forgotten then.
        """
        every, last = self._subscribers[name].latencies({int(first): time for first, time in since.items()})
        return {"every": every, "last": last}


def _look_at(message: pb.StreamResponse) -> None:
    """What makes values of Python of what was parsed."""
    for batch in message.batches.batches:
        for record in batch.event_records:
            record.sequence_number, record.event_type, record.payload  # noqa: B018


def _keep(messages: list[bytes], file: Path) -> None:
    """For the server that has messages ready: each with its length in a line before it."""
    file.write_bytes(b"".join(b"%d\n%b" % (len(raw), raw) for raw in messages))


async def _main() -> None:
    reader = asyncio.StreamReader(limit=_LONGEST_LINE)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    client = Client()
    gc.collect()
    gc.disable()
    line = asyncio.ensure_future(reader.readline())
    while command := await line:
        line = asyncio.ensure_future(reader.readline())
        working = asyncio.ensure_future(_answer(client, json.loads(command)))
        await asyncio.wait((working, line), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():  # the parent has gone: it sends nothing before it is answered
            return
        print(json.dumps(working.result()), flush=True)
        gc.collect()


async def _answer(client: Client, command: dict[str, Any]) -> Answer:
    try:
        return await client.commands[command.pop("do")](**command)
    except CheckFailed as failed:
        return {"check_failed": str(failed)}
    except grpc.aio.AioRpcError as error:
        return {"check_failed": f"a stream ended with {error.code()}: {error.details()}"}


if __name__ == "__main__":
    uvloop.run(_main())
