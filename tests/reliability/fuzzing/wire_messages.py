"""Bytes as request messages of every RPC: an answer or a refusal of the contract, and the log is what was acknowledged.

An input is a sequence of calls on an empty memory store. Streams stay open until its end.
"""

import asyncio
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, Final, TypeAlias

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.unknown_fields import UnknownFieldSet
from google.rpc import error_details_pb2, status_pb2

from factstr.v1 import errors_pb2, event_pb2
from factstr.v1 import event_store_service_pb2 as pb
from factstr_server.contract.acknowledgement import KEY_BYTES
from factstr_server.log.event_log import EventLog
from factstr_server.stores.memory import MemoryStore
from factstr_server.stores.protocol import StoreOptions
from tests.fuzzing.requests import METHODS
from tests.reliability.fuzzing.call_histories import calls_of, changed, messages_in
from tests.reliability.fuzzing.without_grpc import Call, WithoutGrpc

__all__ = ("ACKNOWLEDGEMENT_KEY", "MAX_BYTES", "changed", "check")

MAX_BYTES: Final = 1_024

ACKNOWLEDGEMENT_KEY: Final = bytes(KEY_BYTES)
"""Not drawn, so that an input can hold valid tokens."""

_REASONS: Final = {
    name.removeprefix("ERROR_REASON_") for name in errors_pb2.ErrorReason.DESCRIPTOR.values_by_name
}
_DEFECTS: Final = {"UNSPECIFIED", "INTERNAL", "STORE_CORRUPT", "APPEND_OUTCOME_UNKNOWN", "LOG_DIVERGED"}
_MAX_DETAILS_BYTES: Final = 3 * 1024
_TURNS: Final = 10
"""Of the event loop, after each call: in which streams say what there is to say."""
_PATIENCE_SECONDS: Final = 5.0

[_QUERY] = [method for method in METHODS if method.name == "Query"]


def check(data: bytes) -> None:
    runner().run(play(data))


@cache
def runner() -> asyncio.Runner:
    return asyncio.Runner()


async def play(data: bytes) -> None:
    complaints: list[str] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _, said: complaints.append(f"{said['message']}: {said.get('exception')!r}")
    )
    store = MemoryStore(StoreOptions())
    store.acknowledgement_key = ACKNOWLEDGEMENT_KEY
    log = EventLog(store)
    await log.open()
    try:
        seen = Seen(WithoutGrpc(log))
        for method, messages in calls_of(data):
            await seen.call(method, messages)
        await seen.end()
    finally:
        log.end_streams()
        await log.close()
    assert not complaints, complaints


class Seen:
    """What came of the calls of one input."""

    def __init__(self, server: WithoutGrpc) -> None:
        self._server = server
        self._facts: list[Fact] = []
        """Those of the appends that were acknowledged, which are all that are committed."""
        self._open: list[Call] = []

    async def call(self, method: MethodDescriptor, messages: list[bytes]) -> None:
        call = self._server.call(method, messages)
        self._open.append(call)
        if method.name != "AwaitDurableStream":
            await self._answered(call)
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        for ended in [call for call in self._open if call.ended]:
            self._open.remove(ended)
            await ended.end()
            self._check(ended)

    async def end(self) -> None:
        """Every call is as it should be, and the log holds what was acknowledged, and nothing else."""
        for call in self._open:
            await call.leave()
            self._check(call)
        query = self._server.call(_QUERY, [b""])
        await query.end()
        answers = map(pb.QueryResponse.FromString, query.answers)
        records = [record for answer in answers for record in answer.event_records]
        numbers = [record.sequence_number for record in records]
        assert numbers == list(range(1, len(records) + 1)), f"the log has a gap: {numbers}"
        kept = list(map(fact_of, records))
        assert kept == self._facts, f"the log is not what was acknowledged: {kept}, {self._facts}"

    async def _answered(self, call: Call) -> None:
        """Its first answer, of a stream that lasts; else its end."""
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                if call.method.server_streaming and call.method.name.startswith("Stream"):
                    await call.answered.wait()
                else:
                    await call.end()
        except TimeoutError:
            raise AssertionError(f"no answer: {call}") from None

    def _check(self, call: Call) -> None:
        try:
            if call.status is not None:
                check_refusal(call.status)
            if call.method.client_streaming:
                self._check_pipeline(call)
            elif call.answers:
                self._check_answers(call)
        except AssertionError as wrong:
            raise AssertionError(f"{wrong}: {call}") from None

    def _check_answers(self, call: Call) -> None:
        request: Any = GetMessageClass(call.method.input_type).FromString(call.requests[0])
        assert not holds_unknown(request), "a request with a field that the server does not know is answered"
        for answer in answers_of(call):
            if isinstance(answer, pb.AppendResponse):
                self._committed(request.events, answer)

    def _check_pipeline(self, call: Call) -> None:
        outcomes = [outcome for answer in answers_of(call) for outcome in answer.outcomes]
        items = list(items_of(call.requests))
        assert len(outcomes) <= len(items), "more outcomes than items"
        assert call.status or len(outcomes) == len(items), "fewer outcomes than items"
        for outcome, item in zip(outcomes, items, strict=False):
            assert outcome.correlation_id == item.correlation_id, "the outcomes are not in order"
            if outcome.HasField("committed"):
                assert not holds_unknown(item), (
                    "an item with a field that the server does not know is committed"
                )
                request = item.append if item.HasField("append") else item.append_if
                self._committed(request.events, outcome.committed)
            else:
                check_reason(
                    errors_pb2.ErrorReason.Name(outcome.failure.reason).removeprefix("ERROR_REASON_")
                )

    def _committed(self, events: Iterable[event_pb2.NewEvent], answer: pb.AppendResponse) -> None:
        first, last = answer.first_sequence_number, answer.last_sequence_number
        facts = list(map(fact_of, events))
        assert len(facts) == answer.committed_count == last - first + 1, "another number of facts"
        if answer.repeated_request:
            assert facts == self._facts[first - 1 : last], "a request repeats another one"
        else:
            assert first == len(self._facts) + 1, f"committed after {len(self._facts)} facts"
            self._facts += facts


Fact: TypeAlias = tuple[str, str, dict[str, str]]


def fact_of(event: event_pb2.NewEvent | event_pb2.EventRecord) -> Fact:
    return event.event_type, event.payload, dict(event.metadata)


def check_refusal(status: Any) -> None:
    [details] = [value for key, value in status.trailing_metadata if key == "grpc-status-details-bin"]
    assert len(details) <= _MAX_DETAILS_BYTES, f"refused in {len(details)} bytes"
    info = error_details_pb2.ErrorInfo()
    status_pb2.Status.FromString(details).details[0].Unpack(info)
    check_reason(info.reason)


def check_reason(reason: str) -> None:
    assert reason in _REASONS - _DEFECTS, f"refused for {reason or 'no reason'}"


def answers_of(call: Call) -> Iterator[Any]:
    """Its messages, which hold only what is in the contract."""
    for answer in call.answers:
        message = GetMessageClass(call.method.output_type).FromString(answer)
        assert not holds_unknown(message), "an answer with a field that is not in the contract"
        yield message


def items_of(messages: list[bytes]) -> Iterator[pb.AppendStreamItem]:
    """Those before the first message that is none, or holds something beside its items."""
    for message in messages:
        try:
            request = pb.AppendStreamRequest.FromString(message)
        except DecodeError:
            return
        if len(UnknownFieldSet(request)):
            return
        yield from request.items


def holds_unknown(message: Message) -> bool:
    """Anywhere in it. What an entry of a map holds beside key and value is lost when it is read."""
    return len(UnknownFieldSet(message)) > 0 or any(map(holds_unknown, messages_in(message)))
