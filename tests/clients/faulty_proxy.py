"""A proxy between a client and a server, which does to each call what a case says, and keeps what was asked.

It knows messages as bytes. What it can do to the next call of a method, in the words of the cases:

    pass                    hand everything through, as without a fault
    [FAULT, …]              several calls, of a list in the list
    refuse                  answer with a status in the server's place, which hears nothing
    lose_answer             let the server do it, then answer with a status instead (of a unary call)
    hang                    neither hand it on nor answer
    held                    hand it on only when the case says `release`
    cut_after: N            end a stream with a status right after N messages
    end_after: N            end it as if all had been said
    silence_after: N        say nothing more after N messages
    cut_after_checkpoint: N end it with a status right after a checkpoint at N
    insert_unknown: true    put a message with content of a later version after the first
    add_unknown: true       give each message a field of a later version
    other_log: true         name another history in `started`
    started_ahead: N        say in `started` that the stream begins so much later
    context_version: N      say that a query's context has this version
    unknown_first: true     put a message with content of a later version before the first
    garbage_at: N           send what is no message as the Nth, counted from 1
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, Final, Self

import grpc
from google.protobuf.any_pb2 import Any as PackedAny
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from factstr.v1 import errors_pb2, event_store_service_pb2

_UNKNOWN_CONTENT: Final = b"\xfa\x03\x03abc"
"""Field 63 of a message, as no version knows it."""
_GARBAGE: Final = b"\xff"
_APPENDS: Final[dict[str, type[Message]]] = {
    "Append": event_store_service_pb2.AppendRequest,
    "AppendIf": event_store_service_pb2.AppendIfRequest,
}
_STREAMS: Final[dict[str, type[Message]]] = {
    "StreamAll": event_store_service_pb2.StreamAllRequest,
    "StreamTo": event_store_service_pb2.StreamToRequest,
    "StreamAllDurable": event_store_service_pb2.StreamAllDurableRequest,
    "StreamToDurable": event_store_service_pb2.StreamToDurableRequest,
}
_STARTED: Final[dict[str, type[Message]]] = {
    "StreamAll": event_store_service_pb2.StreamResponse,
    "StreamTo": event_store_service_pb2.StreamResponse,
    "StreamAllDurable": event_store_service_pb2.DurableStreamResponse,
    "StreamToDurable": event_store_service_pb2.DurableStreamResponse,
}

Fault = dict[str, Any]


class FaultyProxy(grpc.GenericRpcHandler):
    """In front of one server. Everything runs in one event loop."""

    def __init__(self, upstream: str) -> None:
        self._faults: defaultdict[str, list[Fault]] = defaultdict(list)
        self.requests: defaultdict[str, list[bytes]] = defaultdict(list)
        """By the method's name, each call's only request."""
        self.released = asyncio.Event()
        self._channel = grpc.aio.insecure_channel(upstream)
        self._server = grpc.aio.server(options=[("grpc.max_receive_message_length", 2**25)])
        self._server.add_generic_rpc_handlers((self,))
        self.target = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    async def __aenter__(self) -> Self:
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop(0)
        await self._channel.close()

    def will(self, faults: dict[str, list[Any]]) -> None:
        """What happens to the next calls of each method; those after them go through."""
        for method, steps in faults.items():
            for step in steps:
                self._faults[method] += step if isinstance(step, list) else [{} if step == "pass" else step]

    def keys(self, method: str) -> list[str]:
        """The idempotency keys of the appends asked for."""
        asked: list[Any] = [_APPENDS[method].FromString(request) for request in self.requests[method]]
        return [append.idempotency_key for append in asked]

    def last_request(self, method: str) -> Any:
        """What the last call of a stream asked for."""
        return _STREAMS[method].FromString(self.requests[method][-1])

    def service(self, details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes]":
        async def handle(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
            method = details.method.rpartition("/")[2]
            request = await anext(aiter(requests))
            self.requests[method].append(request)
            fault = self._faults[method].pop(0) if self._faults[method] else {}
            try:
                async for message in self._answered(details.method, request, fault, context):
                    yield message
            except grpc.aio.AioRpcError as error:
                context.set_trailing_metadata(error.trailing_metadata() or ())
                await context.abort(error.code(), error.details() or "")

        return grpc.stream_stream_rpc_method_handler(handle)

    async def _answered(self, path: str, request: bytes, fault: Fault, context: Any) -> AsyncIterator[bytes]:
        if "hang" in fault:
            await asyncio.Event().wait()
        if "held" in fault:
            await self.released.wait()
        if "refuse" in fault:
            await _end(context, fault["refuse"])
        metadata = [pair for pair in context.invocation_metadata() if pair[0] == "authorization"]
        method: Any = self._channel.unary_stream(path)
        call = method(request, timeout=context.time_remaining(), metadata=metadata)
        ends = [fault[name] for name in ("cut_after", "end_after", "silence_after") if name in fault]
        if "unknown_first" in fault:
            yield _UNKNOWN_CONTENT
        try:
            told = 0
            while told not in ends and (message := await call.read()) is not grpc.aio.EOF:
                told += 1
                if told == fault.get("garbage_at"):
                    yield _GARBAGE
                elif "lose_answer" not in fault:
                    yield self._changed(path, message, fault)
                if told == 1 and "insert_unknown" in fault:
                    yield _UNKNOWN_CONTENT
                if "cut_after_checkpoint" in fault and _checkpoint(message) == fault["cut_after_checkpoint"]:
                    break
        finally:
            call.cancel()
        if "silence_after" in fault:
            await asyncio.Event().wait()
        if lost := fault.get("lose_answer") or (
            {"cut_after", "cut_after_checkpoint"} & fault.keys() and {"code": "UNAVAILABLE"}
        ):
            await _end(context, lost)

    def _changed(self, path: str, message: bytes, fault: Fault) -> bytes:
        method = path.rpartition("/")[2]
        if "context_version" in fault:
            answer = event_store_service_pb2.QueryResponse.FromString(message)
            answer.current_context_version = fault["context_version"]
            return answer.SerializeToString()
        if method in _STARTED and ("other_log" in fault or "started_ahead" in fault):
            told: Any = _STARTED[method].FromString(message)
            if told.HasField("started"):
                if "other_log" in fault:
                    told.started.history_id = "another"
                else:
                    told.started.after_sequence_number += fault["started_ahead"]
                return bytes(told.SerializeToString())
        return message + _UNKNOWN_CONTENT if "add_unknown" in fault else message


def _checkpoint(message: bytes) -> int | None:
    told = event_store_service_pb2.StreamResponse.FromString(message)
    return told.checkpoint.sequence_number if told.HasField("checkpoint") else None


async def _end(context: Any, status: dict[str, Any]) -> None:
    """Ends a call as a case says: with a code, and where there is a reason with what goes with it."""
    code = grpc.StatusCode[status["code"]]
    text = status.get("message", "as the case says")
    if "damaged" in status:
        context.set_trailing_metadata((("grpc-status-details-bin", _GARBAGE),))
    if "reason" in status:
        info = error_details_pb2.ErrorInfo(
            reason=status["reason"],
            domain=status.get("domain", "factstr"),
            metadata={name: str(value) for name, value in status.get("metadata", {}).items()},
        )
        details: list[Any] = [info]
        if "retry_delay_ms" in status:
            delay = Duration()
            delay.FromMilliseconds(status["retry_delay_ms"])
            details.append(error_details_pb2.RetryInfo(retry_delay=delay))
        if "retry_delay_seconds" in status:
            details.append(
                error_details_pb2.RetryInfo(retry_delay=Duration(seconds=status["retry_delay_seconds"]))
            )
        if "actual" in status:
            details.append(errors_pb2.ConditionalAppendConflict(actual_context_version=status["actual"]))
        packed = [PackedAny() for _ in details]
        for detail, one in zip(details, packed, strict=True):
            one.Pack(detail)
        told = grpc.StatusCode[status.get("details_code", status["code"])]
        rich = status_pb2.Status(code=told.value[0], message=text, details=packed)
        context.set_trailing_metadata((("grpc-status-details-bin", rich.SerializeToString()),))
    with suppress(asyncio.CancelledError):
        # The client may be gone already.
        await context.abort(code, text)
