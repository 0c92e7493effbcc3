"""Owns what an appender returns for each append, and which failures among those nobody has looked at."""

from collections import deque
from concurrent.futures import Future
from typing import Final, Protocol

from factstr.errors import FactstrError
from factstr.event import AppendResult

_KEPT: Final = 1_024
"""Failures that are remembered; who looks at none of so many has seen enough with the first."""


class Pending(Protocol):
    """An append that is not answered yet, for either kind of caller."""

    @property
    def looked_at(self) -> bool: ...
    def done(self) -> bool: ...
    def exception(self) -> BaseException | None: ...
    def set_result(self, result: AppendResult, /) -> None: ...
    def set_exception(self, exception: FactstrError, /) -> None: ...


class PendingAppend(Future[AppendResult]):
    """The future result of an append: `result()` waits, and raises what the append would have raised.

    It cannot be cancelled: the append is on its way. Its callbacks run in the thread that reads the answers.
    """

    looked_at = False
    """Whether somebody has been told how it ended."""

    def __init__(self) -> None:
        super().__init__()
        self.set_running_or_notify_cancel()

    def result(self, timeout: float | None = None) -> AppendResult:
        try:
            return super().result(timeout)
        finally:
            self.looked_at = self.done()

    def exception(self, timeout: float | None = None) -> BaseException | None:
        try:
            return super().exception(timeout)
        finally:
            self.looked_at = self.done()


class UnseenFailures:
    """The failed appends whose result nobody has looked at: no failure goes by in silence."""

    def __init__(self) -> None:
        self._failed: deque[Pending] = deque()

    def settle(self, pending: Pending, outcome: AppendResult | FactstrError) -> None:
        """Tell the append how it ended. One that is done has been given up by its caller."""
        if pending.done():
            return
        if not isinstance(outcome, FactstrError):
            pending.set_result(outcome)
            return
        pending.set_exception(outcome)
        if len(self._failed) == _KEPT:
            self._failed = deque(failed for failed in self._failed if not failed.looked_at)
        if len(self._failed) < _KEPT:
            self._failed.append(pending)

    def throw(self) -> None:
        """Raise the first failure that nobody has looked at, with a note of how many there are."""
        unseen = [error for failed in self._failed if not failed.looked_at and (error := failed.exception())]
        self._failed.clear()
        if unseen:
            if len(unseen) > 1:
                unseen[0].add_note(f"the first of {len(unseen)} failed appends whose result nobody looked at")
            raise unseen[0]
