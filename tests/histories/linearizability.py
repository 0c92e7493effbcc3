"""Decides whether a history is linearizable: exactly, in little more time than sorting takes, and with the reasons.

The model is a log. An append adds a batch to it; an append_if does so if its context has the expected version, and
else tells the actual one; a query returns the facts of its context, and its version. A history is linearizable if and
only if each call that ended has a moment between its start and its end, and of the other appends some have one after
their start, such that the model, called in the order of these moments, answers the same and becomes the log found.

**The log fixes the commits.** Contents are unique, so it tells which appends happened, and in which order. What is left
is to place the calls that wrote nothing. Places are numbers: batch k (from 1) is committed at place 2k - 1, and at
place 2k just the first k batches are there.

**Each call by itself** has an earliest and a latest place. What committed batch k has place 2k - 1 alone; whether its
context had the expected version there does not depend on other calls. A query or a conflict has the even places where
its context has the version that it told. A version grows with every batch that adds to the context and never comes
back, so these places are one interval, with no other even place inside. That a query returned just the facts up to its
version does not depend on its place. No place have failed appends, queries without an answer, and appends without an
answer that are not in the log: the model never saw them.

**All together:** there are such moments if and only if each call can take one of its places so that what ended before
another began has no later place than that.
- From moments to places: what wrote nothing takes the place between the commits before and after its moment.
- From places to moments: order the calls by place, and on the same place by start (these wrote nothing, so the model
  answers them the same in any order). If A ended before B began, it comes before B: its place is not later, and its
  start is earlier. Now let the moment of each call be the latest start among it and those before it. That is not after
  its own end, since nothing before it began after that; and as all times differ, equal moments can be spread.

**Pairs decide:** there are such places if and only if no A that ended before a B began has its earliest place after
B's latest. That this is needed is plain. If it holds, let m(B) be the maximum of the earliest places of B and of all
that ended before B began. B's latest place is not before m(B), so B can take m(B), or m(B) + 1 if that is odd and B
wrote nothing. If A ended before B began, then so did all that ended before A began, so m(A) <= m(B), and only one thing
could spoil it: m(A) and m(B) are the same 2k - 1, A moves on to 2k, and B stays. But then B committed batch k, and A,
which wrote nothing, has m(A) from a call that committed batch k and ended before A began, which is B; yet A ended
before B began. So it is enough to go through the calls by start, remembering the greatest earliest place of all that
have ended so far; and every contradiction is one between two calls, which can be named.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, pairwise
from math import inf
from typing import NamedTuple

from tests.histories.history import (
    AppendCall,
    Call,
    Committed,
    Conflict,
    Context,
    Failed,
    History,
    LoggedFact,
    QueryCall,
    named,
    spanned,
)


def problems(history: History, log: Sequence[LoggedFact]) -> list[str]:
    """Why the history is not linearizable; nothing if it is.

    The log was read from its first fact, after all calls had ended, and the history has every append to it. Beyond
    the model it is held to the contract: numbers from 1 without gaps, and one time for each batch, never an earlier one
    than the batch before had.
    """
    return Examination(history, Log(log)).found


class Batch(NamedTuple):
    """A batch of the log."""

    first: int
    last: int
    facts: tuple[LoggedFact, ...]

    def __str__(self) -> str:
        return spanned(self.first, self.last)


class Log:
    """The log that was found: its batches, and how its contexts grew."""

    def __init__(self, facts: Iterable[LoggedFact]) -> None:
        self.batches = [
            Batch(first, last, tuple(batch))
            for (first, last), batch in groupby(facts, lambda fact: (fact.first, fact.last))
        ]
        self._everything: list[int] = []
        self._contexts: dict[str, list[int]] = {}
        self._batch_of: dict[int, int] = {}
        self._keys_of: dict[int, frozenset[str]] = {}
        for k, batch in enumerate(self.batches, 1):
            for fact in batch.facts:
                self._batch_of[fact.sequence_number] = k
                self._keys_of[fact.sequence_number] = fact.keys
                self._everything.append(fact.sequence_number)
                for key in fact.keys:
                    self._contexts.setdefault(key, []).append(fact.sequence_number)

    def wrong_numbers(self) -> Iterator[str]:
        head = 0
        for batch in self.batches:
            if batch.first != head + 1:
                yield f"the log has {batch} next after {head}"
            numbers = [fact.sequence_number for fact in batch.facts]
            if numbers != list(range(batch.first, batch.last + 1)):
                yield f"the log has {numbers} as a batch of {batch}"
            head = batch.last

    def wrong_times(self) -> Iterator[str]:
        for batch in self.batches:
            if len({fact.occurred_at for fact in batch.facts}) > 1:
                yield f"the log has the batch of {batch} at several times"
        for before, after in pairwise(self.batches):
            if before.facts[-1].occurred_at > after.facts[0].occurred_at:
                yield f"the log has {after} at an earlier time than {before}"

    def context(self, context: Context) -> list[int]:
        """The sequence numbers of a context's facts."""
        return self._everything if context is None else self._contexts.get(context, [])

    def has(self, number: int, context: Context) -> bool:
        """Whether the log has a fact with this number in this context."""
        return number in self._keys_of and (context is None or context in self._keys_of[number])

    def version_before(self, k: int, context: Context) -> int:
        """The context's version just before batch k was committed."""
        numbers = self.context(context)
        known = bisect_right(numbers, self.batches[k - 1].first - 1)
        return numbers[known - 1] if known else 0

    def window(self, context: Context, version: int) -> tuple[int, int, int]:
        """The earliest and the latest place where the context has a version that is in it, and its next fact (or 0)."""
        numbers = self.context(context)
        known = bisect_right(numbers, version)
        earliest = 2 * self._batch_of[version] if version else 0
        if known == len(numbers):
            return earliest, 2 * len(self.batches), 0
        return earliest, 2 * (self._batch_of[numbers[known]] - 1), numbers[known]


class Placed(NamedTuple):
    """A call, and its places."""

    call: Call
    earliest: int
    latest: int
    did: str
    """Why it has no earlier place."""
    lacked: str
    """Why it has no later place."""


class Examination:
    """Looks at the log, then at each call by itself, then at all together, and gathers what is wrong."""

    def __init__(self, history: History, log: Log) -> None:
        self._log = log
        self._placed: list[Placed] = []
        self.found = [*log.wrong_numbers()]
        # Without right numbers the log has no order that calls could have a place in.
        orderly = not self.found
        self.found += log.wrong_times()
        commits = self._commits(history.appends)
        for append in history.appends:
            self._compare(append, [log.batches[k - 1] for k in commits.get(append, ())])
            if orderly:
                self._append(append, commits.get(append, []))
        if orderly:
            for query in history.queries:
                self._query(query)
        self._against_real_time()

    def _commits(self, appends: Sequence[AppendCall]) -> dict[AppendCall, list[int]]:
        """Which batches the appends became: none or one, if all is right."""
        senders = {fact.content: append for append in appends for fact in append.facts}
        commits: dict[AppendCall, list[int]] = {}
        for k, batch in enumerate(self._log.batches, 1):
            sent_by = dict.fromkeys(senders.get(fact.content) for fact in batch.facts)
            sender = next(iter(sent_by))
            if sender and [(fact.content, fact.keys) for fact in batch.facts] == list(sender.facts):
                commits.setdefault(sender, []).append(k)
            else:
                contents = ", ".join(fact.content for fact in batch.facts)
                by = "; ".join(str(append) if append else "nobody" for append in sent_by)
                self.found.append(
                    f"the log has {contents} as {batch}: not one append, whole and unchanged. Sent by {by}"
                )
        return commits

    def _compare(self, call: AppendCall, batches: Sequence[Batch]) -> None:
        """An append's outcome with what the log has of it."""
        if len(batches) > 1:
            self._wrong(call, f"the log has it {len(batches)} times: as {', as '.join(map(str, batches))}")
        if not isinstance(call.outcome, Committed):
            if call.outcome and batches:
                self._wrong(call, f"the log has it as {batches[0]}")
            return
        told = call.outcome
        if not batches:
            self._wrong(call, "the log has no such batch")
        elif all((batch.first, batch.last) != (told.first, told.last) for batch in batches):
            self._wrong(call, f"the log has it as {batches[0]}")
        elif all(batch.facts[0].occurred_at != told.occurred_at for batch in batches):
            self._wrong(
                call, f"it told the time {told.occurred_at}, the log {batches[0].facts[0].occurred_at}"
            )

    def _append(self, call: AppendCall, commits: Sequence[int]) -> None:
        """Look at conditions, and place the append at its commit or at its conflict."""
        for k in commits:
            version = self._log.version_before(k, call.condition.context) if call.condition else 0
            if call.condition and version != (call.condition.expected or 0):
                self._wrong(
                    call, f"before {self._log.batches[k - 1]} its context had the version {version or None}"
                )
        if isinstance(call.outcome, Conflict):
            if call.condition is None:
                self._wrong(call, "it had no condition")
            elif (call.outcome.actual or 0) == (call.condition.expected or 0):
                self._wrong(call, "that is what it expected")
            else:
                self._place(call, call.condition.context, call.outcome.actual or 0)
        elif commits and not isinstance(call.outcome, Failed):
            place = 2 * commits[0] - 1
            did = f"committed {self._log.batches[commits[0] - 1]}"
            self._placed.append(Placed(call, place, place, did, did))

    def _query(self, call: QueryCall) -> None:
        """Look at what was returned, and place the query."""
        if call.outcome is None:
            return
        version = call.outcome.version or 0
        numbers = self._log.context(call.context)
        due = numbers[: bisect_right(numbers, version)]
        if list(call.outcome.numbers) != due:
            missing = sorted(set(due).difference(call.outcome.numbers))
            foreign = sorted(set(call.outcome.numbers).difference(due))
            # How long lists begin is enough to go by.
            how = [f"it lacks {missing[:9]}"] if missing else []
            how += [f"{foreign[:9]} are not of its context up to there"] if foreign else []
            self._wrong(call, " and ".join(how) or "it is out of order, or repeats facts")
        self._place(call, call.context, version)

    def _place(self, call: Call, context: Context, version: int) -> None:
        """Place a call that wrote nothing where its context has the version that it told."""
        if version and not self._log.has(version, context):
            self._wrong(call, f"the log has no fact {version} in {named(context)}")
            return
        earliest, latest, unknown = self._log.window(context, version)
        if earliest > latest:
            self._wrong(call, f"it had a part of a batch: fact {version} came together with fact {unknown}")
        else:
            self._placed.append(
                Placed(call, earliest, latest, f"had fact {version}", f"lacked fact {unknown}")
            )

    def _against_real_time(self) -> None:
        """Find who came too late for the log, or too early: one text for each call that others contradict."""
        ended = sorted(
            (inf if each.call.end is None else each.call.end, i) for i, each in enumerate(self._placed)
        )
        furthest: Placed | None = None
        contradictions: dict[Placed, list[Placed]] = {}
        j = 0
        for each in sorted(self._placed, key=lambda each: each.call.start):
            while ended[j][0] < each.call.start:
                before = self._placed[ended[j][1]]
                if furthest is None or before.earliest > furthest.earliest:
                    furthest = before
                j += 1
            if furthest and furthest.earliest > each.latest:
                contradictions.setdefault(furthest, []).append(each)
        for before, (after, *others) in contradictions.items():
            more = f" (and {len(others)} more like that)" if others else ""
            self.found.append(
                f"{before.call} {before.did}, and ended before {after.call} began, which {after.lacked}{more}"
            )

    def _wrong(self, call: Call, how: str) -> None:
        self.found.append(f"{call}, but {how}")
