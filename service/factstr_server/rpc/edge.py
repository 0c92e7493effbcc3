"""What every call passes through: headers, parsing, draining, and the mapping of failures to statuses.

Handlers get bytes and return bytes: requests are parsed here, so that what cannot be parsed gets our error, and records
are handed through as they are stored.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, contextmanager, suppress
from typing import Any, Final, NamedTuple, NoReturn, TypeAlias, TypeVar
from uuid import uuid4

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from factstr_server.contract.errors import Reason, Refusal, excerpt, server_busy, server_draining
from factstr_server.rpc.status import grpc_status
from factstr_server.rpc.unknown_fields import parse_request, unsupported_field

OFF_LOOP_BYTES: Final = 64 * 1024
"""A request above this is parsed, validated and encoded in a thread, so that the event loop goes on."""

MAX_LARGE_REQUEST_BYTES: Final = 128 * 1024 * 1024
"""Of such requests at once, from their arrival to their answer; beyond it SERVER_BUSY. Of pipelines, what is being cut,
parsed and prepared; beyond it they wait."""

_STUCK_SECONDS: Final = 5.0
"""Clients of which none takes anything for so long are not waited for when the server stops."""

_HEADER_PREFIX: Final = "factstr-"

_log = logging.getLogger(__name__)

T = TypeVar("T")
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Context: TypeAlias = grpc.aio.ServicerContext[bytes, bytes]


class Call(NamedTuple):
    """What a handler may want to know of a call beside its request."""

    size: int
    """Of the request, in bytes."""
    context: Context

    @property
    def peer(self) -> str:
        """Where the caller is, for people."""
        return str(self.context.peer())


Unary: TypeAlias = Callable[[Any, Call], Awaitable[Message | bytes]]
"""Answers a request message with a message, encoded or not."""
Streaming: TypeAlias = Callable[[Any, Call], AsyncGenerator[bytes, None]]
"""Answers a request message with encoded response messages."""
InTurn: TypeAlias = Callable[[int], AbstractAsyncContextManager[None]]
"""The time for which something large, of so many bytes, is worked on; it begins when there is room for that."""
Pipelined: TypeAlias = Callable[[AsyncIterator[bytes], InTurn], AsyncGenerator[bytes, None]]
"""Answers encoded request messages, which it reads as it has room for them, with encoded response messages. While it
works on something large it waits for nothing that only its client can give.
"""


class Edge:
    """Makes gRPC handlers of a servicer's methods, and counts the calls under way."""

    def __init__(self) -> None:
        self.draining = False
        self._while_draining: set[str] = set()
        self._under_way = 0
        self._large_bytes = 0
        self._large_done = asyncio.Event()
        self._idle = asyncio.Event()
        self._sending = 0
        """Calls that wait for their client to take a message."""
        self._sent = 0

    async def drain(self, end_streams: Callable[[], None]) -> None:
        """Turns new calls away with SERVER_DRAINING, ends those that would never end, and waits for all others, but not
        for clients of which none takes what is left to be sent.
        """
        self.draining = True
        end_streams()
        while self._under_way:
            sent = self._sent
            with suppress(TimeoutError):
                async with asyncio.timeout(_STUCK_SECONDS):
                    await self._idle.wait()
            if self._sending == self._under_way and self._sent == sent:
                return

    @contextmanager
    def _call(self, context: Context, method: MethodDescriptor) -> Iterator[None]:
        """The length of a call; refuses it before its request is looked at."""
        self._under_way += 1
        try:
            self._admit(context, method)
            yield
        finally:
            self._under_way -= 1
            if self.draining and not self._under_way:
                self._idle.set()

    @contextmanager
    def _worked_on(self, size: int) -> Iterator[None]:
        """The time for which a request takes memory: of a stream, until its first answer. Refuses a large one when
        there are too many.
        """
        large = size if size > OFF_LOOP_BYTES else 0
        if large and self._large_bytes + large > MAX_LARGE_REQUEST_BYTES:
            raise server_busy(
                f"{self._large_bytes} bytes of large requests are being worked on",
                limit=MAX_LARGE_REQUEST_BYTES,
                actual=self._large_bytes + large,
            )
        self._large_bytes += large
        try:
            yield
        finally:
            self._large_bytes -= large
            if large:
                self._large_done.set()

    @asynccontextmanager
    async def _in_turn(self, size: int) -> AsyncIterator[None]:
        """`_worked_on` for who can wait."""
        while self._large_bytes + size > MAX_LARGE_REQUEST_BYTES:
            self._large_done.clear()
            await self._large_done.wait()
        with self._worked_on(size):
            yield

    def handlers(
        self,
        service: ServiceDescriptor,
        unary: Mapping[str, Unary],
        streaming: Mapping[str, Streaming] | None = None,
        pipelined: Mapping[str, Pipelined] | None = None,
        while_draining: Iterable[str] = (),
    ) -> grpc.GenericRpcHandler:
        """Handlers for every RPC of the service. Those named in `while_draining` are served until the ports close."""
        streaming, pipelined = streaming or {}, pipelined or {}
        self._while_draining.update(f"{service.full_name}.{name}" for name in while_draining)
        methods: dict[str, Handler] = {}
        for method in service.methods:
            if method.name in unary:
                methods[method.name] = grpc.unary_unary_rpc_method_handler(
                    self._unary(method, unary[method.name])
                )
            elif method.name in streaming:
                methods[method.name] = grpc.unary_stream_rpc_method_handler(
                    self._streaming(method, streaming[method.name])
                )
            else:
                methods[method.name] = grpc.stream_stream_rpc_method_handler(
                    self._pipelined(method, pipelined[method.name])
                )
        return grpc.method_handlers_generic_handler(service.full_name, methods)

    def _unary(self, method: MethodDescriptor, handle: Unary) -> Callable[[bytes, Context], Awaitable[bytes]]:
        kind = GetMessageClass(method.input_type)

        async def call(raw: bytes, context: Context) -> bytes:
            try:
                with self._call(context, method), self._worked_on(len(raw)):
                    response = await handle(await self._parse(kind, raw), Call(len(raw), context))
                    return response if isinstance(response, bytes) else response.SerializeToString()
            except Exception as error:  # noqa: BLE001  (a defect becomes INTERNAL with an id)
                await _abort(context, error, method)

        return call

    def _streaming(
        self, method: MethodDescriptor, handle: Streaming
    ) -> Callable[[bytes, Context], Awaitable[None]]:
        kind = GetMessageClass(method.input_type)

        async def call(raw: bytes, context: Context) -> None:
            try:
                with self._call(context, method):
                    await self._answer(context, kind, raw, handle)
            except Exception as error:  # noqa: BLE001  (a defect becomes INTERNAL with an id)
                await _abort(context, error, method)

        return call

    def _pipelined(
        self, method: MethodDescriptor, handle: Pipelined
    ) -> Callable[[AsyncIterator[bytes], Context], Awaitable[None]]:
        async def call(requests: AsyncIterator[bytes], context: Context) -> None:
            try:
                with self._call(context, method):
                    async with aclosing(handle(requests, self._in_turn)) as responses:
                        async for response in responses:
                            await self._write(context, response)
            except Exception as error:  # noqa: BLE001  (a defect becomes INTERNAL with an id)
                await _abort(context, error, method)

        return call

    async def _answer(self, context: Context, kind: type[Message], raw: bytes, handle: Streaming) -> None:
        with self._worked_on(len(raw)):
            responses = handle(await self._parse(kind, raw), Call(len(raw), context))
            first = await anext(responses, None)
        async with aclosing(responses):
            if first is not None:
                await self._write(context, first)
            async for response in responses:
                await self._write(context, response)

    async def _write(self, context: Context, response: bytes) -> None:
        self._sending += 1
        try:
            with _client_may_have_gone():
                await context.write(response)
            self._sent += 1
        finally:
            self._sending -= 1

    def _admit(self, context: Context, method: MethodDescriptor) -> None:
        if self.draining and method.full_name not in self._while_draining:
            raise server_draining()
        for key, _ in context.invocation_metadata() or ():
            if key.startswith(_HEADER_PREFIX):
                raise unsupported_field(
                    f"metadata[{excerpt(key)}]", 0, "a header that this server does not know"
                )

    async def _parse(self, kind: type[Message], raw: bytes) -> Message:
        return await off_loop_if_large(len(raw), parse_request, kind, raw)


async def off_loop_if_large(size: int, work: Callable[..., T], *arguments: object) -> T:
    """Runs pure work here, or in a thread where its input is large."""
    if size > OFF_LOOP_BYTES:
        return await asyncio.to_thread(work, *arguments)
    return work(*arguments)


@contextmanager
def _client_may_have_gone() -> Iterator[None]:
    """Around what is sent. When that fails, the client has gone or its deadline has passed: nobody is there to be told,
    and nothing is wrong here.
    """
    try:
        yield
    except grpc.aio.AbortError:  # how gRPC ends a call with a status
        raise
    except Exception as error:
        raise asyncio.CancelledError from error


async def _abort(context: Context, error: Exception, method: MethodDescriptor) -> NoReturn:
    if not isinstance(error, Refusal):
        error = _internal(error, method)
    with _client_may_have_gone():
        await context.abort_with_status(grpc_status(error))


def _internal(error: Exception, method: MethodDescriptor) -> Refusal:
    """A defect: what happened goes to the log, and only its id to the caller."""
    error_id = uuid4().hex
    _log.error("error_id=%s in %s", error_id, method.full_name, exc_info=error)
    return Refusal(
        Reason.INTERNAL,
        f"the server failed; its log says more under {error_id}",
        metadata={"error_id": error_id},
    )
