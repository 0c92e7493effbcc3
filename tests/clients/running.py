"""Runs one case: its steps in order, by an adapter, against a server, and through a proxy where it speaks of faults."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import grpc
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from factstr.v1 import durable_stream_service_pb2
from factstr.v1.durable_stream_service_pb2_grpc import DurableStreamServiceStub
from tests.clients.adapter import Adapter
from tests.clients.cases import OPERATIONS, Case, Step
from tests.clients.comparing import differences
from tests.clients.faulty_proxy import FaultyProxy
from tests.clients.served import AsProcess, InProcess, Served
from tests.waiting import until

_STEP_SECONDS: Final = 45
_NEEDS_STORE: Final = ("append", "append_if", "query", "decide", "stream", "durable", "project", "close")


class Run:
    """One case under way, on a fresh store."""

    def __init__(self, case: Case, adapter: Adapter, folder: Path, url: str) -> None:
        self._case = case
        self._adapter = adapter
        self._served: Served = (
            AsProcess(folder, url) if case.does("server") else InProcess(folder, url, case.serve)
        )
        self._proxy: FaultyProxy | None = None
        self._variables: dict[str, Any] = {}
        self._begun: dict[str, tuple[int, asyncio.Future[Any]]] = {}
        self._stores: set[str] = set()

    async def run(self) -> None:
        async with AsyncExitStack() as stack:
            await self._served.start()
            stack.push_async_callback(self._served.stop)
            target = self._served.target
            if self._case.does("faults", "asked", "arrived", "last_after", "last_request", "same_key"):
                self._proxy = await stack.enter_async_context(FaultyProxy(target))
                target = self._proxy.target
            self._variables |= self._served.variables | {"target": target}
            stack.push_async_callback(self._close_stores)
            connected = [step.what for step in self._case.steps if step.do == "connect"]
            if all("store" in what for what in connected):
                await self._answer("connect", {"store": "main", "target": target, **self._case.connect})
            for number, step in enumerate(self._case.steps, 1):
                try:
                    await self._take(step)
                except AssertionError as failed:
                    raise AssertionError(f"step {number}, {step.do}: {failed}") from None

    async def _take(self, step: Step) -> None:
        what = self._filled(step.what)
        if step.name is not None:
            self._begun[step.name] = self._begin(step.do, what)
            return
        if step.do in OPERATIONS:
            answer = await self._answer(step.do, what)
        elif step.do == "join":
            answer = await _within(self._begun[what][1], f"{what} to end")
        else:
            answer = {"result": await getattr(self, f"_{step.do}")(what)}
        expected = {"result": {}} if step.expect is None else {"result": self._filled(step.expect)}
        if step.error is not None:
            expected = {"error": self._filled(step.error)}
        found = list(differences(expected, answer))
        assert not found, "\n".join(found)
        for name, path in step.save.items():
            self._variables[name] = _at(answer, path)

    def _begin(self, do: str, what: dict[str, Any]) -> tuple[int, asyncio.Future[Any]]:
        arguments = dict(what or {})
        if do in _NEEDS_STORE or do == "connect":
            arguments.setdefault("store", "main")
        if do == "connect":
            arguments.setdefault("target", self._variables["target"])
            self._stores.add(arguments["store"])
        number, future = self._adapter.begin(do, arguments)
        return number, asyncio.wrap_future(future)

    async def _answer(self, do: str, what: dict[str, Any]) -> Any:
        return await _within(self._begin(do, what)[1], "the adapter to answer")

    async def _close_stores(self) -> None:
        for store in self._stores:
            await self._answer("close", {"store": store})

    # --- What the runner does itself -----------------------------------------------------------------------------

    async def _cancel(self, name: str) -> Any:
        return (await self._answer("cancel", {"request": self._begun[name][0]})).get("result")

    async def _server(self, what: str) -> dict[str, Any]:
        assert isinstance(self._served, AsProcess)
        if what in ("stop", "restart"):
            await self._served.stop()
        elif what == "kill":
            await self._served.kill()
        if what in ("start", "restart", "kill"):
            await self._served.start()
        return {}

    async def _faults(self, what: dict[str, list[Any]]) -> dict[str, Any]:
        assert self._proxy
        self._proxy.will(what)
        return {}

    async def _release(self, _: Any) -> dict[str, Any]:
        """Lets go on what is held."""
        assert self._proxy
        self._proxy.released.set()
        return {}

    async def _asked(self, what: dict[str, int]) -> dict[str, Any]:
        """How often methods were called since the beginning."""
        assert self._proxy
        found = {method: len(self._proxy.requests[method]) for method in what}
        assert found == what, f"it was called {found}"
        return {}

    async def _arrived(self, what: dict[str, int]) -> dict[str, Any]:
        """Waits until methods were called so often."""
        proxy = self._proxy
        assert proxy
        for method, number in what.items():
            await until(lambda m=method, n=number: len(proxy.requests[m]) >= n, f"{method} is called")  # type: ignore[misc]
        return {}

    async def _last_after(self, what: dict[str, int]) -> dict[str, Any]:
        """After which position the last call of a stream was to begin."""
        assert self._proxy
        found = {method: self._proxy.last_request(method).after_sequence_number for method in what}
        assert found == what, f"it was asked for after {found}"
        return {}

    async def _last_request(self, what: dict[str, Any]) -> dict[str, Any]:
        """What the last call of a stream asked for, all of it."""
        assert self._proxy
        found = {
            method: MessageToDict(self._proxy.last_request(method), preserving_proto_field_name=True)
            for method in what
        }
        assert found == what, f"it asked for {found}"
        return {}

    async def _same_key(self, method: str) -> dict[str, Any]:
        """All calls of a method bore the same idempotency key."""
        assert self._proxy
        keys = set(self._proxy.keys(method))
        assert len(keys) == 1, f"{method} bore the keys {keys}"
        assert "" not in keys, f"{method} bore no key"
        return {"key": keys.pop()}

    async def _reset(self, what: dict[str, Any]) -> dict[str, Any]:
        """Moves a durable stream by force, as an operator would."""
        request = durable_stream_service_pb2.ResetDurableStreamRequest(
            durable_stream=what["name"], cursor=what["cursor"], force=True
        )
        return await self._administered("ResetDurableStream", request)

    async def _cursor(self, name: str) -> dict[str, Any]:
        """Where a durable stream stands in the store."""
        request = durable_stream_service_pb2.GetDurableStreamRequest(durable_stream=name)
        return await self._administered("GetDurableStream", request)

    async def _administered(self, method: str, request: Message) -> dict[str, Any]:
        """Around the proxy and the client: at the server itself."""
        async with grpc.aio.insecure_channel(self._served.target) as channel:
            response = await getattr(DurableStreamServiceStub(channel), method)(request)
        return {"cursor": response.durable_stream.cursor}

    def _filled(self, value: Any) -> Any:
        """The value with what its $NAMES stand for."""
        match value:
            case dict():
                return {key: self._filled(member) for key, member in value.items()}
            case list():
                return [self._filled(member) for member in value]
            case str() if value.startswith("$"):
                return self._variables[value[1:]]
        return value


async def _within(future: asyncio.Future[Any], what: str) -> Any:
    try:
        async with asyncio.timeout(_STEP_SECONDS):
            return await asyncio.shield(future)
    except TimeoutError:
        raise AssertionError(f"waited {_STEP_SECONDS} s in vain for {what}") from None


def _at(answer: Any, path: str) -> Any:
    for name in path.split("."):
        answer = answer[int(name) if name.isdecimal() else name]
    return answer
