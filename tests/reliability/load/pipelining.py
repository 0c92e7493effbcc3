"""A client that appends through AppendStream, several items ahead of their outcomes, and survives its server.

Every item has a key. What has no outcome when a stream ends is sent again on the next one, in the same order, until its
outcome is known. Items of one client are answered in the order sent, whatever it was.
"""

import asyncio
from collections import deque
from contextlib import suppress
from random import Random
from typing import NamedTuple

import grpc

from factstr.v1 import event_store_service_pb2 as pb
from tests.conformance.driver import Appended, Failure, NewFact
from tests.conformance.wire import Wire, failure_of
from tests.histories.history import AppendCall, Committed, Conflict, History
from tests.service import pipe
from tests.service.pipe import Pipe
from tests.sharing.accounts import ACCOUNTS, TYPES, new_fact, of_context, sent
from tests.sharing.writing import TRY_AGAIN_SECONDS, Excused


class _Item(NamedTuple):
    call: AppendCall
    facts: list[NewFact]
    message: pb.AppendStreamItem


class Pipeline:
    """One client. It belongs to one task."""

    def __init__(self, name: str, store: Wire, history: History, excused: Excused, chance: Random) -> None:
        self.name = name
        self.acknowledged: list[tuple[Appended, list[NewFact]]] = []
        self.interrupted = 0
        self._store = store
        self._history = history
        self._excused = excused
        self._chance = chance
        self._sent = 0
        self._open: deque[_Item] = deque()
        """In the order in which they were first sent."""

    async def write(self, ending: asyncio.Event, going: asyncio.Event) -> None:
        """Until told to end; then until the outcome of everything is known."""
        while not ending.is_set() or self._open:
            stream = Pipe(self._store)
            try:
                await self._run(stream, ending, going)
            except grpc.aio.AioRpcError as error:
                failure = failure_of(error)
                if not self._excused(failure):
                    raise failure from None
                self.interrupted += 1
                await asyncio.sleep(TRY_AGAIN_SECONDS)
            finally:
                stream.cancel()

    async def _run(self, stream: Pipe, ending: asyncio.Event, going: asyncio.Event) -> None:
        if self._open:
            await self._send(stream, list(self._open))
        while not ending.is_set() or self._open:
            if not ending.is_set():
                await going.wait()
                new = [self._item() for _ in range(self._chance.randint(1, 4))]
                self._open.extend(new)
                await self._send(stream, new)
            while len(self._open) > (0 if ending.is_set() else 6):
                self._take(await stream.outcome())

    async def _send(self, stream: Pipe, items: list[_Item]) -> None:
        copies = [pb.AppendStreamItem.FromString(item.message.SerializeToString()) for item in items]
        with suppress(asyncio.InvalidStateError):  # It has ended: reading its outcomes tells why.
            await stream.send(*copies)

    def _item(self) -> _Item:
        account = self._chance.choice(ACCOUNTS)
        facts = [self._fact(account) for _ in range(self._chance.choice((1, 1, 2)))]
        key = f"{self.name}, item {self._sent}"
        if self._chance.random() < 0.7:
            return _Item(self._history.append(self.name, sent(facts)), facts, pipe.append(*facts, key=key))
        # Mostly a conflict: it has read nothing.
        expected = self._chance.choice((None, self._sent))
        call = self._history.append_if(self.name, sent(facts), account, expected)
        return _Item(call, facts, pipe.append_if(of_context(account), expected, *facts, key=key))

    def _fact(self, account: str) -> NewFact:
        self._sent += 1
        return new_fact(self._chance.choice(TYPES), f"{self.name}, fact {self._sent}", {account})

    def _take(self, outcome: pb.AppendStreamOutcome) -> None:
        call, facts, _ = self._open.popleft()
        if outcome.HasField("committed"):
            answer = pipe.committed(outcome)
            call.finish(Committed(answer.first, answer.last, answer.occurred_at))
            self.acknowledged.append((answer, facts))
            return
        reason = pipe.reason(outcome.failure)
        if reason != "CONDITIONAL_APPEND_CONFLICT":
            raise Failure(reason, outcome.failure.message)
        conflict = outcome.failure.conflict
        call.finish(
            Conflict(conflict.actual_context_version if conflict.HasField("actual_context_version") else None)
        )
