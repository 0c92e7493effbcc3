"""Streams over the wire: messages and their sizes, names, and what a refusal carries."""

import asyncio

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from factstr.v1 import durable_stream_service_pb2 as admin_pb
from factstr.v1 import event_store_service_pb2 as pb
from factstr_server.contract.limits import MAX_RESPONSE_BYTES
from tests.conformance.driver import NewFact, of_type, refused
from tests.conformance.streams import Started
from tests.conformance.wire import Wire, failure_of
from tests.service import raw

STREAM_ALL = raw.STREAM_ALL
STREAM_ALL_DURABLE = raw.STREAM_ALL_DURABLE


async def test_the_first_message_says_where_the_stream_begins_and_on_which_log(served_store: Wire) -> None:
    await served_store.append_types("a", "b")
    info = await served_store.info()
    call = raw.streaming(served_store.channel, STREAM_ALL)(
        pb.StreamAllRequest(after_sequence_number=1).SerializeToString()
    )
    started = pb.StreamResponse.FromString(await raw.read(call)).started
    assert started == pb.StreamStarted(
        after_sequence_number=1,
        store_id=info.store_id,
        history_id=info.history_id,
        heartbeat_interval=Duration(seconds=10),
    )
    call.cancel()
    call = raw.streaming(served_store.channel, STREAM_ALL_DURABLE)(
        pb.StreamAllDurableRequest(durable_stream="s", start_after_sequence_number=1).SerializeToString()
    )
    begun = pb.DurableStreamResponse.FromString(await raw.read(call)).started
    assert begun == pb.DurableStreamStarted(
        cursor=1,
        lease_epoch=1,
        store_id=info.store_id,
        history_id=info.history_id,
        heartbeat_interval=Duration(seconds=10),
    )
    call.cancel()


@pytest.mark.parametrize("durable", [False, True], ids=["live", "durable"])
@pytest.mark.parametrize("size", [10, 900, 300_000])
async def test_messages_gather_up_to_256_kib_and_a_larger_batch_goes_alone(
    served_store: Wire, durable: bool, size: int
) -> None:
    count = min(1_200_000 // (size + 50), 2_000)
    facts = NewFact("a", '"' + "x" * size + '"')
    for begin in range(0, count, 400):
        await asyncio.gather(*(served_store.append([facts]) for _ in range(min(400, count - begin))))
    await served_store.restart() if "sqlite" in served_store.url else None
    request = (
        pb.StreamAllDurableRequest(durable_stream="s", max_unacknowledged_batches=10_000)
        if durable
        else pb.StreamAllRequest(after_sequence_number=0)
    )
    method = STREAM_ALL_DURABLE if durable else STREAM_ALL
    call = raw.streaming(served_store.channel, method)(request.SerializeToString())
    seen, messages = 0, 0
    window_bytes = 0
    while seen < count:
        message = pb.DurableStreamResponse.FromString(await raw.read(call))
        batches = message.batches.batches
        assert message.ByteSize() <= MAX_RESPONSE_BYTES or len(batches) == 1
        messages += bool(batches)
        for batch in batches:
            assert batch.first_sequence_number == seen + 1
            seen = batch.last_sequence_number
            assert bool(batch.acknowledgement_token) == durable
        window_bytes += message.ByteSize()
        if durable and window_bytes > 3_000_000 and batches:
            await served_store.acknowledge("s", batches[-1].acknowledgement_token)
            window_bytes = 0
    assert size > 1_000 or messages < count / 20, "several when there are several"
    call.cancel()


BAD_NAMES = ["", "n" * 201, "a\nb", "\0", "\x85"]


@pytest.mark.parametrize("name", BAD_NAMES, ids=range(len(BAD_NAMES)))
async def test_an_invalid_name_is_refused_by_every_call(server: Wire, name: str) -> None:
    for stream in (server.stream_all_durable(name), server.stream_to_durable(name, of_type("a"))):
        async with stream:
            with refused("INVALID_ARGUMENT", "durable_stream"):
                await stream.next()
    for call in (
        server.durable(name),
        server.reset(name, 0),
        server.delete(name),
        server.await_cursor(name, 1),
        server.acknowledge(name, "token"),
    ):
        with refused("INVALID_ARGUMENT", "durable_stream"):
            await call


async def test_names_of_up_to_200_characters_of_any_kind_are_names(served_store: Wire) -> None:
    for name in ("n" * 200, "\U0001f600" * 200, " ", "a/b", "*", "%", "'", "\u00a0"):
        async with served_store.stream_all_durable(name) as stream:
            assert isinstance(await stream.next(), Started)
        assert (await served_store.durable(name)).name == name


async def test_a_name_and_a_query_that_are_both_wrong_are_both_named(server: Wire) -> None:
    async with server.stream_to_durable("", of_type("")) as stream:
        with refused("INVALID_ARGUMENT", "durable_stream", "query.filters[0].event_types.any_of[0]"):
            await stream.next()


async def test_a_page_is_of_at_most_1000_and_a_page_token_is_one_of_ours(server: Wire) -> None:
    for size in (1_001, 2**32 - 1):
        with refused("INVALID_ARGUMENT", "page_size"):
            await server.list_durable(page_size=size)
    for token in ("\N{SNOWMAN}", "A", "////", "gA=="):
        with refused("INVALID_ARGUMENT", "page_token"):
            await server.list_durable(token=token)
    assert (await server.list_durable(page_size=1_000)).streams == []


NO_TIMEOUTS = [Duration(seconds=-1), Duration(nanos=-1), Duration(nanos=10**9), Duration(seconds=2**62)]


@pytest.mark.parametrize("timeout", NO_TIMEOUTS, ids=range(len(NO_TIMEOUTS)))
async def test_a_timeout_is_a_length_of_time(server: Wire, timeout: Duration) -> None:
    request = admin_pb.AwaitDurableStreamRequest(durable_stream="s", sequence_number=1, timeout=timeout)
    failed = await raw.failure(server, raw.AWAIT, request)
    assert (failed.reason, failed.fields) == ("INVALID_ARGUMENT", ["timeout"])


async def test_a_refused_stream_has_its_details_in_the_trailer(server: Wire) -> None:
    error = await raw.error(server, raw.QUERY, b"\xff")
    assert raw.names_of_details(error)
    call = raw.streaming(server.channel, STREAM_ALL)(
        pb.StreamAllRequest(after_sequence_number=5).SerializeToString()
    )
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert raw.names_of_details(caught.value) == [raw.ERROR_INFO]
    assert failure_of(caught.value).metadata == {"asked_for": "5", "head_sequence_number": "0"}
