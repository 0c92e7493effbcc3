"""Calls whose headers come long before their request: who they are is asked again, and they are few."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest

from factstr_server.access import awaited_requests
from factstr_server.access.roles import Role
from tests.conformance.driver import Failure
from tests.conformance.wire import failure_of
from tests.security.calls import APPEND, append, both_streaming, path_of, unary
from tests.security.conftest import Tokens, bearer, channel_to, served, settings, with_tokens
from tests.waiting import until

APPEND_RPC = path_of("factstr.v1.EventStoreService.Append")
QUERY = path_of("factstr.v1.EventStoreService.Query")
DELETE = path_of("factstr.v1.DurableStreamService.DeleteDurableStream")
CHECK = "/grpc.health.v1.Health/Check"
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"

Opened = tuple["grpc.aio.StreamStreamCall[bytes, bytes]", "asyncio.Future[bytes]"]


def opened(channel: grpc.aio.Channel, path: str, token: str = "") -> Opened:
    """A call whose request comes when the future has it."""
    request: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def late() -> AsyncIterator[bytes]:
        yield await request

    return both_streaming(channel, path)(late(), metadata=bearer(token) if token else (), timeout=30), request


async def ends(call: "grpc.aio.StreamStreamCall[bytes, bytes]") -> Failure:
    try:
        while await call.read() is not grpc.aio.EOF:
            pass
    except grpc.aio.AioRpcError as error:
        return failure_of(error)
    raise AssertionError


@pytest.mark.parametrize("path", [APPEND_RPC, QUERY, DELETE])
@pytest.mark.parametrize("change", ["revoked", "another role"])
async def test_a_request_that_comes_after_its_token_was_revoked_does_nothing(
    tokens: Tokens, path: str, change: str
) -> None:
    token, other = tokens.add("one", Role.ADMIN), tokens.add("other", Role.WRITER)
    async with served(with_tokens(tokens)) as (server, channel):
        call, request = opened(channel, path, token)
        caller = server._callers.by_token(token)  # type: ignore[union-attr]
        assert caller is not None
        await until(lambda: len(caller.awaited) == 1, "its headers have come")
        if change == "revoked":
            tokens.remove(token)
        else:
            tokens.lines = [line.replace(" one admin ", " one consumer ") for line in tokens.lines]
            tokens.save()
        server.reloading.look()
        request.set_result(APPEND.SerializeToString() if path == APPEND_RPC else b"")
        assert (await ends(call)).reason == "UNAUTHENTICATED"
        assert await server.log.head() == 0
        assert await append(channel, bearer(other)) is None


async def test_of_a_caller_whose_requests_come_too_slowly_no_further_call_is_taken(
    tokens: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(awaited_requests, "MAX_SLOW", 2)
    monkeypatch.setattr(awaited_requests, "SLOW_SECONDS", 0.1)
    token, other = tokens.add("slow", Role.WRITER), tokens.add("other", Role.WRITER)
    async with served(with_tokens(tokens)) as (server, channel):
        slow = server._callers.by_token(token)  # type: ignore[union-attr]
        assert slow is not None
        calls = [opened(channel, APPEND_RPC, token) for _ in range(2)]
        await until(lambda: slow.awaited.too_slow, "their requests are awaited for long")
        refused = await append(channel, bearer(token))
        assert refused is not None
        assert refused.reason == "QUOTA_EXCEEDED"
        assert "requests have been awaited for more than" in refused.message
        assert await append(channel, bearer(other)) is None
        for call, request in calls:
            request.set_result(APPEND.SerializeToString())
            assert isinstance(await call.read(), bytes)
        assert await append(channel, bearer(token)) is None
        assert len(slow.awaited) == 0


async def test_where_nobody_is_known_the_server_is_busy_with_slow_requests(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(awaited_requests, "MAX_SLOW", 1)
    monkeypatch.setattr(awaited_requests, "SLOW_SECONDS", 0.1)
    async with served(settings()) as (server, channel):
        call, _ = opened(channel, QUERY)
        await until(lambda: server._edge._admission._everybody.awaited.too_slow, "it is awaited for long")
        refused = await append(channel)
        assert refused is not None
        assert refused.reason == "SERVER_BUSY"
        call.cancel()
        await until(
            lambda: not server._edge._admission._everybody.awaited.too_slow, "it is gone with its client"
        )
        assert await append(channel) is None


async def test_health_checks_that_come_too_slowly_keep_others_of_them_out_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(awaited_requests, "MAX_SLOW", 1)
    monkeypatch.setattr(awaited_requests, "SLOW_SECONDS", 0.0)
    wanted = settings(health_listen="127.0.0.1:0")
    async with served(wanted) as (server, channel):
        call, request = opened(channel, CHECK)
        await until(lambda: bool(server._opened and server._opened.awaited), "its headers have come")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await unary(channel, CHECK)(b"", timeout=20)
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await append(channel) is None
        assert server.health_address is not None
        async with channel_to(server.health_address) as probe:
            assert await unary(probe, CHECK)(b"", timeout=20)
        request.set_result(b"")
        assert isinstance(await call.read(), bytes)
        assert await unary(channel, CHECK)(b"", timeout=20)


async def test_health_checks_and_reflection_take_nothing_large() -> None:
    large = b"\n" + b"\x80\x80\x01" + b"x" * 16_384
    async with served(settings()) as (_, channel):
        for path in (CHECK, "/grpc.health.v1.Health/Watch", REFLECTION):
            call, request = opened(channel, path)
            request.set_result(large)
            assert (await ends(call)).code in {"UNKNOWN", "INTERNAL"}
        assert await unary(channel, CHECK)(b"", timeout=20)


async def test_calls_that_end_without_a_request_are_forgotten() -> None:
    async with served(settings()) as (server, channel):
        awaited = server._edge._admission._everybody.awaited
        for _ in range(5):
            calls = [opened(channel, APPEND_RPC)[0] for _ in range(100)]
            await until(lambda: len(awaited) >= 100, "their headers have come")
            for call in calls:
                call.cancel()
            await until(lambda: all(task.done() for task in awaited._since), "they have ended")
        assert await append(channel) is None
        assert len(awaited) < 200
