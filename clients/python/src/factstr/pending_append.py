"""Owns what an appender returns for each append, and which failures among those nobody has looked at."""

from collections.abc import Iterable
from concurrent.futures import Future
from threading import Lock
from typing import Final, Protocol, TypeVar

from factstr.errors import FactstrError
from factstr.event import AppendResult

_KEPT: Final = 1_024
"""Failures that are remembered one by one; who looks at none of so many has seen enough with the first."""


class Pending(Protocol):
    """An append that is not answered yet, for either kind of caller. It tells `failed_in` when its failure is seen."""

    failed_in: "UnseenFailures | None"
    is_seen: bool

    def done(self) -> bool: ...
    def set_result(self, result: AppendResult, /) -> None: ...
    def set_exception(self, exception: FactstrError, /) -> None: ...
    def is_reported(self) -> None:
        """Take note that its appender tells of its failure, so that nobody else needs to."""


PendingT = TypeVar("PendingT", bound=Pending)


class PendingAppend(Future[AppendResult]):
    """The future result of an append: `result()` waits, and raises what the append would have raised.

    It cannot be cancelled: the append is on its way. Its callbacks run in the thread that reads the answers.
    """

    failed_in: "UnseenFailures | None" = None
    is_seen = False

    def __init__(self) -> None:
        super().__init__()
        self.set_running_or_notify_cancel()

    def result(self, timeout: float | None = None) -> AppendResult:
        try:
            return super().result(timeout)
        except FactstrError:
            looked_at(self)
            raise

    def exception(self, timeout: float | None = None) -> BaseException | None:
        error = super().exception(timeout)
        looked_at(self)
        return error

    def is_reported(self) -> None:
        pass


def looked_at(pending: Pending) -> None:
    """Take note that the caller has been handed how the append ended."""
    if pending.failed_in is not None:
        pending.failed_in.seen(pending)


class UnseenFailures:
    """The failed appends whose result nobody has looked at: no failure goes by in silence."""

    def __init__(self) -> None:
        # Callers look in threads of their own.
        self._lock = Lock()
        self._kept: dict[Pending, FactstrError] = {}
        self._count = 0
        # Of those that are not kept.
        self._latest: FactstrError | None = None

    def __len__(self) -> int:
        return self._count

    def settle(
        self, settled: Iterable[tuple[Pending, AppendResult | FactstrError]], *, is_reported: bool = False
    ) -> None:
        """Tell each append how it ended: all of them, also when a callback raises something.

        One that is done has been given up by its caller, who has not seen how it ended.
        """
        raised: BaseException | None = None
        for pending, outcome in settled:
            try:
                self._settle(pending, outcome, is_reported=is_reported)
            except BaseException as error:  # noqa: BLE001  (raised below, when all are told)
                raised = raised or error
        if raised is not None:
            raise raised

    def seen(self, pending: Pending) -> None:
        """Take note that somebody has looked at a failure."""
        with self._lock:
            if not pending.is_seen:
                pending.is_seen = True
                self._kept.pop(pending, None)
                # Less than none when it has been raised in between, with all the others.
                self._count = max(0, self._count - 1)

    def overlooked(self, pending: Pending, error: FactstrError) -> None:
        """Take note that who looked has not been handed the failure after all."""
        with self._lock:
            pending.is_seen = False
            self._count += 1
            self._kept[pending] = error

    def throw(self) -> None:
        """Raise the first failure that nobody has looked at, with a note of how many there are."""
        with self._lock:
            kept, count = self._kept, self._count
            first = next(iter(kept.values()), self._latest)
            self._kept, self._count = {}, 0
            for pending in kept:
                pending.is_seen = True
        for pending in kept:
            pending.is_reported()
        if count and first is not None:
            if count > 1:
                first.add_note(f"the first of {count:,} failed appends whose result nobody looked at")
            raise first

    def _settle(self, pending: Pending, outcome: AppendResult | FactstrError, *, is_reported: bool) -> None:
        if not isinstance(outcome, FactstrError):
            if not pending.done():
                pending.set_result(outcome)
            return
        # Before the append is told, whose callbacks may look.
        is_kept = self._remember(pending, outcome)
        if not pending.done():
            try:
                pending.set_exception(outcome)
            finally:
                if is_reported or not is_kept:
                    pending.is_reported()

    def _remember(self, pending: Pending, error: FactstrError) -> bool:
        with self._lock:
            pending.failed_in = self
            self._count += 1
            is_kept = len(self._kept) < _KEPT
            if is_kept:
                self._kept[pending] = error
            else:
                self._latest = error
            return is_kept
