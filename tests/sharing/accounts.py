"""What the tests of several servers write: facts about accounts, each of them the context of its own facts."""

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from tests.conformance.facts import EVERYTHING, Fact, Filter, NewFact, Query, of_type, where
from tests.conformance.streams import Batch
from tests.histories.history import Context, LoggedFact, SentFact

ACCOUNTS: Final = tuple(f"account {number}" for number in range(20))
TYPES: Final = ("opened", "moved", "closed")
_END: Final = "the end"


def new_fact(event_type: str, content: str, accounts: Iterable[str], *, padding: int = 0) -> NewFact:
    """With so many bytes more than it needs."""
    payload = {"content": content, "accounts": sorted(accounts), "padding": "x" * padding}
    return NewFact(event_type, json.dumps(payload), {"content": content})


def content_of(fact: Fact | NewFact) -> str:
    return str(json.loads(fact.payload)["content"])


def accounts_of(fact: Fact | NewFact) -> frozenset[str]:
    return frozenset(json.loads(fact.payload)["accounts"])


def sent(facts: Sequence[NewFact]) -> list[SentFact]:
    return [SentFact(content_of(fact), accounts_of(fact)) for fact in facts]


def logged(batches: Iterable[Batch]) -> list[LoggedFact]:
    return [
        LoggedFact(
            fact.sequence_number,
            batch.first,
            batch.last,
            fact.occurred_at,
            content_of(fact),
            accounts_of(fact),
        )
        for batch in batches
        for fact in batch.facts
    ]


def of_account(account: str) -> str:
    """The predicate of its context."""
    return json.dumps({"accounts": [account]})


def of_context(context: Context) -> Query:
    return EVERYTHING if context is None else where(of_account(context))


def the_end() -> list[NewFact]:
    """A batch of which every selection has a part."""
    return [new_fact(event_type, f"{_END} ({event_type})", ACCOUNTS) for event_type in TYPES]


def is_the_end(batch: Batch) -> bool:
    return content_of(batch.facts[0]).startswith(_END)


class Selection(NamedTuple):
    """A query, and what it means."""

    name: str
    query: Query
    matches: Callable[[Fact], bool]

    def of(self, log: Iterable[Batch], after: int) -> list[Batch]:
        """What a stream delivers of a log."""
        parts = []
        for batch in log:
            facts = tuple(fact for fact in batch.facts if fact.sequence_number > after and self.matches(fact))
            if facts:
                parts.append(Batch(batch.first, batch.last, facts))
        return parts


ALL: Final = Selection("all", EVERYTHING, lambda _: True)
OF_TYPE: Final = Selection("of a type", of_type("closed"), lambda fact: fact.event_type == "closed")
OF_ACCOUNT: Final = Selection(
    "of an account", where(of_account(ACCOUNTS[3])), lambda fact: ACCOUNTS[3] in accounts_of(fact)
)
MIXED: Final = Selection(
    "of accounts and types",
    Query((Filter(("opened", "moved"), (of_account(ACCOUNTS[1]), of_account(ACCOUNTS[7]))),)),
    lambda fact: (
        fact.event_type in ("opened", "moved")
        and not accounts_of(fact).isdisjoint((ACCOUNTS[1], ACCOUNTS[7]))
    ),
)
SELECTIONS: Final = (ALL, OF_TYPE, OF_ACCOUNT, MIXED)
