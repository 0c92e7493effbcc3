"""Makes calls with whatever bytes, and remembers what was acknowledged and what should not have been answered."""

import asyncio
import random
from collections import Counter
from contextlib import suppress
from typing import Any, Final

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.rpc import error_details_pb2, status_pb2

from factstr.v1 import errors_pb2
from factstr.v1 import event_store_service_pb2 as pb
from tests.fuzzing import http2
from tests.fuzzing.requests import Request, broken, extreme

APPEND: Final = http2.APPEND.decode()

LEFT: Final = frozenset({grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED})
"""How a call ends here when it was this side that ended it."""

_PATIENCE_SECONDS: Final = 30.0
"""For an answer that must come."""

_WAIT_SECONDS: Final = 0.2
"""For one that need not."""


class Calls:
    """To one server, over several connections."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._channels = [
            grpc.aio.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) for _ in range(4)
        ]
        self.acknowledged: set[tuple[int, int]] = set()
        """First and last sequence numbers of appends."""
        self.outcomes: Counter[str] = Counter()
        """How often calls ended with which reason, or were answered."""
        self.complaints: list[str] = []
        """Answers that no request may have, with what it takes to repeat them."""

    async def close(self) -> None:
        for channel in self._channels:
            await channel.close()

    async def run(self, seed: int, numbers: range, at_once: int = 24) -> None:
        """The requests with these numbers. Each depends on the seed and its number alone."""
        waiting = iter(numbers)

        async def work() -> None:
            for number in waiting:
                await self._one(random.Random(f"{seed}/{number}"), number)

        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(work())

    async def _one(self, chance: random.Random, number: int) -> None:
        kind = chance.choices((self._attack, self._broken, self._extreme, self._foreign), (20, 45, 34, 1))[0]
        try:
            await kind(chance)
        except AssertionError as wrong:
            self.complaints.append(f"request {number}: {wrong}")

    async def _attack(self, chance: random.Random) -> None:
        """On a connection of its own, which is left with or without a farewell."""
        self.outcomes["(bytes)"] += 1
        host, _, port = self._address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        with suppress(OSError, TimeoutError):
            writer.write(http2.attack(chance))
            async with asyncio.timeout(chance.choice((0.0, 0.02, 0.1))):
                await writer.drain()
                while await reader.read(65_536):
                    pass
        if chance.random() < 0.5:
            writer.transport.abort()
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    async def _broken(self, chance: random.Random) -> None:
        await self._call(chance, broken(chance))

    async def _extreme(self, chance: random.Random) -> None:
        await self._call(chance, extreme(chance))

    async def _foreign(self, chance: random.Random) -> None:
        """What gRPC itself refuses, before the server sees it: these have no ErrorInfo."""
        channel = chance.choice(self._channels)
        path, body, metadata, code = chance.choice(
            (
                ("/factstr.v1.EventStoreService/Nothing", b"", (), grpc.StatusCode.UNIMPLEMENTED),
                ("/factstr.v2.EventStoreService/Append", b"", (), grpc.StatusCode.UNIMPLEMENTED),
                (APPEND, b"\0" * (2**24 + 1), (), grpc.StatusCode.RESOURCE_EXHAUSTED),
                (APPEND, b"", (("x-large", "z" * 70_000),), grpc.StatusCode.RESOURCE_EXHAUSTED),
            )
        )
        call: Any = channel.unary_unary(path)
        answered = call(body, metadata=metadata, timeout=_PATIENCE_SECONDS)
        found = await answered.code()
        assert found is code, f"{path} of {len(body)} bytes: {found} {await answered.details()}"
        self.outcomes[f"(gRPC's {code.name})"] += 1

    async def _call(self, chance: random.Random, request: Request) -> None:
        channel = chance.choice(self._channels)
        method = request.method
        try:
            if method.client_streaming:
                await self._pipelined(channel, request)
            elif method.server_streaming:
                await self._stream(channel, request, messages=chance.choice((1, 1, 2, 3)))
            else:
                await self._unary(channel, request)
            self.outcomes["(answered)"] += 1
        except grpc.aio.AioRpcError as error:
            reason = _reason(error)
            self.outcomes[reason] += 1
            shown = f"{method.name} {request.messages!r:.500}: {error.code()} {error.details()}"
            own = error.code() in LEFT and _may_wait(method)
            # What this side makes of a message that it could not write any more.
            own |= method.client_streaming and error.details() == "Internal error from Core"
            assert reason or own, f"no ErrorInfo: {shown}"
            assert reason not in {"INTERNAL", "APPEND_OUTCOME_UNKNOWN", "STORE_CORRUPT"}, shown

    async def _unary(self, channel: grpc.aio.Channel, request: Request) -> None:
        method = request.method
        call: Any = channel.unary_unary(_path(method))
        seconds = _WAIT_SECONDS if _may_wait(method) else _PATIENCE_SECONDS
        answer = await call(request.messages[0], timeout=seconds)
        if method.output_type is pb.AppendResponse.DESCRIPTOR:
            self._committed(pb.AppendResponse.FromString(answer))

    async def _stream(self, channel: grpc.aio.Channel, request: Request, messages: int) -> None:
        """Reads a few messages, and leaves."""
        opened: Any = channel.unary_stream(_path(request.method))
        call = opened(request.messages[0], timeout=_WAIT_SECONDS if messages > 1 else _PATIENCE_SECONDS)
        for _ in range(messages):
            if await call.read() is grpc.aio.EOF:
                break
        call.cancel()

    async def _pipelined(self, channel: grpc.aio.Channel, request: Request) -> None:
        opened: Any = channel.stream_stream(_path(request.method))
        call = opened(timeout=_PATIENCE_SECONDS)
        # The server may end the call before it has all; why is said where its answers are read.
        with suppress(asyncio.InvalidStateError, grpc.aio.AioRpcError):
            for message in request.messages:
                await call.write(message)
            await call.done_writing()
        while (answer := await call.read()) is not grpc.aio.EOF:
            for outcome in pb.AppendStreamResponse.FromString(answer).outcomes:
                if outcome.HasField("committed"):
                    self._committed(outcome.committed)
                else:
                    reason = errors_pb2.ErrorReason.Name(outcome.failure.reason)
                    assert reason not in {"ERROR_REASON_UNSPECIFIED", "ERROR_REASON_INTERNAL"}, outcome

    def _committed(self, answer: pb.AppendResponse) -> None:
        self.acknowledged.add((answer.first_sequence_number, answer.last_sequence_number))


def _path(method: MethodDescriptor) -> str:
    return f"/{method.containing_service.full_name}/{method.name}"


def _may_wait(method: MethodDescriptor) -> bool:
    """Whether it may take as long as it likes to answer."""
    return method.name == "AwaitDurableStream" or (method.server_streaming and not method.client_streaming)


def _reason(error: grpc.aio.AioRpcError) -> str:
    """In the ErrorInfo; empty where there is none."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            for detail in status_pb2.Status.FromString(value).details:
                info = error_details_pb2.ErrorInfo()
                if detail.Unpack(info):
                    return str(info.reason)
    return ""
