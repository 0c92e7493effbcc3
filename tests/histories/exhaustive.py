"""Linearizability by trying every order (Wing and Gong): the oracle for the checker, for histories of a few calls.

It shares the records with the checker and nothing else: no places, just the model.
"""

from collections.abc import Sequence

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
)

Model = tuple[AppendCall, ...]
"""The appends that were committed, in order."""


def linearizable(history: History, log: Sequence[LoggedFact]) -> bool:
    """Whether some order of the calls explains their outcomes and the log."""
    calls: list[Call] = [
        *(call for call in history.appends if not isinstance(call.outcome, Failed)),
        *(call for call in history.queries if call.outcome is not None),
    ]
    tried = set()

    def search(model: Model, left: frozenset[Call]) -> bool:
        if (model, left) in tried:
            return False
        tried.add((model, left))
        if all(call.outcome is None for call in left) and is_log_of(model, log):
            return True
        for call in left:
            if any(other.end is not None and other.end < call.start for other in left):
                continue
            after = answered(model, call)
            if after is not None and search(after, left - {call}):
                return True
        return False

    return search((), frozenset(calls))


def answered(model: Model, call: Call) -> Model | None:
    """The model after the call; None if it would have answered otherwise."""
    if isinstance(call, QueryCall):
        assert call.outcome is not None
        numbers = facts_of(model, call.context)
        told = (call.outcome.version or 0, list(call.outcome.numbers))
        return model if told == (max(numbers, default=0), numbers) else None
    if call.condition is not None:
        version = max(facts_of(model, call.condition.context), default=0)
        if version != (call.condition.expected or 0):
            conflict = isinstance(call.outcome, Conflict) and (call.outcome.actual or 0) == version
            return model if conflict else None
    first = 1 + len(facts_of(model, None))
    last = first - 1 + len(call.facts)
    if call.outcome is None or (
        isinstance(call.outcome, Committed) and (call.outcome.first, call.outcome.last) == (first, last)
    ):
        return (*model, call)
    return None


def facts_of(model: Model, context: Context) -> list[int]:
    """The sequence numbers of a context."""
    facts = [fact for call in model for fact in call.facts]
    return [number for number, fact in enumerate(facts, 1) if context is None or context in fact.keys]


def is_log_of(model: Model, log: Sequence[LoggedFact]) -> bool:
    rows: list[LoggedFact] = []
    for call in model:
        first, last = len(rows) + 1, len(rows) + len(call.facts)
        if last > len(log):
            return False
        told = call.outcome.occurred_at if isinstance(call.outcome, Committed) else None
        occurred_at = log[first - 1].occurred_at if told is None else told
        if rows and rows[-1].occurred_at > occurred_at:
            return False
        rows += [
            LoggedFact(number, first, last, occurred_at, *fact)
            for number, fact in enumerate(call.facts, first)
        ]
    return rows == list(log)
