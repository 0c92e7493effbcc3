"""How much one server, and one token, may have under way; and how a call ends that goes beyond it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import grpc
import pytest

from factstr.v1 import server_service_pb2
from factstr_server.access.roles import Role
from factstr_server.server import Server, running
from factstr_server.settings import Settings
from factstr_server.stores.memory import MemoryStore
from factstr_server.stores.protocol import StoreOptions
from tests.conformance.driver import Failure
from tests.conformance.wire import failure_of
from tests.security.calls import APPEND, append, path_of, streaming, unary
from tests.security.conftest import Tokens, bearer, channel_to, served, settings, with_tokens
from tests.service.wrapping_store import StallingStore
from tests.waiting import until

APPEND_RPC = path_of("factstr.v1.EventStoreService.Append")
STREAM_ALL = path_of("factstr.v1.EventStoreService.StreamAll")
AWAIT = path_of("factstr.v1.DurableStreamService.AwaitDurableStream")
INFO = path_of("factstr.v1.ServerService.GetServerInfo")

Headers = tuple[tuple[str, str], ...]


async def stream(
    channel: grpc.aio.Channel, headers: Headers = ()
) -> "grpc.aio.UnaryStreamCall[bytes, bytes]":
    """A stream that has begun. Raises Failure."""
    call: grpc.aio.UnaryStreamCall[bytes, bytes] = streaming(channel, STREAM_ALL)(b"", metadata=headers)
    try:
        await call.read()
    except grpc.aio.AioRpcError as error:
        raise failure_of(error) from None
    return call


async def limits_of(channel: grpc.aio.Channel, headers: Headers = ()) -> server_service_pb2.Limits:
    response = await unary(channel, INFO)(b"", metadata=headers)
    return server_service_pb2.GetServerInfoResponse.FromString(response).limits


def beyond(failure: Failure) -> tuple[str, str, str | None]:
    """The reason, the limit, and the status."""
    assert int(failure.metadata["actual"]) == int(failure.metadata["limit"]) + 1
    return failure.reason, failure.metadata["limit"], failure.code


async def test_streams_beyond_the_servers_limit_are_told_that_it_is_busy() -> None:
    async with served(settings(max_streams=2)) as (server, channel):
        assert (await limits_of(channel)).max_concurrent_streams == 2
        first, second = await stream(channel), await stream(channel)
        with pytest.raises(Failure) as refused:
            await stream(channel)
        assert beyond(refused.value) == ("SERVER_BUSY", "2", "RESOURCE_EXHAUSTED")
        assert "2 streams are under way on this server" in refused.value.message
        assert await append(channel) is None, "appends are limited for themselves"
        first.cancel()
        await until(lambda: server._edge._under_way == 1, "the first stream has ended")
        (await stream(channel)).cancel()
        second.cancel()


async def test_streams_beyond_a_tokens_limit_are_told_its_quota_and_other_tokens_have_theirs(
    tokens: Tokens,
) -> None:
    one, other = tokens.add("one", Role.READER), tokens.add("other", Role.READER)
    async with served(with_tokens(tokens, max_streams=3, max_streams_per_token=1)) as (server, channel):
        assert (await limits_of(channel, bearer(one))).max_concurrent_streams_per_token == 1
        first = await stream(channel, bearer(one))
        with pytest.raises(Failure) as refused:
            await stream(channel, bearer(one))
        assert beyond(refused.value) == ("QUOTA_EXCEEDED", "1", "RESOURCE_EXHAUSTED")
        assert "1 streams of one are under way" in refused.value.message
        second = await stream(channel, bearer(other))
        first.cancel()
        await until(lambda: server._edge._under_way == 1, "the first stream has ended")
        (await stream(channel, bearer(one))).cancel()
        second.cancel()


async def test_whoever_awaits_a_cursor_counts_as_a_stream(tokens: Tokens) -> None:
    async with served(settings(max_streams=1)) as (_, channel):
        standing = await stream(channel)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await unary(channel, AWAIT)(b"")
        assert failure_of(refused.value).reason == "SERVER_BUSY"
        standing.cancel()


@asynccontextmanager
async def stalling(wanted: Settings) -> AsyncIterator[tuple[Server, grpc.aio.Channel, StallingStore]]:
    """A server whose appends stall, and go on when the test says so."""
    store = StallingStore(MemoryStore(StoreOptions()))
    store.gate.clear()
    async with running(wanted, store) as server, channel_to(server.addresses[0]) as channel:
        try:
            yield server, channel, store
        finally:
            store.gate.set()


@contextmanager
def under_way(
    channel: grpc.aio.Channel, appends: int, headers: Headers = ()
) -> Iterator[list[asyncio.Task[Failure | None]]]:
    tasks = [asyncio.create_task(append(channel, headers)) for _ in range(appends)]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()


async def test_appends_beyond_the_servers_limit_are_told_that_it_is_busy_and_nothing_is_committed() -> None:
    async with stalling(settings(max_appends=2)) as (server, channel, store):
        assert (await limits_of(channel)).max_concurrent_appends == 2
        with under_way(channel, 2) as appends:
            await until(lambda: server._edge._under_way == 2, "both are under way")
            refused = await append(channel)
            assert refused is not None
            assert beyond(refused) == ("SERVER_BUSY", "2", "RESOURCE_EXHAUSTED")
            assert "nothing was committed" in refused.message
            await limits_of(channel)
            store.gate.set()
            assert await asyncio.gather(*appends) == [None, None]
        assert await append(channel) is None
        assert await server.log.head() == 3


async def test_appends_beyond_a_tokens_limit_are_told_its_quota_and_other_tokens_have_theirs(
    tokens: Tokens,
) -> None:
    one, other = tokens.add("one", Role.WRITER), tokens.add("other", Role.WRITER)
    async with stalling(with_tokens(tokens, max_appends_per_token=2)) as (server, channel, store):
        assert (await limits_of(channel, bearer(one))).max_concurrent_appends_per_token == 2
        with under_way(channel, 2, bearer(one)) as ones, under_way(channel, 2, bearer(other)) as others:
            await until(lambda: server._edge._under_way == 4, "all are under way")
            refused = await append(channel, bearer(one))
            assert refused is not None
            assert beyond(refused) == ("QUOTA_EXCEEDED", "2", "RESOURCE_EXHAUSTED")
            store.gate.set()
            assert await asyncio.gather(*ones, *others) == [None] * 4
        assert await append(channel, bearer(one)) is None


@pytest.mark.parametrize("how", ["cancelled", "refused", "failed", "served"])
async def test_a_call_counts_no_longer_than_it_lasts(tokens: Tokens, how: str) -> None:
    token = tokens.add("one", Role.WRITER)
    async with served(with_tokens(tokens, max_streams=1, max_appends=1)) as (server, channel):
        for _ in range(3):
            if how == "cancelled":
                (await stream(channel, bearer(token))).cancel()
            elif how == "refused":
                await append(channel, bearer("factstr_0_0"))
            elif how == "failed":
                await append(channel, bearer(token), events=0)
            else:
                await append(channel, bearer(token))
            await until(lambda: server._edge._under_way == 0, "nothing is under way")
        (await stream(channel, bearer(token))).cancel()
        assert await append(channel, bearer(token)) is None


async def test_headers_beyond_the_limit_are_refused_with_it() -> None:
    async with served(settings()) as (server, channel):
        limit = (await limits_of(channel)).max_header_bytes
        assert await append(channel, (("x-large", "x" * (limit // 2)),)) is None
        refused = await append(channel, (("x-large", "x" * limit),))
        assert refused is not None
        assert refused.reason == refused.code == "INVALID_ARGUMENT"
        assert refused.metadata["limit"] == str(limit)
        assert int(refused.metadata["actual"]) > limit
        assert refused.fields == ["metadata"]
        assert await server.log.head() == 1


async def test_a_deadline_ends_the_call_on_the_server_too() -> None:
    async with stalling(settings(max_appends=1)) as (server, channel, store):
        with pytest.raises(grpc.aio.AioRpcError) as late:
            await unary(channel, APPEND_RPC)(APPEND.SerializeToString(), timeout=0.2)
        assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        # Its place is free although the commit is still under way.
        await until(lambda: server._edge._under_way == 0, "the call has ended on the server")
        [rpc] = [rpc for rpc in server._edge.rpcs if rpc.name == "Append"]
        await until(lambda: rpc.figures.codes.total() == 1, "it was counted")
        assert dict(rpc.figures.codes) == {grpc.StatusCode.DEADLINE_EXCEEDED.value[0]: 1}
        store.gate.set()
        assert await append(channel) is None
