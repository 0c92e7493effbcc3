"""Spans: an append, its commit and its deliveries are one trace, which goes on from the caller's."""

import asyncio
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import grpc
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased

from factstr.v1 import event_store_service_pb2 as pb
from factstr_server.server import running
from factstr_server.telemetry import tracing
from factstr_server.telemetry.tracing import OpenTelemetryTracing
from tests.operations.process import ServerProcess
from tests.security.calls import APPEND, append, both_streaming, streaming
from tests.security.conftest import channel_to, settings
from tests.waiting import until

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED = (("traceparent", f"00-{TRACE}-{PARENT}-01"),)
NOT_SAMPLED = (("traceparent", f"00-{TRACE}-{PARENT}-00"),)
STREAM_ALL = "/factstr.v1.EventStoreService/StreamAll"


class Traced:
    """A tracing whose spans a test can look at."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider(sampler=ParentBased(ALWAYS_ON), shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracing = OpenTelemetryTracing(provider)

    def spans(self, name: str) -> Sequence[ReadableSpan]:
        return [span for span in self.exporter.get_finished_spans() if span.name == name]


async def test_an_append_its_commit_and_its_delivery_are_one_trace() -> None:
    traced = Traced()
    async with (
        running(settings(), tracing=traced.tracing) as server,
        channel_to(server.addresses[0]) as channel,
    ):
        streams = [streaming(channel, STREAM_ALL)(b"") for _ in range(2)]
        for stream in streams:
            await stream.read()
        assert await append(channel, SAMPLED, events=3) is None
        await until(lambda: len(traced.spans("factstr.deliver")) == 2, "both streams have delivered it")
        for stream in streams:
            stream.cancel()
        await until(lambda: len(traced.spans("factstr.v1.EventStoreService/StreamAll")) == 2, "they ended")
    [call] = traced.spans("factstr.v1.EventStoreService/Append")
    [commit] = traced.spans("factstr.commit")
    deliveries = traced.spans("factstr.deliver")
    trace = int(TRACE, 16)
    assert {span.context.trace_id for span in (call, commit, *deliveries)} == {trace}
    assert call.parent is not None
    assert call.parent.span_id == int(PARENT, 16)
    assert commit.parent is not None
    assert commit.parent.span_id == call.context.span_id
    assert commit.attributes is not None
    assert commit.attributes["factstr.first_sequence_number"] == 1
    assert commit.attributes["factstr.last_sequence_number"] == 3
    assert call.attributes is not None
    assert call.attributes["rpc.grpc.status_code"] == 0
    assert call.start_time is not None
    assert commit.start_time is not None
    assert commit.end_time is not None
    assert call.end_time is not None
    assert call.start_time <= commit.start_time <= commit.end_time <= call.end_time
    streamed = {span.context.span_id for span in traced.spans("factstr.v1.EventStoreService/StreamAll")}
    assert {delivery.links[0].context.span_id for delivery in deliveries} == streamed
    assert {delivery.parent.span_id for delivery in deliveries if delivery.parent} == {commit.context.span_id}


async def test_of_a_group_each_traced_append_has_its_commit_and_others_have_none() -> None:
    traced = Traced()
    async with (
        running(settings(), tracing=traced.tracing) as server,
        channel_to(server.addresses[0]) as channel,
    ):
        await asyncio.gather(
            *(append(channel, SAMPLED) for _ in range(5)), *(append(channel, NOT_SAMPLED) for _ in range(5))
        )
    assert len(traced.spans("factstr.v1.EventStoreService/Append")) == 5
    commits = traced.spans("factstr.commit")
    calls = {span.context.span_id for span in traced.spans("factstr.v1.EventStoreService/Append")}
    assert {commit.parent.span_id for commit in commits if commit.parent} == calls
    assert len(commits) == 5


async def test_pipelined_appends_are_traced_under_their_stream() -> None:
    traced = Traced()
    item = pb.AppendStreamItem(append=APPEND)
    async with (
        running(settings(), tracing=traced.tracing) as server,
        channel_to(server.addresses[0]) as channel,
    ):
        call = both_streaming(channel, "/factstr.v1.EventStoreService/AppendStream")(metadata=SAMPLED)
        await call.write(pb.AppendStreamRequest(items=[item] * 3).SerializeToString())
        await call.read()
        await call.done_writing()
        assert await call.code() is grpc.StatusCode.OK
    [stream] = traced.spans("factstr.v1.EventStoreService/AppendStream")
    commits = traced.spans("factstr.commit")
    assert len(commits) == 3
    assert {commit.parent.span_id for commit in commits if commit.parent} == {stream.context.span_id}


async def test_a_failed_call_is_a_failed_span() -> None:
    traced = Traced()
    async with (
        running(settings(), tracing=traced.tracing) as server,
        channel_to(server.addresses[0]) as channel,
    ):
        assert await append(channel, SAMPLED, events=0) is not None
    [call] = traced.spans("factstr.v1.EventStoreService/Append")
    assert not call.status.is_ok
    assert call.attributes is not None
    assert call.attributes["rpc.grpc.status_code"] == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert traced.spans("factstr.commit") == []


async def test_a_replay_is_no_delivery_of_a_commit_long_ago() -> None:
    traced = Traced()
    async with running(settings()) as untraced, channel_to(untraced.addresses[0]) as channel:
        assert await append(channel) is None
        stream = streaming(channel, STREAM_ALL)(
            pb.StreamAllRequest(after_sequence_number=0).SerializeToString()
        )
        await stream.read()
        await stream.read()
        stream.cancel()
    assert traced.spans("factstr.deliver") == []


async def test_a_collector_that_does_not_answer_keeps_no_server_from_its_end(tmp_path: Path) -> None:
    with socket.socket() as collector:
        collector.bind(("127.0.0.1", 0))
        collector.listen()
        endpoint = f"http://127.0.0.1:{collector.getsockname()[1]}"
        flags = ["--store", "memory:", "--listen", f"unix:{tmp_path}/s", "--tracing", "--drain-seconds", "2"]
        with ServerProcess(tmp_path / "log", *flags, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint) as server:
            server.ready()
            async with channel_to(f"unix:{tmp_path}/s") as channel:
                assert await append(channel, SAMPLED) is None
            began = time.monotonic()
            server.signal(signal.SIGTERM)
            assert await asyncio.to_thread(server.ended) == 0
            assert time.monotonic() - began < 4.5, "two seconds, and what ending a process takes"


def test_the_service_is_named_unless_somebody_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tracing._resource().attributes["service.name"] == "factstr-server"
    monkeypatch.setenv("OTEL_SERVICE_NAME", "orders")
    assert tracing._resource().attributes["service.name"] == "orders"


def test_without_the_extra_the_flag_is_refused_in_one_line() -> None:
    code = (
        "import sys; sys.modules['opentelemetry'] = None; from factstr_server.cli import main; "
        "sys.exit(main(['--store', 'memory:', '--listen', '127.0.0.1:0', '--tracing']))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False
    )
    assert ended.returncode == 1
    [line] = ended.stderr.splitlines()
    assert line.startswith("factstr-server: --tracing takes OpenTelemetry, which is not installed; install")


def test_a_server_that_is_not_traced_imports_nothing_of_it() -> None:
    code = (
        "import sys; import factstr_server.server; "
        "sys.exit(any(name.split('.')[0] == 'opentelemetry' for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=30, check=False).returncode == 0
