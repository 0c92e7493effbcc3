"""A client's end of AppendStream: what it sends, and the outcomes that come back, in their order."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import count

import grpc
import pytest

from factstr.v1 import errors_pb2
from factstr.v1 import event_store_service_pb2 as pb
from tests.conformance.driver import Appended, Failure, NewFact, Query
from tests.conformance.wire import Wire, failure_of, new_events, query_message
from tests.service import raw
from tests.service.wrapping_store import StallingStore
from tests.waiting import until

APPEND_STREAM = "EventStoreService/AppendStream"


def append(*facts: NewFact, key: str = "") -> pb.AppendStreamItem:
    return pb.AppendStreamItem(append=pb.AppendRequest(events=new_events(facts), idempotency_key=key))


def append_if(query: Query, expected: int | None, *facts: NewFact, key: str = "") -> pb.AppendStreamItem:
    return pb.AppendStreamItem(
        append_if=pb.AppendIfRequest(
            events=new_events(facts),
            context_query=query_message(query),
            expected_context_version=expected,
            idempotency_key=key,
        )
    )


class Pipe:
    """One stream. Items get numbers of their own, and outcomes are checked to carry them in the same order."""

    def __init__(self, wire: Wire) -> None:
        self._call = raw.both_streaming(wire.channel, APPEND_STREAM)()
        self._sent = count(1)
        self._answered = count(1)
        self._outcomes: list[pb.AppendStreamOutcome] = []
        self.messages = 0
        """How many came."""

    async def send(self, *items: pb.AppendStreamItem) -> None:
        """In one message."""
        message = pb.AppendStreamRequest(items=items)
        for item in message.items:
            item.correlation_id = next(self._sent)
        await self.send_raw(message.SerializeToString())

    async def send_raw(self, message: bytes) -> None:
        await self._call.write(message)

    async def done(self) -> None:
        """Nothing more is sent."""
        await self._call.done_writing()

    def cancel(self) -> None:
        self._call.cancel()

    async def outcome(self) -> pb.AppendStreamOutcome:
        """The next one. Raises AioRpcError where the stream has failed."""
        while not self._outcomes:
            message = await self._call.read()
            assert isinstance(message, bytes), "the stream has ended"
            self.messages += 1
            self._outcomes = list(pb.AppendStreamResponse.FromString(message).outcomes)
            assert self._outcomes, "a message without outcomes"
        outcome = self._outcomes.pop(0)
        assert outcome.correlation_id == next(self._answered)
        return outcome

    async def outcomes(self, number: int) -> list[pb.AppendStreamOutcome]:
        return [await self.outcome() for _ in range(number)]

    async def firsts(self, number: int) -> list[int]:
        """The first sequence numbers of the next outcomes, all of which are committed."""
        return [committed(outcome).first for outcome in await self.outcomes(number)]

    async def ended(self) -> None:
        """The stream ends well, with nothing more."""
        assert not self._outcomes
        assert await self._call.read() is grpc.aio.EOF
        assert await self._call.code() == grpc.StatusCode.OK

    async def failed(self) -> Failure:
        """The stream ends with an error, with nothing before it."""
        assert not self._outcomes
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self._call.read()
        return failure_of(caught.value)


@asynccontextmanager
async def piped(wire: Wire) -> AsyncIterator[Pipe]:
    pipe = Pipe(wire)
    try:
        yield pipe
    finally:
        pipe.cancel()


def committed(outcome: pb.AppendStreamOutcome) -> Appended:
    assert outcome.WhichOneof("outcome") == "committed", outcome.failure
    response = outcome.committed
    return Appended(
        response.first_sequence_number,
        response.last_sequence_number,
        response.committed_count,
        response.occurred_at.ToMicroseconds(),
        response.repeated_request,
    )


def refusal(outcome: pb.AppendStreamOutcome) -> pb.AppendFailure:
    assert outcome.WhichOneof("outcome") == "failure", outcome.committed
    return outcome.failure


def kinds(outcomes: Sequence[pb.AppendStreamOutcome]) -> list[str]:
    """`committed`, or the reason without its prefix."""
    return ["committed" if outcome.HasField("committed") else reason(outcome.failure) for outcome in outcomes]


def reason(failure: pb.AppendFailure) -> str:
    return errors_pb2.ErrorReason.Name(failure.reason).removeprefix("ERROR_REASON_")


async def stalled(pipe: Pipe, store: StallingStore) -> None:
    """An item whose commit is under way and does not end."""
    store.gate.clear()
    await pipe.send(append(NewFact("first")))
    await store.waiting.wait()


def waiting(server: Wire) -> int:
    """How many items do, in all pipelines."""
    return sum(len(pipeline._waiting) for pipeline in server.server.log._pipelines)


async def until_waiting(server: Wire, items: int) -> None:
    await until(lambda: waiting(server) == items, f"{items} items wait")
