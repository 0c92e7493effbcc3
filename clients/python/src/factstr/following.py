"""Owns how far a live stream has come, and what of it is still to be handed over.

Pure: the synchronous and the asyncio stream read messages into it, and ask it where to go on.
"""

from abc import ABC, abstractmethod
from collections import deque
from typing import Generic, TypeAlias, TypeVar

import grpc

from factstr.batch import CommittedBatch
from factstr.checks import checked_number
from factstr.errors import LogDiverged, ServerError
from factstr.event import EventRecord
from factstr.resuming import Resumption
from factstr.v1 import event_store_service_pb2

Message: TypeAlias = event_store_service_pb2.StreamResponse | event_store_service_pb2.DurableStreamResponse
Started: TypeAlias = event_store_service_pb2.StreamStarted | event_store_service_pb2.DurableStreamStarted
BatchT = TypeVar("BatchT", bound=CommittedBatch)


class Following(ABC, Generic[BatchT]):
    """One stream, through all its calls: what came that is not handed over yet, and where it stands.

    The position is moved by what the calls say, and by each batch as it is handed over. Messages are taken in only
    when all batches before are handed over, so that a call that follows an interrupted one begins at it.
    """

    position: int | None

    def __init__(self, resumption: Resumption) -> None:
        self.resumption = resumption
        self.caught_up: int | None = None
        self.store_id = ""
        self.history_id = ""
        self._batches: deque[event_store_service_pb2.CommittedBatch] = deque()

    def take(self, message: Message) -> None:
        """Take in the next message. Content that this version does not know is skipped."""
        if message.HasField("started"):
            self._begin(message.started)
            self.resumption.opened(message.started.heartbeat_interval)
            return
        before = self.position
        if message.HasField("batches"):
            self._batches.extend(message.batches.batches)
        elif message.HasField("checkpoint"):
            self._reached(message.checkpoint.sequence_number)
        elif message.HasField("caught_up"):
            self.caught_up = message.caught_up.head_sequence_number
            self._reached(self.caught_up)
        if message.HasField("batches") or message.HasField("checkpoint") or self.position != before:
            self.resumption.progressed()
        # Last, because it calls back: what that raises costs nothing of the message.
        self.resumption.heard()

    def delay_after(self, failure: grpc.RpcError) -> float:
        """Take note that the call has ended; return how many seconds to wait before the next, or raise why not."""
        self.caught_up = None
        return self.resumption.delay_after(failure)

    def has_batch(self) -> bool:
        return bool(self._batches)

    def has_batch_or_caught_up(self) -> bool:
        return bool(self._batches) or self.caught_up is not None

    def hand_over(self) -> BatchT:
        """Return the next batch, to be taken as delivered."""
        batch = self._batch(self._batches[0])
        self._batches.popleft()
        self._reached(batch.last_sequence_number)
        return batch

    @abstractmethod
    def _batch(self, message: event_store_service_pb2.CommittedBatch) -> BatchT: ...

    @abstractmethod
    def _begin(self, started: Started) -> None:
        """Take in where a call begins. Raises LogDiverged when it is on another log than the first."""
        now = started.store_id, started.history_id
        first = self.store_id, self.history_id
        if first not in (now, ("", "")):
            raise LogDiverged(
                f"the stream began on the log {' / '.join(first)}; the server has {' / '.join(now)} now, where "
                "its positions mean nothing: read that one from the beginning",
                code=grpc.StatusCode.DATA_LOSS,
                reason="LOG_DIVERGED",
            )
        self.store_id, self.history_id = now

    def _reached(self, sequence_number: int) -> None:
        self.position = max(self.position or 0, sequence_number)


class LiveFollowing(Following[CommittedBatch]):
    """A live stream: begun where it was asked to, and gone on with from its position."""

    def __init__(self, after: int | None, resumption: Resumption) -> None:
        super().__init__(resumption)
        self.position = checked_number("after", after)

    def _batch(self, message: event_store_service_pb2.CommittedBatch) -> CommittedBatch:
        return CommittedBatch(
            message.first_sequence_number, message.last_sequence_number, records_of(message)
        )

    def _begin(self, started: Started) -> None:
        super()._begin(started)
        assert isinstance(started, event_store_service_pb2.StreamStarted)
        if self.position is not None and started.after_sequence_number > self.position:
            raise ServerError(
                f"asked for what is after {self.position}, the server begins after {started.after_sequence_number}: "
                "what is between would be left out",
                code=grpc.StatusCode.INTERNAL,
            )
        self._reached(started.after_sequence_number)


def records_of(message: event_store_service_pb2.CommittedBatch) -> tuple[EventRecord, ...]:
    return tuple(map(EventRecord.from_proto, message.event_records))


class StreamState(Generic[BatchT]):
    """What a stream says of itself, in whatever way it is read."""

    _following: Following[BatchT]

    @property
    def position(self) -> int:
        """Everything up to it was handed to the caller or does not match."""
        return self._following.position or 0

    @property
    def caught_up(self) -> int | None:
        """The head up to which everything has been received, as the server last said; 0 for an empty log.

        None until it says so for the first time, and again from an interruption on until it says so again. Live
        batches leave it as it is: they come after this head. Once it is a number, the replay is over.
        """
        return self._following.caught_up

    @property
    def store_id(self) -> str:
        """The identity of the store, stable across restarts."""
        return self._following.store_id

    @property
    def history_id(self) -> str:
        """The identity of the log; another one on the same store means that a failover or restore lost its tail."""
        return self._following.history_id
