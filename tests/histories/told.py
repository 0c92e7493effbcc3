"""Histories told call by call, and what the checker finds in them."""

from collections.abc import Sequence

from tests.histories.exhaustive import linearizable
from tests.histories.history import Committed, Conflict, Context, Failed, History, LoggedFact, Seen, SentFact
from tests.histories.linearizability import problems


def facts(*contents: str, keys: str = "a") -> list[SentFact]:
    """Facts with these contents, all in the same contexts."""
    return [SentFact(content, frozenset(keys)) for content in contents]


def contradictions(history: History, log: list[LoggedFact]) -> str:
    """What the checker finds, and the search finds too."""
    found = problems(history, log)
    assert (found == []) == linearizable(history, log)
    print(*found, sep="\n")
    return "\n".join(found)


def appended(history: History, batch: Sequence[SentFact], outcome: Committed | Conflict | Failed) -> None:
    history.append("writer", batch).finish(outcome)


def appended_if(
    history: History,
    batch: Sequence[SentFact],
    expected: int | None,
    outcome: Committed | Conflict | Failed,
    context: Context = "a",
) -> None:
    history.append_if("decider", batch, context, expected).finish(outcome)


def queried(history: History, version: int | None, numbers: Sequence[int], context: Context = "a") -> None:
    history.query("reader", context).finish(Seen(version, numbers))
