"""A whole server but for gRPC itself: calls reach the edge as gRPC would hand them over, and leave it the same way."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

import grpc
from google.protobuf.descriptor import MethodDescriptor

from factstr_server.log.event_log import EventLog
from factstr_server.rpc.admission import Admission, CallLimits
from factstr_server.rpc.durable_stream_service import DurableStreamServicer
from factstr_server.rpc.edge import Edge
from factstr_server.rpc.event_store_service import EventStoreServicer
from factstr_server.rpc.server_service import ServerServicer
from factstr_server.settings import Settings

_LIMITS: Final = CallLimits((999, 999, 999), (999, 999, 999))


@dataclass
class _Details:
    method: str
    invocation_metadata: tuple[tuple[str, str | bytes], ...] = ()


class Call:
    """One call under way; also the context that its handler gets."""

    def __init__(self, method: MethodDescriptor, requests: list[bytes]) -> None:
        self.method = method
        self.requests = requests
        self.answers: list[bytes] = []
        self.status: grpc.Status | None = None
        """What refused it."""
        self.answered = asyncio.Event()
        """It has said something, or has ended."""
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"{self.method.name} {self.requests} -> {self.answers} {self.status}"

    def begin(self, handler: Any) -> None:
        self._task = asyncio.create_task(self._handled(handler))

    @property
    def ended(self) -> bool:
        assert self._task, "begun"
        return self._task.done()

    async def end(self) -> None:
        """Waits for the end. Raises what no handler may raise."""
        assert self._task, "begun"
        await self._task

    async def leave(self) -> None:
        """As a client that goes away."""
        assert self._task, "begun"
        self._task.cancel()
        await asyncio.wait([self._task])
        if not self._task.cancelled():
            self._task.result()

    async def _handled(self, handler: Any) -> None:
        try:
            if self.method.client_streaming:
                await handler.stream_stream(self._received(), self)
            elif self.method.server_streaming:
                await handler.unary_stream(self.requests[0], self)
            else:
                self.answers.append(await handler.unary_unary(self.requests[0], self))
        except grpc.aio.AbortError:
            assert self.status, "refused with a status"
        finally:
            self.answered.set()

    async def _received(self) -> AsyncIterator[bytes]:
        for request in self.requests:
            yield request

    # What gRPC's context does.

    def invocation_metadata(self) -> tuple[()]:
        return ()

    def peer(self) -> str:
        return "nowhere"

    def time_remaining(self) -> None:
        return None

    async def write(self, message: bytes) -> None:
        self.answers.append(message)
        self.answered.set()

    async def abort_with_status(self, status: grpc.Status) -> None:
        self.status = status
        raise grpc.aio.AbortError


class WithoutGrpc:
    """The services on one log."""

    def __init__(self, log: EventLog) -> None:
        settings = Settings()
        self._edge = Edge(Admission(_LIMITS, None))
        EventStoreServicer(log, settings).add_to(self._edge)
        DurableStreamServicer(log).add_to(self._edge)
        ServerServicer(log, settings).add_to(self._edge)

    def call(self, method: MethodDescriptor, requests: list[bytes]) -> Call:
        """Begins a call."""
        call = Call(method, requests)
        call.begin(self._edge.service(_Details(f"/{method.containing_service.full_name}/{method.name}")))
        return call
