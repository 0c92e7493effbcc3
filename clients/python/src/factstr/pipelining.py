"""Owns the state of a pipeline of appends: what waits, what was sent, and what each of them came to.

Pure: the synchronous and the asyncio appender drive it, each with its own way to call and to wait. Invariants: what
waits and what was sent is in the order of the caller, and everything that was sent comes before everything that waits;
answers come in that order, so each is of the first that was sent. Whatever is put is settled exactly once.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, Generic

import grpc

from factstr.checks import checked_int, checked_seconds
from factstr.errors import (
    FactstrError,
    OutcomeUnknown,
    StoreClosed,
    Unavailable,
    error_from,
    error_from_outcome,
)
from factstr.event import AppendResult
from factstr.pending_append import PendingT
from factstr.resuming import Interrupted
from factstr.retry import Attempts, Effect, Retries, limited_by_time, still_in_doubt
from factstr.v1 import event_store_service_pb2

DEFAULT_MAX_UNANSWERED: Final = 1_024
_MOST_UNANSWERED_BYTES: Final = 8 * 2**20
_MESSAGE_BYTES: Final = 2**20
"""Of one message. Larger ones save nothing, and what waits behind them waits longer."""


@dataclass(slots=True)
class _Unanswered(Generic[PendingT]):
    """One append: its message, and whether an attempt before may have committed it."""

    item: event_store_service_pb2.AppendStreamItem
    size: int
    has_key: bool
    pending: PendingT
    is_in_doubt: bool = False


class Pipelining(Generic[PendingT]):
    """The appends of one appender, through all its calls.

    What a failure of a call means for each: when it promises that nothing was committed, all are sent again in the
    next call, in order. When it does not, what was not sent waits on, what was sent with an idempotency key is sent
    again, and the rest has an unknown outcome. When it will not pass, or has not passed within the time that may go by
    without an answer, everything unanswered fails.
    """

    def __init__(self, new_attempts: Callable[[], Attempts], max_unanswered: int) -> None:
        if checked_int("max_unanswered", max_unanswered, bits=32) < 1:
            raise ValueError("max_unanswered is 0; it must be at least 1")
        self._new_attempts = new_attempts
        self._max_unanswered = max_unanswered
        self._waiting: deque[_Unanswered[PendingT]] = deque()
        self._sent: deque[_Unanswered[PendingT]] = deque()
        self._bytes = 0
        self._last_correlation_id = 0
        self._settled: list[tuple[PendingT, AppendResult | FactstrError]] = []
        # Of the time since the last answer, while there is something to be answered.
        self._attempts: Attempts | None = None

    def has_room(self) -> bool:
        """Tell whether one more may be put."""
        return self.unanswered < self._max_unanswered and self._bytes < _MOST_UNANSWERED_BYTES

    def is_waiting(self) -> bool:
        """Tell whether there is something to send."""
        return bool(self._waiting)

    @property
    def unanswered(self) -> int:
        """How many are not answered yet, sent or not."""
        return len(self._waiting) + len(self._sent)

    def is_unanswered(self) -> bool:
        """Tell whether anything is not answered yet, sent or not."""
        return self.unanswered > 0

    def put(self, item: event_store_service_pb2.AppendStreamItem, pending: PendingT) -> None:
        """Let an append wait for the next message."""
        self._last_correlation_id += 1
        item.correlation_id = self._last_correlation_id
        has_key = bool(item.append.idempotency_key or item.append_if.idempotency_key)
        unanswered = _Unanswered(item, item.ByteSize(), has_key, pending)
        self._waiting.append(unanswered)
        self._bytes += unanswered.size
        if self._attempts is None:
            self._attempts = self._new_attempts()

    def message(self) -> event_store_service_pb2.AppendStreamRequest | None:
        """Return what waits, as the next message, and take it as sent; None when nothing waits."""
        if not self._waiting:
            return None
        message, size = event_store_service_pb2.AppendStreamRequest(), 0
        while self._waiting and (not size or size + self._waiting[0].size <= _MESSAGE_BYTES):
            sent = self._waiting.popleft()
            self._sent.append(sent)
            message.items.append(sent.item)
            size += sent.size
        return message

    def take(self, response: event_store_service_pb2.AppendStreamResponse) -> None:
        """Take in answers. Raises Interrupted when they are not of what was sent."""
        for outcome in response.outcomes:
            if not self._sent or self._sent[0].item.correlation_id != outcome.correlation_id:
                raise Interrupted(
                    f"the server answered append {outcome.correlation_id} of the stream out of turn",
                    grpc.StatusCode.DATA_LOSS,
                )
            answered = self._sent.popleft()
            self._settle(answered, _outcome(outcome))
        self._attempts = self._new_attempts() if self.is_unanswered() else None

    def leave_out(self, seconds: float) -> None:
        """Do not count so many seconds, in which the caller's own code has run, as time without an answer."""
        if self._attempts is not None:
            self._attempts.leave_out(seconds)

    def settled(self) -> list[tuple[PendingT, AppendResult | FactstrError]]:
        """Return what has come to its end since the last time."""
        settled, self._settled = self._settled, []
        return settled

    def is_overdue(self) -> bool:
        """Tell whether the last answer is so long ago that the call should be ended."""
        return self._attempts is not None and self._attempts.remaining() == 0.0

    def interrupted(self, failure: grpc.RpcError) -> float:
        """Take note that the call has failed; return how many seconds to wait before the next."""
        if self._attempts is None:
            return 0.0
        try:
            delay = self._attempts.delay_after(failure)
        except FactstrError:
            self._give_up(failure)
            return 0.0
        self._wait_again(failure)
        return delay

    def closed(self, why: str) -> None:
        """Take note that nothing will be sent any more, and no answer come; `why` is the beginning of a sentence."""
        for sent in self._sent:
            self._settle(sent, _unanswered(why))
        for waiting in self._waiting:
            self._settle(waiting, _unanswered(why) if waiting.is_in_doubt else _unsent(why))
        self._clear()

    def _wait_again(self, failure: grpc.RpcError) -> None:
        again = []
        for sent in self._sent:
            error = error_from(failure, appending=True)
            if isinstance(error, OutcomeUnknown):
                sent.is_in_doubt = True
                if not sent.has_key:
                    self._settle(sent, error)
                    continue
            again.append(sent)
        self._sent.clear()
        self._waiting.extendleft(reversed(again))

    def _give_up(self, failure: grpc.RpcError) -> None:
        for sent in self._sent:
            error = error_from(failure, appending=True)
            self._settle(sent, still_in_doubt(error) if sent.is_in_doubt else error)
        for waiting in self._waiting:
            error = error_from(failure, appending=True)
            self._settle(waiting, still_in_doubt(error) if waiting.is_in_doubt else _not_sent(failure, error))
        self._clear()

    def _settle(self, unanswered: _Unanswered[PendingT], outcome: AppendResult | FactstrError) -> None:
        self._bytes -= unanswered.size
        self._settled.append((unanswered.pending, outcome))

    def _clear(self) -> None:
        self._sent.clear()
        self._waiting.clear()
        self._attempts = None


def _not_sent(failure: grpc.RpcError, error: FactstrError) -> FactstrError:
    """Return what a failure means for an append that was never sent, so that its outcome is known."""
    if not isinstance(error, OutcomeUnknown):
        return error
    reason = error_from(failure, appending=False)
    return Unavailable(
        f"{reason.message} (this append was not sent)",
        code=reason.code,
        reason=reason.reason,
        metadata=reason.metadata,
        retry_delay=reason.retry_delay,
    )


def _outcome(outcome: event_store_service_pb2.AppendStreamOutcome) -> AppendResult | FactstrError:
    if outcome.HasField("committed"):
        return AppendResult.from_proto(outcome.committed)
    if outcome.HasField("failure"):
        return error_from_outcome(outcome.failure)
    return OutcomeUnknown(
        "the server answered with an outcome that this version of the client does not know "
        "(the append may or may not have been committed)"
    )


def _unsent(why: str) -> StoreClosed:
    return StoreClosed(f"{why} before this append was sent", code=grpc.StatusCode.CANCELLED)


def _unanswered(why: str) -> OutcomeUnknown:
    return OutcomeUnknown(
        f"{why} before this append was answered (it may or may not have been committed)",
        code=grpc.StatusCode.CANCELLED,
    )


def appender_attempts(
    retries: Retries, timeout: float | None, default_timeout: float | None
) -> Callable[[], Attempts]:
    """Return what makes the attempts of an appender: only the time without an answer limits them."""
    seconds = default_timeout if timeout is None else checked_seconds("timeout", timeout)
    return partial(Attempts, limited_by_time(retries), seconds, Effect.ONCE)


def appender_closed() -> StoreClosed:
    """Return what an append gets that comes after the appender's end."""
    return StoreClosed(
        "the appender is closed; append before its close(), or with a new one",
        code=grpc.StatusCode.CANCELLED,
    )


def no_answer() -> Interrupted:
    """Return how a call fails that was ended because the server had been silent for too long."""
    return Interrupted("the server answered nothing within the timeout", grpc.StatusCode.DEADLINE_EXCEEDED)
