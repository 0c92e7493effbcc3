"""Small changes at random to a history and its log, most of which no linearizable store could have left."""

import random
from collections.abc import Callable
from itertools import groupby

from tests.histories.history import (
    Call,
    Committed,
    Conflict,
    Failed,
    History,
    LoggedFact,
    QueryCall,
    Seen,
    SentFact,
)

Mutation = Callable[[random.Random, History, list[LoggedFact]], None]


def another_version(chance: random.Random, history: History, log: list[LoggedFact]) -> None:
    """A query or a conflict that tells what was true at another moment, or never."""
    calls: list[Call] = [*history.queries, *(append for append in history.appends if append.condition)]
    if not calls:
        return
    call = chance.choice(calls)
    end(chance, call)
    context = call.context if isinstance(call, QueryCall) else call.condition and call.condition.context
    numbers = [fact.sequence_number for fact in log if context is None or context in fact.keys]
    known = numbers[: chance.randint(0, len(numbers))]
    version = max(known, default=0) if chance.random() < 0.8 else chance.randint(0, len(log) + 1)
    if isinstance(call, QueryCall):
        call.outcome = Seen(version, known if chance.random() < 0.8 else numbers[1:])
    else:
        call.outcome = Conflict(version)


def another_moment(chance: random.Random, history: History, log: list[LoggedFact]) -> None:
    """Calls at other times than theirs."""
    calls: list[Call] = [*history.queries, *history.appends]
    for call in chance.sample(calls, chance.randint(0, len(calls))):
        call.start += chance.randint(-6, 6)
        if call.end is not None:
            call.end = call.start + chance.randint(1, 9)


def another_outcome(chance: random.Random, history: History, log: list[LoggedFact]) -> None:
    """An append that was told something else, or nothing."""
    if not history.appends:
        return
    call = chance.choice(history.appends)
    first = chance.randint(1, len(log) + 1)
    told = Committed(
        first, first + len(call.facts) - 1, log[first - 1].occurred_at if log[first - 1 :] else 0
    )
    call.outcome = chance.choice((None, Failed("busy"), Conflict(first - 1), told))
    if call.outcome is None:
        call.end = None
    else:
        end(chance, call)


def another_condition(chance: random.Random, history: History, log: list[LoggedFact]) -> None:
    """An append_if that expected something else."""
    for call in history.appends[-2:]:
        if call.condition:
            call.condition = call.condition._replace(expected=chance.randint(0, len(log)))


def another_log(chance: random.Random, history: History, log: list[LoggedFact]) -> None:
    """A batch lost, twice, split, joined or elsewhere; all numbered anew, and mostly acknowledged as they are found."""
    batches = [
        [SentFact(fact.content, fact.keys) for fact in batch]
        for _, batch in groupby(log, lambda fact: fact.first)
    ]
    if not batches:
        return
    moved = batches.pop(chance.randrange(len(batches)))
    place = chance.randint(0, len(batches))
    before = batches[:place]
    joined = [(before.pop() if before else []) + moved]
    batches[:place] = before + chance.choice(
        ([], [moved], [moved], [moved, moved], [moved[:1], moved[1:]], joined)
    )
    log[:] = logged(*filter(None, batches))
    if chance.random() < 0.8:
        rows = {fact.content: fact for fact in log}
        for call in history.appends:
            row = rows.get(call.facts[0].content)
            if row and isinstance(call.outcome, Committed):
                call.outcome = Committed(row.first, row.last, row.occurred_at)


def another_fact(chance: random.Random, history: History, log: list[LoggedFact]) -> None:
    """One field of one fact in the log, or the fact lost or twice."""
    if not log:
        return
    i = chance.randrange(len(log))
    fact = log[i]
    rows: tuple[list[LoggedFact], ...] = (
        [],
        [fact, fact],
        [fact._replace(sequence_number=fact.sequence_number + 1)],
        [fact._replace(first=fact.sequence_number)],
        [fact._replace(last=fact.sequence_number)],
        [fact._replace(occurred_at=fact.occurred_at + 1)],
        [fact._replace(occurred_at=fact.occurred_at - 1)],
        [fact._replace(content="invented")],
        [fact._replace(keys=fact.keys ^ {"a"})],
    )
    log[i : i + 1] = chance.choice(rows)


MUTATIONS: tuple[Mutation, ...] = (
    another_version,
    another_moment,
    another_outcome,
    another_condition,
    another_log,
    another_fact,
)


def end(chance: random.Random, call: Call) -> None:
    """Give the call an end, if it has none."""
    if call.end is None:
        call.end = call.start + chance.randint(1, 9)


def logged(*batches: list[SentFact]) -> list[LoggedFact]:
    """The log with these batches, at the times 1, 2, and so on."""
    log: list[LoggedFact] = []
    for occurred_at, batch in enumerate(batches, 1):
        first, last = len(log) + 1, len(log) + len(batch)
        log += [
            LoggedFact(number, first, last, occurred_at, *fact) for number, fact in enumerate(batch, first)
        ]
    return log
