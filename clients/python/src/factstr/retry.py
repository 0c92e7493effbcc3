"""Owns when a call may be repeated, how often, and after how long: decided by the reason of the failure.

Pure: the synchronous and the asyncio store drive it, each with its own way to call and to wait.
"""

import random
import sys
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from enum import Enum, auto
from time import monotonic
from typing import Final, NoReturn

import grpc

from factstr.errors import (
    KNOWN_REASONS,
    ConditionalAppendConflict,
    DurableStreamActive,
    FactstrError,
    IdempotencyKeyReused,
    InvalidRequest,
    OutcomeUnknown,
    StoreClosed,
    error_from,
)

_NOTHING_COMMITTED: Final = frozenset({"SERVER_BUSY", "SERVER_DRAINING", "STORE_UNAVAILABLE"})
"""Reasons that promise that nothing was committed and that may pass: safe to repeat for every call."""

_PASSING_CODES: Final = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.INTERNAL,
    }
)
_AMBIGUOUS: Final = frozenset({"APPEND_OUTCOME_UNKNOWN", "INTERNAL"})
"""Reasons, and where there is no known one the statuses above, that may pass but promise nothing."""

_JUDGEMENTS: Final = (InvalidRequest, ConditionalAppendConflict, IdempotencyKeyReused)
"""What is said of the append itself, with a reason that is known: then it was not committed before either."""


@dataclass(frozen=True, slots=True)
class Retries:
    """How often a failed call is repeated, and how long it waits before: seconds, doubled each time, with jitter.

    A delay that the server asks for is kept. Nothing is repeated beyond the call's timeout. `Retries(limit=0)`
    repeats nothing.
    """

    limit: int = 20
    first_delay: float = 0.05
    longest_delay: float = 2.0

    def __post_init__(self) -> None:
        """Raise ValueError when any of it is negative."""
        if min(self.limit, self.first_delay, self.longest_delay) < 0:
            raise ValueError(f"{self} has a negative number; 0 is the least")

    def delay(self, repetition: int) -> float:
        """Return how many seconds to wait before the given repetition, counted from 0."""
        # No float holds every power of two, and a stream is taken up again for as long as it takes.
        longest = min(self.longest_delay, self.first_delay * 2 ** min(repetition, 64))
        # Half of it at random, so that callers who failed together do not come back together.
        return random.uniform(longest / 2, longest)  # noqa: S311  (jitter, not a secret)


DEFAULT_RETRIES: Final = Retries()

_FIRST_CONFLICT_DELAY: Final = 0.01
_LONGEST_CONFLICT_DELAY: Final = 0.5


def conflict_delays(attempts: int) -> Iterator[float]:
    """Return the seconds to wait between so many attempts to decide: each anything up to a limit that doubles.

    Raises ValueError when there is no attempt.
    """
    if attempts < 1:
        raise ValueError(f"attempts is {attempts}; it must be at least 1")
    return map(_conflict_delay, range(attempts - 1))


def _conflict_delay(repetition: int) -> float:
    # All of it at random: those who lost to the same competitor must not meet again, and nothing needs to recover.
    return random.uniform(0, min(_LONGEST_CONFLICT_DELAY, _FIRST_CONFLICT_DELAY * 2**repetition))  # noqa: S311


class Effect(Enum):
    """What a repetition of a call could do."""

    NONE = auto()
    """It only reads, or acknowledges: done again, it changes nothing."""
    ONCE = auto()
    """It appends with an idempotency key, so a repetition commits nothing twice."""
    TWICE = auto()
    """It appends without a key, or resets or deletes a durable stream: somebody may have used or made it between."""


class Attempts:
    """One call with its repetitions, within one deadline.

    `ended_leases` are those that this store's consumers have closed: a server that still names one as active has only
    not noticed yet, which is waited for until the deadline.
    """

    __slots__ = ("_deadline", "_effect", "_ended_leases", "_in_doubt", "_repetitions", "_retries")

    def __init__(
        self,
        retries: Retries,
        timeout: float | None,
        effect: Effect,
        ended_leases: Collection[int] = (),
    ) -> None:
        self._retries = retries
        self._deadline = None if timeout is None else monotonic() + timeout
        self._effect = effect
        self._ended_leases = ended_leases
        self._repetitions = 0
        # Whether an attempt before may have committed, so that a later refusal does not say that nothing was.
        self._in_doubt = False

    def remaining(self) -> float | None:
        """Return the seconds left for the next attempt; None when there is no deadline."""
        return None if self._deadline is None else max(0.0, self._deadline - monotonic())

    def leave_out(self, seconds: float) -> None:
        """Do not count so many seconds, which neither the server nor the network has taken."""
        if self._deadline is not None:
            self._deadline += seconds

    def delay_after(self, failure: grpc.RpcError) -> float:
        """Return how many seconds to wait before the next attempt; raise the FactstrError when there is none."""
        error = error_from(failure, appending=self._effect is not Effect.NONE)
        if self._in_doubt:
            error = still_in_doubt(error)
        may_repeat = self._repetitions < self._retries.limit and self._may_repeat(error)
        if not (may_repeat or self._is_of_own_ended_lease(error)):
            raise error from failure
        delay = max(self._retries.delay(self._repetitions), error.retry_delay or 0.0)
        if self._deadline is not None and delay >= self._deadline - monotonic():
            raise error from failure
        self._repetitions += 1
        self._in_doubt = isinstance(error, OutcomeUnknown)
        return delay

    def not_taken(self, refusal: Exception) -> NoReturn:
        """Raise what it means that the channel took no call: StoreClosed, when that is why."""
        if "closed" not in str(refusal):
            raise refusal
        closed = store_closed()
        raise (in_doubt(closed) if self._in_doubt else closed) from refusal

    def cut_off(self, ended: BaseException) -> NoReturn:
        """Raise what it means that the store was closed under a call that was on its way."""
        closed = store_closed()
        raise (closed if self._effect is Effect.NONE else in_doubt(closed)) from ended

    def _is_of_own_ended_lease(self, error: FactstrError) -> bool:
        return isinstance(error, DurableStreamActive) and error.lease_epoch in self._ended_leases

    def _may_repeat(self, error: FactstrError) -> bool:
        if error.reason in _NOTHING_COMMITTED:
            return True
        if self._effect is Effect.TWICE:
            return False
        return error.reason in _AMBIGUOUS or (
            error.reason not in KNOWN_REASONS and error.code in _PASSING_CODES
        )


class LastingAttempts(Attempts):
    """A call that belongs to a stream: repeated for as long as it takes, or `give_up_after` seconds of failing.

    Each attempt has `timeout` seconds. A defect of the server ends it: nobody waits for ever, in silence, for one to
    pass. Before each wait, `before_wait` is told the failure.
    """

    __slots__ = ("_before_wait", "_give_up_after", "_timeout")

    def __init__(
        self,
        retries: Retries,
        timeout: float | None,
        give_up_after: float | None,
        before_wait: Callable[[FactstrError], object] = lambda _: None,
    ) -> None:
        super().__init__(replace(retries, limit=sys.maxsize), None, Effect.NONE)
        self._timeout = timeout
        self._give_up_after = give_up_after
        self._before_wait = before_wait

    def remaining(self) -> float | None:
        left = super().remaining()
        return min((limit for limit in (left, self._timeout) if limit is not None), default=None)

    def delay_after(self, failure: grpc.RpcError) -> float:
        if self._deadline is None and self._give_up_after is not None:
            self._deadline = monotonic() + self._give_up_after
        delay = super().delay_after(failure)
        self._before_wait(error_from(failure, appending=False))
        return delay

    def _may_repeat(self, error: FactstrError) -> bool:
        return error.reason != "INTERNAL" and super()._may_repeat(error)


def limited_by_time(retries: Retries) -> Retries:
    """Return the repetitions of what only its time limits; what repeats nothing still does not."""
    return replace(retries, limit=sys.maxsize) if retries.limit else retries


def store_closed() -> StoreClosed:
    """Return what a call gets that was never sent, because its store had been closed."""
    return StoreClosed(
        "the store is closed; call it before its close(), or connect again", code=grpc.StatusCode.CANCELLED
    )


def still_in_doubt(error: FactstrError) -> FactstrError:
    """Return what a refusal means for an append of which an earlier attempt may have been committed.

    Only what is said of the append itself excludes that.
    """
    is_judged = isinstance(error, _JUDGEMENTS) and error.reason in KNOWN_REASONS
    return error if is_judged or isinstance(error, OutcomeUnknown) else in_doubt(error)


def in_doubt(error: FactstrError) -> OutcomeUnknown:
    """Return the error as one that leaves open whether the append was committed."""
    return OutcomeUnknown(
        f"{error.message} (it may or may not have been committed before)",
        code=error.code,
        reason=error.reason,
        metadata=error.metadata,
        retry_delay=error.retry_delay,
    )
