"""Both appenders behind one face, so that each law is one test for both."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from threading import Event, Thread
from types import TracebackType
from typing import Any, Protocol, Self, TypeAlias, TypeVar

import grpc

import factstr
from factstr.event import AppendResult
from factstr.query import EventQuery
from tests.client.fake_server import FakeServer, Refusal

LOST = Refusal(grpc.StatusCode.UNAVAILABLE, "connection lost")
DRAINING = Refusal(grpc.StatusCode.UNAVAILABLE, "draining", "SERVER_DRAINING")

_T = TypeVar("_T")


def event(number: int) -> factstr.Event:
    return factstr.Event("a", number)


def numbers(fake: FakeServer) -> list[int]:
    return [int(record.payload) for record in fake.records]


class Held:
    """Makes the fake server wait in the middle of an append, until it may go on."""

    def __init__(self, fake: FakeServer, after: int = 0) -> None:
        self._calls, self._after = 0, after
        self.arrived, self.may_go_on = Event(), Event()
        fake.on_call = self._hold

    def _hold(self) -> None:
        self._calls += 1
        if self._calls > self._after:
            self.arrived.set()
            self.may_go_on.wait(30)


class Pending(Protocol):
    def result(self) -> AppendResult: ...
    def exception(self) -> BaseException | None: ...
    def done(self) -> bool: ...


class Appender(Protocol):
    def append(self, events: Any, *, idempotency_key: str | None = None) -> Pending: ...
    def append_if(
        self,
        events: Any,
        query: EventQuery,
        expected_context_version: int | None,
        *,
        idempotency_key: str | None = None,
    ) -> Pending: ...
    def close(self) -> None: ...
    def cancel(self) -> None: ...


class Store(Protocol):
    def appender(
        self, *, max_unanswered: int = 1_024, timeout: float | None = None
    ) -> AbstractContextManager[Appender]: ...
    def close(self) -> None: ...
    def __enter__(self) -> Any: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


Connect: TypeAlias = Callable[..., Store]
"""What `factstr.connect` is, for either store."""


class AioStore:
    """The asyncio store, in an event loop of its own in another thread."""

    def __init__(self, target: str, **settings: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._store = self.run(_connected(target, settings))

    def run(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def appender(self, *, max_unanswered: int = 1_024, timeout: float | None = None) -> "AioAppender":
        return AioAppender(self, self._store.appender(max_unanswered=max_unanswered, timeout=timeout))

    def close(self) -> None:
        self.run(self._store.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.run(self._store.__aexit__(kind, error, trace))

    def end(self) -> None:
        self.close()
        self.run(_others_cancelled())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _connected(target: str, settings: dict[str, Any]) -> factstr.aio.EventStore:
    return factstr.aio.connect(target, **settings)


async def _others_cancelled() -> None:
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()


class AioAppender:
    def __init__(self, store: AioStore, appender: factstr.aio.Appender) -> None:
        self._store, self._appender = store, appender

    def append(self, events: Any, *, idempotency_key: str | None = None) -> "AioPending":
        pending = self._store.run(self._appender.append(events, idempotency_key=idempotency_key))
        return AioPending(self._store, pending)

    def append_if(
        self,
        events: Any,
        query: EventQuery,
        expected_context_version: int | None,
        *,
        idempotency_key: str | None = None,
    ) -> "AioPending":
        return AioPending(
            self._store,
            self._store.run(
                self._appender.append_if(
                    events, query, expected_context_version, idempotency_key=idempotency_key
                )
            ),
        )

    def close(self) -> None:
        self._store.run(self._appender.close())

    def cancel(self) -> None:
        self._store.run(self._appender.cancel())

    def __enter__(self) -> Self:
        self._store.run(self._appender.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._store.run(self._appender.__aexit__(kind, error, trace))


class AioPending:
    def __init__(self, store: AioStore, pending: factstr.aio.PendingAppend) -> None:
        self._store, self._pending = store, pending

    def result(self) -> AppendResult:
        return self._store.run(_awaited(self._pending))

    def exception(self) -> BaseException | None:
        try:
            self.result()
        except factstr.FactstrError as error:
            return error
        return None

    def done(self) -> bool:
        return self._pending.done()


async def _awaited(pending: factstr.aio.PendingAppend) -> AppendResult:
    return await pending
