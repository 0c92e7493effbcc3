"""A server's end: what it finishes, what it refuses, and how soon."""

import asyncio
import resource
import signal
import time
from pathlib import Path

import grpc

from factstr.v1 import event_pb2
from factstr.v1 import event_store_service_pb2 as pb
from tests.conformance.driver import Failure, NewFact
from tests.operations.process import ServerProcess
from tests.security.calls import streaming, unary
from tests.sharing.servers import Remote
from tests.waiting import until

STREAM_ALL = "/factstr.v1.EventStoreService/StreamAll"


def started(folder: Path, *flags: str) -> ServerProcess:
    return ServerProcess(
        folder / "log", "--store", f"sqlite:///{folder}/facts.db", "--listen", "127.0.0.1:0", *flags
    )


async def test_sigterm_finishes_what_is_under_way_refuses_what_is_new_and_ends_with_0(tmp_path: Path) -> None:
    acknowledged: list[int] = []
    with started(tmp_path, "--drain-seconds", "10") as server:
        async with Remote(server.ready().address) as remote, remote.stream_all(0) as stream:

            async def append_until_refused() -> tuple[str, str | None]:
                while True:
                    try:
                        acknowledged.append((await remote.append([NewFact()])).last)
                    except Failure as refused:
                        return refused.reason, refused.code

            appending = [asyncio.create_task(append_until_refused()) for _ in range(20)]
            await until(lambda: len(acknowledged) > 200, "appends are under way")
            server.signal(signal.SIGTERM)
            refusals = set(await asyncio.gather(*appending))
            # Who comes when the ports are closed finds nobody.
            assert refusals <= {("SERVER_DRAINING", "UNAVAILABLE"), ("", "UNAVAILABLE")}
            assert ("SERVER_DRAINING", "UNAVAILABLE") in refusals
            assert (await stream.ended()).reason == "SERVER_DRAINING"
        assert server.ended() == 0
        assert "draining, for at most 10 s" in server.said
        assert server.said.rstrip().endswith("stopped")
    with started(tmp_path) as again:
        async with Remote(again.ready().address) as remote:
            assert (await remote.query()).numbers == sorted(acknowledged)


async def test_the_end_comes_within_the_drains_seconds_whoever_does_not_read(tmp_path: Path) -> None:
    with started(tmp_path, "--drain-seconds", "3") as server:
        async with grpc.aio.insecure_channel(server.ready().address) as channel:
            stuck = await _stuck_stream(channel)
            began = time.monotonic()
            server.signal(signal.SIGTERM)
            assert await asyncio.to_thread(server.ended) == 0
            assert time.monotonic() - began < 4.5, "three seconds, and what ending a process takes"
            stuck.cancel()


async def test_a_second_sigterm_ends_at_once(tmp_path: Path) -> None:
    with started(tmp_path, "--drain-seconds", "50") as server:
        async with grpc.aio.insecure_channel(server.ready().address) as channel:
            stuck = await _stuck_stream(channel)
            server.signal(signal.SIGTERM)
            await until(lambda: "draining" in server.said, "it drains")
            assert server.runs
            server.signal(signal.SIGTERM)
            assert await asyncio.to_thread(server.ended, 3) == 1
            assert "stopped" not in server.said
            stuck.cancel()


async def test_sighup_has_files_read_again_and_ends_nothing(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("certificate a a admin\n", encoding="utf-8")
    with started(tmp_path, "--tokens-file", str(tokens)) as server:
        server.ready()
        tokens.write_text("certificate a b admin\n", encoding="utf-8")
        server.signal(signal.SIGHUP)
        await until(lambda: "tokens: read again" in server.said, "it is read again")
        assert server.runs


async def _stuck_stream(channel: grpc.aio.Channel) -> "grpc.aio.UnaryStreamCall[bytes, bytes]":
    """Of which nobody takes more than the beginning, though there is much more to be sent."""
    append = unary(channel, "/factstr.v1.EventStoreService/Append")
    facts = [event_pb2.NewEvent(event_type="a", payload=f'"{"x" * 100_000}"')] * 20
    for _ in range(4):
        await append(pb.AppendRequest(events=facts).SerializeToString())
    stuck: grpc.aio.UnaryStreamCall[bytes, bytes] = streaming(channel, STREAM_ALL)(
        pb.StreamAllRequest(after_sequence_number=0).SerializeToString()
    )
    await stuck.read()
    return stuck


def test_a_server_takes_as_many_file_descriptors_as_the_system_allows(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    low = min(soft, 200)
    resource.setrlimit(resource.RLIMIT_NOFILE, (low, hard))
    try:
        with started(tmp_path) as server:
            server.ready()
            allowed, _ = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
            assert allowed == (65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_end_of_its_input_stops_it_where_that_is_asked_for(tmp_path: Path) -> None:
    with started(tmp_path, "--stop-at-eof") as server:
        server.ready().end_input()
        assert server.ended() == 0
        assert server.said.rstrip().endswith("stopped")
