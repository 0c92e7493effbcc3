"""Live streams: all subscriptions of a log, and what one says from beginning to end."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import NamedTuple, TypeAlias

from factstr_server.contract.errors import Refusal, cursor_ahead_of_log
from factstr_server.contract.query import CompiledQuery
from factstr_server.log.dispatcher import Dispatcher
from factstr_server.log.read_ahead import ReadAhead
from factstr_server.log.subscription import Step, Subscription
from factstr_server.stores.protocol import LogStore


class Started(NamedTuple):
    """Registration is active: every matching batch after this position will be delivered."""

    after: int


StreamItem: TypeAlias = Started | Step


class LiveStreams:
    """One for a log. Every method may be called by any number of tasks of one event loop."""

    def __init__(self, store: LogStore, dispatcher: Dispatcher, heartbeat_seconds: float) -> None:
        self._store = store
        self._dispatcher = dispatcher
        self._read_ahead = ReadAhead()
        self._heartbeat_seconds = heartbeat_seconds
        self._subscriptions: set[Subscription] = set()
        self._closed: Callable[[], Refusal] | None = None

    async def stream(self, query: CompiledQuery, after: int | None) -> AsyncGenerator[StreamItem, None]:
        """Batches after a position (None = the head), without an end. Raises Refusal."""
        subscription = await self.subscribe(query, after)
        try:
            yield Started(subscription.position)
            while True:
                yield await subscription.next(self.next_heartbeat())
        finally:
            self.leave(subscription)

    def next_heartbeat(self) -> float:
        """The loop's time until which a stream may be silent."""
        return asyncio.get_running_loop().time() + self._heartbeat_seconds

    async def subscribe(self, query: CompiledQuery, after: int | None) -> Subscription:
        """A stream after a position (None = the head). The caller leaves it. Raises Refusal: CURSOR_AHEAD_OF_LOG where
        the position is beyond the head.

        The head is the store's: another server may have committed what this server's streams have not heard of, and
        so may this one, a moment ago.
        """
        head = await self._head()
        if after is not None and after > head:
            raise cursor_ahead_of_log(after, head)
        subscription = Subscription(
            self._store,
            self._dispatcher,
            self._read_ahead,
            query,
            after=head if after is None else after,
            head=head,
        )
        self._subscriptions.add(subscription)
        if self._closed:
            subscription.end(self._closed())
        return subscription

    async def _head(self) -> int:
        """Of the history that goes on: the one before ended its streams, and this one is not among them yet."""
        while True:
            history_id = self._store.info.history_id
            head = await self._store.head()
            if self._store.info.history_id == history_id:
                return head

    def leave(self, subscription: Subscription) -> None:
        self._subscriptions.discard(subscription)
        subscription.close()

    def end_current(self, why: Callable[[], Refusal]) -> None:
        """Ends every stream that there is for a reason."""
        for subscription in self._subscriptions:
            subscription.end(why())

    def end_all(self, why: Callable[[], Refusal]) -> None:
        """Ends every stream for a reason, and every one that begins from now on. A refusal is raised once, so each
        stream gets its own.
        """
        self._closed = why
        self.end_current(why)
