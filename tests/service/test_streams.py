"""Streams over the wire: messages and their sizes, names, stores that fail, servers that stop, clients that vanish."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from factstr.v1 import durable_stream_service_pb2 as admin_pb
from factstr.v1 import event_store_service_pb2 as pb
from factstr_server.contract.append import PreparedAppend
from factstr_server.contract.errors import outcome_unknown, store_corrupt, store_unavailable
from factstr_server.contract.limits import MAX_RESPONSE_BYTES
from factstr_server.contract.query import CompiledQuery
from factstr_server.stores.protocol import Advance, BatchPage, BatchWindow, Outcome, Store
from factstr_server.stores.stream_protocol import AcquireOutcome, Acquisition
from tests.conformance.driver import Driver, NewFact, Options, of_type, refused
from tests.conformance.streams import Batch, CaughtUp, Checkpoint, Started, Stream, Waiting, eventually
from tests.conformance.wire import Wire, failure_of
from tests.service import raw
from tests.service.conftest import serving
from tests.service.wrapping_store import FailingStore, StallingStore, WrappingStore

STREAM_ALL = raw.STREAM_ALL
STREAM_ALL_DURABLE = raw.STREAM_ALL_DURABLE
BEATING = Options(heartbeat_interval=timedelta(milliseconds=200))


async def test_the_first_message_says_where_the_stream_begins_and_on_which_log(served_store: Wire) -> None:
    await served_store.append_types("a", "b")
    info = await served_store.info()
    call = raw.streaming(served_store.channel, STREAM_ALL)(
        pb.StreamAllRequest(after_sequence_number=1).SerializeToString()
    )
    started = pb.StreamResponse.FromString(await read(call)).started
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
    begun = pb.DurableStreamResponse.FromString(await read(call)).started
    assert begun == pb.DurableStreamStarted(
        cursor=1,
        lease_epoch=1,
        store_id=info.store_id,
        history_id=info.history_id,
        heartbeat_interval=Duration(seconds=10),
    )
    call.cancel()


async def read(call: "grpc.aio.UnaryStreamCall[bytes, bytes]") -> bytes:
    response = await call.read()
    assert isinstance(response, bytes)
    return response


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
        message = pb.DurableStreamResponse.FromString(await read(call))
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


class FailingReads(FailingStore):
    """Reads of batches fail too, while there is a failure."""

    failing_batches: Exception | None = None

    async def read_batches(self, query: CompiledQuery, window: BatchWindow) -> BatchPage:
        if self.failing_batches:
            raise self.failing_batches
        return await super().read_batches(query, window)


READ_FAILURES: list[tuple[Callable[[], Exception], str, str]] = [
    (lambda: store_unavailable("it sleeps"), "STORE_UNAVAILABLE", "UNAVAILABLE"),
    (lambda: store_corrupt("two heads"), "STORE_CORRUPT", "DATA_LOSS"),
    (lambda: ZeroDivisionError("secret"), "INTERNAL", "INTERNAL"),
]


@pytest.mark.parametrize(("make", "reason", "code"), READ_FAILURES, ids=[row[1] for row in READ_FAILURES])
async def test_a_stream_that_the_store_fails_ends_with_the_reason_and_its_lease_is_free(
    make: Callable[[], Exception], reason: str, code: str
) -> None:
    async with serving(FailingReads) as (server, store):
        await server.append_types("a")
        server.server.log._dispatcher.tail.begin_after(1)
        store.failing_batches = make()
        for stream in (
            server.stream_all(0),
            server.stream_to(of_type("a"), 0),
            server.stream_all_durable("s"),
        ):
            async with stream:
                await stream.started()
                failure = await stream.ended()
                assert (failure.reason, failure.code) == (reason, code)
                assert "secret" not in failure.message
        store.failing_batches = None
        await eventually(lambda: server.durable("s"), lambda it: not it.active)
        async with server.stream_all_durable("s") as stream:
            [batch] = await stream.batches(1)
            assert await server.acknowledge("s", batch.token) == 1


class Uncertain(FailingReads):
    """The next commit is made, and its outcome is not told."""

    lose: Exception | None = None

    async def commit(self, group: Sequence[PreparedAppend | Advance]) -> list[Outcome]:
        outcomes = await super().commit(group)
        if self.lose:
            lost, self.lose = self.lose, None
            raise lost
        return outcomes


@pytest.mark.parametrize(
    "make", [outcome_unknown, lambda: ZeroDivisionError("secret")], ids=["unknown", "defect"]
)
@pytest.mark.parametrize("head_fails", [False, True], ids=["head known", "head unknown at first"])
async def test_facts_of_a_commit_whose_outcome_is_unknown_reach_the_streams_once(
    make: Callable[[], Exception], head_fails: bool
) -> None:
    async with serving(Uncertain) as (server, store):
        await server.append_types("a")
        async with (
            server.stream_all() as live,
            server.stream_to(of_type("b")) as filtered,
            server.stream_all_durable("s") as durable,
            server.stream_all(0) as replayed,
        ):
            for stream in (live, filtered, durable, replayed):
                await stream.next_of(CaughtUp)
            store.lose = make()
            if head_fails:
                store.failing_reads = store_unavailable("not now")
            with pytest.raises(Exception):  # noqa: B017, PT011
                await server.append_types("b", "b")
            store.failing_reads = None
            for stream in (live, filtered, durable, replayed):
                [batch] = await stream.batches(1)
                assert batch.shape == (2, 3, [2, 3])
            await server.append_types("b")
            for stream in (live, filtered, durable, replayed):
                [batch] = await stream.batches(1)
                assert batch.shape == (4, 4, [4])


async def test_facts_of_an_unknown_commit_are_in_order_with_those_appended_right_after_it() -> None:
    async with serving(Uncertain) as (server, store), server.stream_all() as stream:
        await stream.next_of(CaughtUp)
        for number in range(20):
            store.lose = outcome_unknown()
            if number % 2:
                # Nobody can say where the log ends before the next commit is told to the streams.
                store.failing_reads = store_unavailable("not now")
            with refused("APPEND_OUTCOME_UNKNOWN"):
                await server.append_types("a", "b")
            await server.append_types("c")
            store.failing_reads = None
            first = 3 * number + 1
            assert [batch.shape for batch in await stream.batches(2)] == [
                (first, first + 1, [first, first + 1]),
                (first + 2, first + 2, [first + 2]),
            ]


class ResetMeanwhile(WrappingStore):
    """Somebody resets a durable stream in the moment in which its lease is given."""

    async def acquire(self, acquisition: Acquisition) -> AcquireOutcome:
        outcome = await super().acquire(acquisition)
        await self.inner.reset(acquisition.durable_stream, 0, force=True)
        return outcome


async def test_a_lease_that_is_lost_before_its_stream_begins_is_told_to_the_consumer() -> None:
    async with serving(ResetMeanwhile) as (server, _):
        async with server.stream_all_durable("s") as stream:
            with refused("DURABLE_STREAM_LEASE_LOST"):
                await stream.next()
        assert not (await server.durable("s")).active


class SlowReads(FailingReads):
    """Reads of batches wait at a gate."""

    gate: asyncio.Event | None = None

    async def read_batches(self, query: CompiledQuery, window: BatchWindow) -> BatchPage:
        page = await super().read_batches(query, window)
        if self.gate:
            await self.gate.wait()
        return page


async def test_a_replay_that_finds_nothing_for_long_sends_checkpoints_and_then_goes_on() -> None:
    stores: list[SlowReads] = []

    def wrapped(store: Store) -> Store:
        stores.append(SlowReads(store))
        return stores[-1]

    async with Wire("memory:", BEATING._replace(wrap=wrapped)) as server:
        await server.append_types("b", "a")
        server.server.log._dispatcher.tail.begin_after(2)
        stores[0].gate = asyncio.Event()
        async with (
            server.stream_to(of_type("a"), 0) as stream,
            server.stream_to_durable("s", of_type("a")) as other,
        ):
            for each in (stream, other):
                await each.started()
                assert await each.next() == Checkpoint(0)
                assert await each.next() == Checkpoint(0)
            stores[0].gate.set()
            for each in (stream, other):
                assert (await each.next_of(Batch)).shape == (1, 2, [2])


@pytest.fixture
async def draining() -> AsyncIterator[tuple[Wire, StallingStore]]:
    """A server whose appends stall, and that is therefore draining for as long as a test likes."""
    async with serving(StallingStore) as (server, store):
        yield server, store


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  (what is waited for has no event)
        await asyncio.sleep(0)


async def test_a_stopping_server_ends_streams_with_its_reason_and_serves_acknowledgements_meanwhile(
    draining: tuple[Wire, StallingStore],
) -> None:
    server, _ = draining
    await server.append_types("a")
    await server.append_types("a")
    async with (
        server.stream_all(0) as live,
        server.stream_to(of_type("none")) as silent,
        server.stream_all_durable("s") as durable,
        server.stream_all_durable("s", wait=True) as waiting,
    ):
        await live.next_of(CaughtUp)
        await silent.next_of(CaughtUp)
        assert isinstance(await asyncio.shield(durable.next()), Started)
        batches = await durable.batches(2)
        assert isinstance(await waiting.next(), Waiting)
        awaited = asyncio.create_task(server.await_cursor("s", 99, seconds=None))
        await server.durable("s")
        stop = asyncio.create_task(server.server.stop())
        await until(lambda: server.server._edge.draining)
        assert await server.acknowledge("s", batches[0].token) == 1
        assert (await server.durable("s")).cursor == 1
        assert await server.acknowledge("s", batches[1].token) == 2
        for stream in (live, silent, durable, waiting):
            failure = await stream.ended()
            assert (failure.reason, failure.code) == ("SERVER_DRAINING", "UNAVAILABLE")
        with refused("SERVER_DRAINING"):
            await awaited
        await stop


async def test_a_stopping_server_finishes_appends_under_way_and_turns_new_streams_away(
    draining: tuple[Wire, StallingStore],
) -> None:
    server, store = draining
    store.gate.clear()
    append = asyncio.create_task(server.append_types("a"))
    await store.waiting.wait()
    stop = asyncio.create_task(server.server.stop())
    await until(lambda: server.server._edge.draining)
    for stream in (server.stream_all(), server.stream_all_durable("s")):
        async with stream:
            with refused("SERVER_DRAINING"):
                await stream.next()
    store.gate.set()
    assert (await append).first == 1
    await stop


async def stuck(server: Wire, request: bytes, method: str) -> "grpc.aio.UnaryStreamCall[bytes, bytes]":
    """A stream of which nobody reads more than the first message, until nothing more goes out."""
    call = raw.streaming(server.channel, method)(request)
    await read(call)
    return call


LARGE = [NewFact("a", '"' + "x" * 1_000_000 + '"')]


async def test_a_stopping_server_stops_within_its_bound_however_stuck_its_readers_are(
    tmp_path: object,
) -> None:
    options = Options(drain=timedelta(seconds=1))
    async with Wire(f"sqlite:///{tmp_path}/facts.db", options) as server:
        for _ in range(12):
            await server.append(LARGE)
        calls = [
            await stuck(server, pb.StreamAllRequest(after_sequence_number=0).SerializeToString(), STREAM_ALL),
            await stuck(
                server, pb.StreamAllDurableRequest(durable_stream="s").SerializeToString(), STREAM_ALL_DURABLE
            ),
        ]
        begin = time.monotonic()
        await server.server.stop()
        assert time.monotonic() - begin < 6, "a second of drain and a second for the last answers"
        for call in calls:
            call.cancel()


async def test_readers_that_leave_while_they_are_stuck_leave_nothing_behind(served_store: Wire) -> None:
    for _ in range(12):
        await served_store.append(LARGE)
    log = served_store.server.log
    for _ in range(5):
        live = await stuck(
            served_store, pb.StreamAllRequest(after_sequence_number=0).SerializeToString(), STREAM_ALL
        )
        durable = await stuck(
            served_store,
            pb.StreamAllDurableRequest(durable_stream="s", wait_for_lease=True).SerializeToString(),
            STREAM_ALL_DURABLE,
        )
        live.cancel()
        durable.cancel()

    async def left() -> int:
        return len(log.live._subscriptions) + len(log.durable._consumers) + len(log._dispatcher._everything)

    assert await eventually(left, lambda count: count == 0) == 0
    assert not (await eventually(lambda: served_store.durable("s"), lambda it: not it.active)).active
    assert served_store.server._edge._under_way == 0


async def follow_through(stream: Stream, driver: Driver) -> None:
    [batch] = await stream.batches(1)
    await driver.acknowledge("s", batch.token)


class SilentProxy:
    """Passes bytes on between a client and a server, until it falls silent: nothing goes through, nothing is closed."""

    def __init__(self, target: str) -> None:
        self._host, _, self._port = target.rpartition(":")
        self._silent = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []

    async def listen(self) -> str:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        return f"{host}:{port}"

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_server = await asyncio.open_connection(self._host, int(self._port))
        self._writers += [writer, to_server[1]]
        for source, target in ((reader, to_server[1]), (to_server[0], writer)):
            task = asyncio.create_task(self._pump(source, target))
            self._tasks.add(task)

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(65_536):
            if self._silent.is_set():
                await asyncio.Event().wait()
            target.write(data)

    def fall_silent(self) -> None:
        self._silent.set()

    async def close(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()


async def test_a_consumer_whose_connection_dies_without_a_goodbye_loses_its_lease_within_20_s(
    server: Wire,
) -> None:
    """Nothing closes the connection: the server itself has to find out. Heartbeats are no help to it."""
    await server.append_types("a")
    proxy = SilentProxy(server.server.addresses[0])
    async with grpc.aio.insecure_channel(await proxy.listen()) as channel:
        call = raw.streaming(channel, STREAM_ALL_DURABLE)(
            pb.StreamAllDurableRequest(durable_stream="s").SerializeToString()
        )
        started = pb.DurableStreamResponse.FromString(await read(call)).started
        proxy.fall_silent()
        begin = time.monotonic()
        async with server.stream_all_durable("s", wait=True) as next_consumer:
            assert isinstance(await next_consumer.next(), Waiting)
            while not isinstance(item := await next_consumer.next_within(25), Started):
                assert isinstance(item, Waiting)
            print(f"free after {time.monotonic() - begin:.1f} s")
            assert time.monotonic() - begin < 20
            assert item.lease_epoch > started.lease_epoch
            await follow_through(next_consumer, server)
        await proxy.close()
        call.cancel()


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
