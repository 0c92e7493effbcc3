"""Histories: concurrent calls to one event store as their callers saw them, and the log that they left behind.

A call begins on a `History` and is finished with its outcome:

    facts = [SentFact("writer 1, fact 17", frozenset({"account 7", "withdrawals"}))]
    call = history.append_if("writer 1", facts, "account 7", expected)
    answer = await store.append_if(...)
    call.finish(Committed(answer.first, answer.last, answer.occurred_at))

An append that is never finished may have happened at any time after its start, or never: leave it so when its answer
was lost, its caller was cancelled, or its outcome was told to be unknown. An append that its client repeats with an
idempotency key is one call, from the first attempt to the last answer, and failed only if every attempt did. A query
that is never finished says nothing.

Tasks of one event loop may share a history; threads may not.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

Context = str | None
"""The key that the facts of a context carry; None for the context of all facts."""


class SentFact(NamedTuple):
    """A fact as it was sent."""

    content: str
    """Tells it from every other fact of its history."""
    keys: frozenset[str]
    """Of all the contexts that it belongs to."""


class LoggedFact(NamedTuple):
    """A fact as it was found in the log; contexts and content come from what was found, not from what was sent."""

    sequence_number: int
    first: int
    last: int
    """Of its whole batch."""
    occurred_at: int
    content: str
    keys: frozenset[str]


class Committed(NamedTuple):
    """The append happened."""

    first: int
    last: int
    occurred_at: int

    def __str__(self) -> str:
        return f"committed {spanned(self.first, self.last)}"


class Conflict(NamedTuple):
    """The context had another version. Both 0 and None say that no fact matched."""

    actual: int | None

    def __str__(self) -> str:
        return f"conflict, actual version {self.actual or None}"


class Failed(NamedTuple):
    """Certainly nothing happened."""

    reason: str

    def __str__(self) -> str:
        return f"failed: {self.reason}"


class Seen(NamedTuple):
    """What a query found: the version of the whole context (0 or None for none), and the facts returned, in order."""

    version: int | None
    numbers: Sequence[int]

    def __str__(self) -> str:
        return f"version {self.version or None}, {len(self.numbers)} facts"


class Condition(NamedTuple):
    """What an append_if asks for."""

    context: Context
    expected: int | None

    def __str__(self) -> str:
        return f"{named(self.context)}, expected {self.expected or None}"


@dataclass(eq=False)
class Timed:
    """What queries and appends have in common. Times are in nanoseconds since the history began."""

    number: int
    client: str
    now: Callable[[], int] = field(repr=False)
    start: int = field(init=False)
    end: int | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.start = self.now()

    def described(self, what: str, outcome: object) -> str:
        start = f"{self.start / 1e6:.3f}"
        when = f"since {start} ms" if self.end is None else f"{start} to {self.end / 1e6:.3f} ms"
        return f"#{self.number} {self.client}: {what} -> {outcome} [{when}]"


@dataclass(eq=False)
class AppendCall(Timed):
    facts: tuple[SentFact, ...]
    condition: Condition | None
    outcome: Committed | Conflict | Failed | None = field(init=False, default=None)

    def finish(self, outcome: Committed | Conflict | Failed) -> None:
        """To be called as soon as the answer is there: what begins later was not concurrent."""
        assert self.end is None, "finished twice"
        self.end, self.outcome = self.now(), outcome

    def __str__(self) -> str:
        name = "append" if self.condition is None else f"append_if({self.condition})"
        what = f"{name} of {', '.join(fact.content for fact in self.facts)}"
        return self.described(what, self.outcome or "unknown")


@dataclass(eq=False)
class QueryCall(Timed):
    context: Context
    outcome: Seen | None = field(init=False, default=None)

    def finish(self, outcome: Seen) -> None:
        """To be called as soon as the whole answer is there."""
        assert self.end is None, "finished twice"
        self.end, self.outcome = self.now(), outcome

    def __str__(self) -> str:
        return self.described(f"query({named(self.context)})", self.outcome or "unanswered")


Call = AppendCall | QueryCall


class History:
    """Records calls. Its times all differ, so that what one task does in turn is never taken for concurrent."""

    def __init__(self, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self.appends: list[AppendCall] = []
        self.queries: list[QueryCall] = []
        self._clock = clock
        self._origin = clock()
        self._latest = 0
        self._contents: set[str] = set()

    def append(self, client: str, facts: Sequence[SentFact]) -> AppendCall:
        return self._append(client, facts, None)

    def append_if(
        self, client: str, facts: Sequence[SentFact], context: Context, expected: int | None
    ) -> AppendCall:
        return self._append(client, facts, Condition(context, expected))

    def query(self, client: str, context: Context) -> QueryCall:
        call = QueryCall(self._number, client, self._now, context)
        self.queries.append(call)
        return call

    def _append(self, client: str, facts: Sequence[SentFact], condition: Condition | None) -> AppendCall:
        assert facts, "an append of nothing has no place in a log"
        contents = {fact.content for fact in facts}
        assert len(contents) == len(facts), "the content of a fact must be its own"
        assert contents.isdisjoint(self._contents), "the content of a fact must be its own"
        self._contents |= contents
        call = AppendCall(self._number, client, self._now, tuple(facts), condition)
        self.appends.append(call)
        return call

    @property
    def _number(self) -> int:
        return len(self.appends) + len(self.queries) + 1

    def _now(self) -> int:
        self._latest = max(self._clock() - self._origin, self._latest + 1)
        return self._latest


def named(context: Context) -> str:
    return "all facts" if context is None else context


def spanned(first: int, last: int) -> str:
    return f"fact {first}" if first == last else f"facts {first} to {last}"
