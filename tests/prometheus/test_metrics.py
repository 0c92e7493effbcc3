"""What a scrape tells: every documented metric, right after each kind of call, whatever state the server is in."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import pytest

from factstr.v1 import event_pb2
from factstr.v1 import event_store_service_pb2 as pb
from factstr_server.contract.errors import Reason, store_full
from factstr_server.stores.opening import store_by_url
from factstr_server.stores.protocol import StoreOptions
from factstr_server.stores.stream_protocol import StoredStream
from tests.conformance.driver import NewFact, of_type, refused
from tests.conformance.streams import AT_HEAD
from tests.prometheus.programs import promtool
from tests.prometheus.scraping import Scraped, samples, scrape, serving, value
from tests.service import raw
from tests.service.wrapping_store import FailingStore, StallingStore, WrappingStore

PLAIN: Final = {
    "factstr_server_info",
    "factstr_store_available",
    "factstr_draining",
    "factstr_head_sequence_number",
    "factstr_queued_appends",
    "factstr_queued_append_bytes",
    "factstr_tail_batches",
    "factstr_tail_bytes",
    "factstr_appends_committed_total",
    "factstr_events_committed_total",
    "factstr_conflicts_total",
    "factstr_repeated_appends_total",
    "factstr_reused_keys_total",
    "factstr_cursors_moved_total",
    "factstr_failed_commits_total",
    "factstr_group_size_count",
    "factstr_group_size_sum",
    "factstr_commit_seconds_count",
    "factstr_commit_seconds_sum",
    "process_resident_memory_bytes",
    "process_cpu_seconds_total",
    "process_open_fds",
    "process_max_fds",
}
"""One value each."""

OF_CALLS: Final = {
    "grpc_server_started_total",
    "grpc_server_msg_received_total",
    "grpc_server_msg_sent_total",
    "grpc_server_handling_seconds_count",
    "grpc_server_handling_seconds_sum",
}
"""A value for each RPC."""

OF_DURABLE_STREAMS: Final = {
    "factstr_durable_stream_lag_events",
    "factstr_durable_stream_lag_seconds",
    "factstr_durable_stream_active",
}


@pytest.fixture
async def server() -> AsyncIterator[Scraped]:
    async with serving() as served:
        yield served


async def test_every_metric_is_there_before_anything_was_done(server: Scraped) -> None:
    found = await samples(server.address)
    names = [sample.name for sample in found]
    assert {name for name in PLAIN if names.count(name) != 1} == set()
    assert {name for name in OF_CALLS if names.count(name) != 16} == set()
    reasons = {sample.labels["reason"] for sample in found if sample.name == "factstr_failures_total"}
    assert reasons == set(Reason)
    kinds = {sample.labels["kind"] for sample in found if sample.name == "factstr_streams"}
    assert kinds >= {"query", "stream_all", "stream_to", "stream_all_durable", "stream_to_durable"}


async def test_a_scrape_right_after_an_append_tells_of_it(server: Scraped) -> None:
    _, remote, address = server
    await remote.append([NewFact()] * 3)
    found = await samples(address)
    assert value(found, "factstr_head_sequence_number") == 3
    assert value(found, "factstr_events_committed_total") == 3
    assert value(found, "factstr_appends_committed_total") == 1
    assert value(found, "factstr_group_size_bucket", le="1.0") == 1
    assert value(found, "factstr_commit_seconds_bucket", le="+Inf") == 1
    assert value(found, "grpc_server_handled_total", grpc_method="Append", grpc_code="OK") == 1
    assert value(found, "grpc_server_msg_sent_total", grpc_method="Append") == 1


async def test_a_scrape_right_after_a_failure_tells_of_it(server: Scraped) -> None:
    _, remote, address = server
    with refused("EMPTY_APPEND"):
        await remote.append([])
    found = await samples(address)
    assert value(found, "factstr_failures_total", reason="EMPTY_APPEND") == 1
    assert value(found, "grpc_server_handled_total", grpc_method="Append", grpc_code="InvalidArgument") == 1


async def test_a_scrape_right_after_a_conflict_tells_of_it(server: Scraped) -> None:
    _, remote, address = server
    with refused("CONDITIONAL_APPEND_CONFLICT"):
        await remote.append_if([NewFact()], of_type("a"), 1)
    found = await samples(address)
    assert value(found, "factstr_conflicts_total") == 1
    assert value(found, "factstr_failures_total", reason="CONDITIONAL_APPEND_CONFLICT") == 1
    assert value(found, "factstr_appends_committed_total") == 0


async def test_pipelined_appends_are_counted_by_message_and_by_append(server: Scraped) -> None:
    _, remote, address = server
    append = pb.AppendRequest(events=[event_pb2.NewEvent(event_type="a", payload="{}")])
    message = pb.AppendStreamRequest(
        items=[pb.AppendStreamItem(correlation_id=n, append=append) for n in range(5)]
    )

    async def requests() -> AsyncIterator[bytes]:
        yield message.SerializeToString()

    call = raw.both_streaming(remote.channel, "EventStoreService/AppendStream")(requests())
    answers = [pb.AppendStreamResponse.FromString(response) async for response in call]
    assert sum(len(answer.outcomes) for answer in answers) == 5
    found = await samples(address)
    assert value(found, "factstr_appends_committed_total") == 5
    assert value(found, "grpc_server_msg_received_total", grpc_method="AppendStream") == 1
    assert value(found, "grpc_server_msg_sent_total", grpc_method="AppendStream") == len(answers)
    assert value(found, "grpc_server_handled_total", grpc_method="AppendStream", grpc_code="OK") == 1


async def test_streams_are_told_by_kind_while_they_are_open(server: Scraped) -> None:
    _, remote, address = server
    async with remote.stream_to(of_type("a")) as one, remote.stream_to(of_type("b")) as other:
        await one.started()
        await other.started()
        assert value(await samples(address), "factstr_streams", kind="stream_to") == 2
    # That its client has left reaches the server a moment later.
    async with asyncio.timeout(10):
        while value(found := await samples(address), "factstr_streams", kind="stream_to") != 0:
            pass
    assert value(found, "grpc_server_handled_total", grpc_method="StreamTo", grpc_code="Cancelled") == 2


async def test_a_durable_stream_is_told_from_its_creation_to_its_deletion(server: Scraped) -> None:
    _, remote, address = server
    await remote.append([NewFact()] * 5)
    async with remote.stream_all_durable("orders") as stream:
        await stream.started()
        found = await samples(address)
        assert value(found, "factstr_durable_stream_lag_events", durable_stream="orders") == 5
        assert value(found, "factstr_durable_stream_active", durable_stream="orders") == 1
        lag = value(found, "factstr_durable_stream_lag_seconds", durable_stream="orders")
        assert lag is not None
        assert lag > 0
        [batch] = await stream.batches(1)
        await remote.acknowledge("orders", batch.token)
        found = await samples(address)
        assert value(found, "factstr_durable_stream_lag_events", durable_stream="orders") == 0
        assert value(found, "factstr_durable_stream_lag_seconds", durable_stream="orders") == 0
        assert value(found, "factstr_cursors_moved_total") == 1
    await remote.delete("orders", force=True)
    assert not OF_DURABLE_STREAMS & {sample.name for sample in await samples(address)}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param('a "quoted" name', id="quotes"),
        pytest.param("C:\\new\\table", id="backslashes"),
        pytest.param('\\"', id="a backslash before a quote"),
        pytest.param("größer 注文 🧾 e\u0301 \u2028", id="Unicode"),
        pytest.param('x"} 1\\nfactstr_store_available 0', id="a metric"),
    ],
)
async def test_names_of_durable_streams_come_through_as_they_are(server: Scraped, name: str) -> None:
    _, remote, address = server
    async with remote.stream_all_durable(name, start=AT_HEAD) as stream:
        await stream.started()
        found = await samples(address)
    assert value(found, "factstr_durable_stream_active", durable_stream=name) == 1
    assert value(found, "factstr_store_available") == 1


@pytest.mark.prometheus
async def test_promtool_understands_every_name_of_a_durable_stream(server: Scraped) -> None:
    _, remote, address = server
    for name in ('a "quoted" name', "C:\\new\\table", '\\"', "größer 注文 🧾", 'x"} 1\\n'):
        async with remote.stream_all_durable(name) as stream:
            await stream.started()
    checked = promtool("check", "metrics", text=await asyncio.to_thread(scrape, address))
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


class SilentStore(WrappingStore):
    """Does not answer, while it is told so, whoever asks for durable streams."""

    silent = False

    async def list_from(self, after: str, name_prefix: str, limit: int) -> list[StoredStream]:
        if self.silent:
            await asyncio.Event().wait()
        return await super().list_from(after, name_prefix, limit)


async def test_a_store_that_does_not_answer_is_told_within_seconds() -> None:
    store = SilentStore(store_by_url("memory:", StoreOptions()))
    async with serving(store) as (_, remote, address):
        await remote.append([NewFact()])
        assert value(await samples(address), "factstr_store_available") == 1
        store.silent = True
        async with asyncio.timeout(10):
            found = await samples(address)
        assert value(found, "factstr_store_available") == 0
        assert value(found, "factstr_events_committed_total") == 1
        store.silent = False
        assert value(await samples(address), "factstr_store_available") == 1


async def test_a_scrape_during_a_drain_says_so() -> None:
    store = StallingStore(store_by_url("memory:", StoreOptions()))
    async with serving(store) as (server, remote, address):
        store.gate.clear()
        appending = asyncio.create_task(remote.append([NewFact()]))
        await store.waiting.wait()
        found = await samples(address)
        assert (value(found, "factstr_draining"), value(found, "factstr_queued_appends")) == (0, 0)
        stopping = asyncio.create_task(server.stop())
        async with asyncio.timeout(10):
            while value(await samples(address), "factstr_draining") != 1:
                pass
        with refused("SERVER_DRAINING"):
            await remote.append([NewFact()])
        assert value(await samples(address), "factstr_failures_total", reason="SERVER_DRAINING") == 1
        store.gate.set()
        await appending
        await stopping


async def test_appends_that_wait_for_their_commit_are_told() -> None:
    store = StallingStore(store_by_url("memory:", StoreOptions()))
    async with serving(store) as (_, remote, address):
        store.gate.clear()
        appending = [asyncio.create_task(remote.append([NewFact()]))]
        await store.waiting.wait()
        appending += [asyncio.create_task(remote.append([NewFact()])) for _ in range(3)]
        async with asyncio.timeout(10):
            while value(found := await samples(address), "factstr_queued_appends") != 3:
                pass
        queued = value(found, "factstr_queued_append_bytes")
        assert queued is not None
        assert queued > 0
        store.gate.set()
        await asyncio.gather(*appending)
        assert value(await samples(address), "factstr_queued_append_bytes") == 0


async def test_a_commit_that_fails_is_told() -> None:
    store = FailingStore(store_by_url("memory:", StoreOptions()))
    async with serving(store) as (_, remote, address):
        store.failure = store_full()
        with refused("STORE_FULL"):
            await remote.append([NewFact()])
        found = await samples(address)
    assert value(found, "factstr_failed_commits_total") == 1
    assert value(found, "factstr_appends_committed_total") == 0
    assert value(found, "factstr_failures_total", reason="STORE_FULL") == 1
