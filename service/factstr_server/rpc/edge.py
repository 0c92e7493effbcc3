"""What every call passes through: headers, parsing, draining, and the mapping of failures to statuses.

Handlers get bytes and return bytes: requests are parsed here, so that what cannot be parsed gets our error, and records
are handed through as they are stored.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from time import perf_counter
from typing import Any, Final, NamedTuple, NoReturn, TypeAlias, TypeVar
from uuid import uuid4

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from factstr_server.access.awaited_requests import request_came
from factstr_server.access.callers import Caller
from factstr_server.contract.errors import Reason, Refusal, server_busy
from factstr_server.log.tracing import Tracing
from factstr_server.rpc.admission import Admission, still_valid
from factstr_server.rpc.call import CANCELLED, DEADLINE_EXCEEDED, OK, EndedCall, Rpc, request_id
from factstr_server.rpc.status import CODES, grpc_status
from factstr_server.rpc.unknown_fields import parse_request

OFF_LOOP_BYTES: Final = 64 * 1024
"""A request above this is parsed, validated and encoded in a thread, so that the event loop goes on."""

MAX_LARGE_REQUEST_BYTES: Final = 128 * 1024 * 1024
"""Of such requests at once, from their arrival to their answer; beyond it SERVER_BUSY. Of pipelines, what is being cut,
parsed and prepared; beyond it they wait."""

_STUCK_SECONDS: Final = 5.0
"""Clients of which none takes anything for so long are not waited for when the server stops."""

_QUIET_SECONDS: Final = 0.1
_MOST_QUIET_TURNS: Final = 10
"""How long nobody may have called when the ports close, and how often that is waited for."""

_log = logging.getLogger(__name__)

T = TypeVar("T")
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Context: TypeAlias = grpc.aio.ServicerContext[bytes, bytes]


class Call(NamedTuple):
    """What a handler may want to know of a call beside its request."""

    size: int
    """Of the request, in bytes."""
    context: Context
    caller: Caller

    @property
    def by_whom(self) -> str:
        """Who calls, and where from, for people."""
        peer = str(self.context.peer())
        return f"{self.caller.name} at {peer}" if self.caller.name else peer


class Answering(NamedTuple):
    """A call that is answered with many messages."""

    rpc: Rpc
    context: Context
    caller: Caller


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


_caller: ContextVar[Caller | None] = ContextVar("caller", default=None)
"""Whom the headers of the call under way have named."""


class Edge(grpc.GenericRpcHandler):
    """All RPCs of a server as gRPC handlers, made of servicers' methods; and the calls under way."""

    def __init__(self, admission: Admission, tracing: Tracing | None = None) -> None:
        self._admission = admission
        self._tracing = tracing
        self._handlers: dict[str, tuple[Rpc, Handler]] = {}
        self._under_way = 0
        self._large_bytes = 0
        self._large_done = asyncio.Event()
        self._idle = asyncio.Event()
        self._turned_away = 0
        """Calls that were refused before their request was read."""
        self._sending = 0
        """Calls that wait for their client to take a message."""
        self._sent = 0
        self.refusals: Counter[str] = Counter()
        """How many calls have failed, by reason."""
        self.on_ended: Callable[[EndedCall], None] | None = None
        """Is told of each call that has ended."""

    @property
    def draining(self) -> bool:
        return self._admission.draining

    @property
    def rpcs(self) -> Iterable[Rpc]:
        return (rpc for rpc, _ in self._handlers.values())

    async def drain(self, end_streams: Callable[[], None]) -> None:
        """Turns new calls away with SERVER_DRAINING, ends those that would never end, and waits for all others, but not
        for clients of which none takes what is left to be sent.
        """
        self._admission.draining = True
        end_streams()
        while self._under_way:
            sent = self._sent
            with suppress(TimeoutError):
                async with asyncio.timeout(_STUCK_SECONDS):
                    await self._idle.wait()
            if self._sending == self._under_way and self._sent == sent:
                return

    async def quiet(self) -> None:
        """While draining: waits a moment for what clients send after the last answers, so that it is turned away with
        our reason. Of a call that comes when the ports close gRPC says no more than that it was cancelled.
        """
        for _ in range(_MOST_QUIET_TURNS):
            turned_away = self._turned_away
            await asyncio.sleep(_QUIET_SECONDS)
            if self._turned_away == turned_away:
                return

    def service(self, call: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any] | None":
        """What answers a call, before its request is read."""
        found = self._handlers.get(call.method)
        if found is None:
            return None
        rpc, handler = found
        try:
            caller = self._admission.identify(rpc, call.invocation_metadata)
            _caller.set(caller)
            if caller is not None:
                self._admission.authorize(rpc, caller)
            self._admission.begin(caller)
        except Refusal as refusal:
            return self._turning_away(rpc, refusal)
        return handler

    def _turning_away(self, rpc: Rpc, refusal: Refusal) -> Handler:
        """Whatever kind of call it is: a handler of streams reads nothing that it does not ask for."""
        self._turned_away += 1

        async def turn_away(_requests: AsyncIterator[bytes], context: Context) -> None:
            rpc.figures.started += 1
            caller = _caller.get()
            self._ended(rpc, context, caller.name if caller else "", 0.0, refusal=refusal)
            await _abort(context, refusal)

        return grpc.stream_stream_rpc_method_handler(turn_away)

    @contextmanager
    def _call(self, rpc: Rpc, context: Context) -> Iterator[Caller]:
        """The length of a call; refuses it before its request is looked at, and makes refusals of defects."""
        began = perf_counter()
        request_came()
        entered: Caller | None = None
        refusal: Refusal | None = None
        code, name = OK, ""
        end_span = (
            self._tracing.call(rpc.full_name, context.invocation_metadata() or ()) if self._tracing else None
        )
        rpc.figures.started += 1
        self._under_way += 1
        try:
            caller = _caller.get()
            if caller is None:
                caller = self._admission.by_certificate(context)
            name = caller.name
            self._admission.enter(rpc, caller)
            entered = caller
            yield caller
        except Refusal as refused:
            refusal = refused
            raise
        except Exception as error:
            refusal = _internal(error, rpc)
            raise refusal from error
        except BaseException:
            code = _code_of_cancelled(context)
            raise
        finally:
            self._ended(rpc, context, name, perf_counter() - began, refusal=refusal, code=code)
            if end_span:
                end_span(CODES[refusal.reason] if refusal else code)
            # Its traceback holds this frame: nothing but the garbage collector would free either.
            refusal = None
            if entered is not None:
                self._admission.leave(rpc, entered)
            self._under_way -= 1
            if self.draining and not self._under_way:
                self._idle.set()

    def _ended(
        self,
        rpc: Rpc,
        context: Context,
        caller: str,
        seconds: float,
        *,
        refusal: Refusal | None = None,
        code: int = OK,
    ) -> None:
        if refusal:
            code = CODES[refusal.reason]
            self.refusals[refusal.reason] += 1
        rpc.figures.ended(code, seconds)
        if self.on_ended:
            self.on_ended(EndedCall(rpc, caller, code, seconds, refusal, context))

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

    def add(
        self,
        service: ServiceDescriptor,
        unary: Mapping[str, Unary],
        streaming: Mapping[str, Streaming] | None = None,
        pipelined: Mapping[str, Pipelined] | None = None,
        while_draining: Iterable[str] = (),
    ) -> None:
        """Adds every RPC of a service. Those named in `while_draining` are served until the ports close."""
        streaming, pipelined, while_draining = streaming or {}, pipelined or {}, set(while_draining)
        for method in service.methods:
            rpc = Rpc(method, while_draining=method.name in while_draining)
            kind = GetMessageClass(method.input_type)
            handler: Handler
            if method.name in unary:
                handler = grpc.unary_unary_rpc_method_handler(self._unary(rpc, kind, unary[method.name]))
            elif method.name in streaming:
                handler = grpc.unary_stream_rpc_method_handler(
                    self._streaming(rpc, kind, streaming[method.name])
                )
            else:
                handler = grpc.stream_stream_rpc_method_handler(self._pipelined(rpc, pipelined[method.name]))
            self._handlers[f"/{service.full_name}/{method.name}"] = rpc, handler

    def _unary(
        self, rpc: Rpc, kind: type[Message], handle: Unary
    ) -> Callable[[bytes, Context], Awaitable[bytes]]:
        figures = rpc.figures

        async def call(raw: bytes, context: Context) -> bytes:
            try:
                with self._call(rpc, context) as caller, self._worked_on(len(raw)):
                    figures.received += 1
                    response = await handle(await self._parse(kind, raw), Call(len(raw), context, caller))
                    figures.sent += 1
                    return response if isinstance(response, bytes) else response.SerializeToString()
            except Refusal as refusal:
                await _abort(context, refusal)

        return call

    def _streaming(
        self, rpc: Rpc, kind: type[Message], handle: Streaming
    ) -> Callable[[bytes, Context], Awaitable[None]]:
        async def call(raw: bytes, context: Context) -> None:
            try:
                with self._call(rpc, context) as caller:
                    rpc.figures.received += 1
                    await self._answer(Answering(rpc, context, caller), kind, raw, handle)
            except Refusal as refusal:
                await _abort(context, refusal)

        return call

    def _pipelined(
        self, rpc: Rpc, handle: Pipelined
    ) -> Callable[[AsyncIterator[bytes], Context], Awaitable[None]]:
        async def call(requests: AsyncIterator[bytes], context: Context) -> None:
            try:
                with self._call(rpc, context) as caller:
                    to = Answering(rpc, context, caller)
                    async with aclosing(handle(_received(requests, to), self._in_turn)) as responses:
                        async for response in responses:
                            await self._write(to, response)
            except Refusal as refusal:
                await _abort(context, refusal)

        return call

    async def _answer(self, to: "Answering", kind: type[Message], raw: bytes, handle: Streaming) -> None:
        with self._worked_on(len(raw)):
            responses = handle(await self._parse(kind, raw), Call(len(raw), to.context, to.caller))
            first = await anext(responses, None)
        async with aclosing(responses):
            if first is not None:
                await self._write(to, first)
            async for response in responses:
                still_valid(to.caller)
                await self._write(to, response)

    async def _write(self, to: "Answering", response: bytes) -> None:
        self._sending += 1
        try:
            with _client_may_have_gone():
                await to.context.write(response)
            self._sent += 1
            to.rpc.figures.sent += 1
        finally:
            self._sending -= 1

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


async def _received(requests: AsyncIterator[bytes], call: "Answering") -> AsyncGenerator[bytes, None]:
    """Request messages, for as long as their caller is known."""
    async for request in requests:
        still_valid(call.caller)
        call.rpc.figures.received += 1
        yield request


async def _abort(context: Context, refusal: Refusal) -> NoReturn:
    with _client_may_have_gone():
        await context.abort_with_status(grpc_status(refusal, request_id(context)))


def _code_of_cancelled(context: Context) -> int:
    """Of a call that ended from outside: the client's doing, or its deadline's."""
    # None where there is no deadline, whatever its type says.
    remaining: float | None = context.time_remaining()
    return DEADLINE_EXCEEDED if remaining is not None and remaining <= 0 else CANCELLED


def _internal(error: Exception, rpc: Rpc) -> Refusal:
    """A defect: what happened goes to the log, and only its id to the caller."""
    error_id = uuid4().hex
    _log.error("error_id=%s in %s", error_id, rpc.full_name, exc_info=error)
    return Refusal(
        Reason.INTERNAL,
        f"the server failed; its log says more under {error_id}",
        metadata={"error_id": error_id},
    )
