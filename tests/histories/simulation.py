"""Histories that a linearizable store could have left, made at random, for the tests of the checker."""

import itertools
import random

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
    Seen,
    SentFact,
)


class Simulation:
    """Some clients, and a store that does one thing at a time. At each step, one call of one client goes on."""

    def __init__(self, chance: random.Random, keys: tuple[str, ...], clients: int) -> None:
        self.history = History(itertools.count().__next__)
        self.log: list[LoggedFact] = []
        self._chance = chance
        self._keys = keys
        self._clients = clients
        self._contexts: dict[Context, list[int]] = {context: [] for context in (None, *keys)}
        self._waiting: list[Call] = []
        self._abandoned: list[AppendCall] = []
        """Nobody waits for these; the store may still do them."""
        self._outcomes: dict[AppendCall, Committed | Conflict | Failed] = {}
        self._seen: dict[QueryCall, Seen] = {}

    def run(self, calls: int) -> None:
        left = calls
        while left or self._waiting:
            if left and len(self._waiting) < self._clients and self._chance.random() < 0.5:
                self._waiting.append(self._begun(left))
                left -= 1
            elif self._abandoned and self._chance.random() < 0.3:
                self._perform(self._abandoned.pop())
            elif self._waiting:
                self._go_on(self._chance.choice(self._waiting))

    def _begun(self, number: int) -> Call:
        client = f"client {self._chance.randrange(self._clients)}"
        context = self._chance.choice((*self._keys, *self._keys, None))
        kind = self._chance.choice(("query", "append", "append_if", "append_if"))
        if kind == "query":
            return self.history.query(client, context)
        facts = [
            SentFact(f"{number}.{i}", frozenset(self._chance.sample(self._keys, self._chance.randint(0, 2))))
            for i in range(self._chance.choice((1, 1, 2)))
        ]
        if kind == "append":
            return self.history.append(client, facts)
        # The version as it is now, mostly, so that only concurrency makes a conflict.
        versions = (None, 0, *self._contexts[context][-2:], *self._contexts[context][-1:] * 8)
        return self.history.append_if(client, facts, context, self._chance.choice(versions))

    def _go_on(self, call: Call) -> None:
        """To the moment when the store does it, or from there to its end; or its client gives up."""
        surprise = self._chance.random()
        if isinstance(call, QueryCall):
            if call not in self._seen:
                numbers = list(self._contexts[call.context])
                self._seen[call] = Seen(max(numbers, default=self._chance.choice((0, None))), numbers)
                return
            if surprise > 0.05:
                call.finish(self._seen[call])
        elif surprise < 0.05:
            if call not in self._outcomes:
                self._abandoned.append(call)
        elif call not in self._outcomes:
            self._outcomes[call] = Failed("busy") if surprise < 0.1 else self._perform(call)
            return
        else:
            call.finish(self._outcomes[call])
        self._waiting.remove(call)

    def _perform(self, call: AppendCall) -> Committed | Conflict:
        if call.condition:
            version = max(self._contexts[call.condition.context], default=0)
            if version != (call.condition.expected or 0):
                return Conflict(version)
        first, last = len(self.log) + 1, len(self.log) + len(call.facts)
        latest = self.log[-1].occurred_at if self.log else 1_000_000
        occurred_at = latest + self._chance.randint(0, 2)
        for number, fact in enumerate(call.facts, first):
            self.log.append(LoggedFact(number, first, last, occurred_at, *fact))
            for context in (None, *fact.keys):
                self._contexts[context].append(number)
        return Committed(first, last, occurred_at)
