"""A real grpcurl against a real server process on SQLite: the first contact of most people, and of no Python at all."""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from tests.programs import PROGRAMS

pytestmark = pytest.mark.grpcurl

Grpcurl: TypeAlias = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    log = tmp_path_factory.mktemp("server") / "log"
    with log.open("w") as stderr:
        server = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "factstr_server",
                "--listen",
                "127.0.0.1:0",
                "--store",
                f"sqlite:///{log}.db",
            ],
            stderr=stderr,
        )
    try:
        while not (ready := re.search(r"serves .* on (\S+)", log.read_text())):
            assert server.poll() is None, log.read_text()
            time.sleep(0.01)
        yield ready[1]
        server.send_signal(signal.SIGTERM)
        assert server.wait() == 0
    finally:
        server.kill()
        server.wait()


@pytest.fixture
def grpcurl(address: str, tmp_path: Path) -> Grpcurl:
    program = PROGRAMS["grpcurl"].found()
    assert program

    def call(
        *arguments: str, request: object = None, max_seconds: int | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Arguments as after the address; a request makes it a call."""
        data = [] if request is None else ["-d", json.dumps(request)]
        bound = [] if max_seconds is None else ["-max-time", str(max_seconds)]
        return subprocess.run(
            [program, "-plaintext", *bound, *data, address, *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    return call


def answers(result: subprocess.CompletedProcess[str]) -> list[Any]:
    assert result.returncode == 0, result.stderr
    return printed(result)


def printed(result: subprocess.CompletedProcess[str]) -> list[Any]:
    """All messages, of a call that need not have ended by itself."""
    decoder, text, found = json.JSONDecoder(), result.stdout.strip(), []
    while text:
        answer, end = decoder.raw_decode(text)
        found.append(answer)
        text = text[end:].strip()
    return found


def test_list_names_the_services(grpcurl: Grpcurl) -> None:
    assert set(grpcurl("list").stdout.split()) >= {
        "factstr.v1.DurableStreamService",
        "factstr.v1.EventStoreService",
        "factstr.v1.ServerService",
        "grpc.health.v1.Health",
    }


def test_describe_shows_calls_and_messages(grpcurl: Grpcurl) -> None:
    service = grpcurl("describe", "factstr.v1.EventStoreService").stdout
    assert "rpc Query ( .factstr.v1.QueryRequest ) returns ( stream .factstr.v1.QueryResponse );" in service
    assert "string payload = 2;" in grpcurl("describe", "factstr.v1.NewEvent").stdout


def test_a_query_reads_what_was_appended(grpcurl: Grpcurl) -> None:
    payload = '{"tool": "drill-1",  "price": 1.50}'
    events = [{"event_type": "tool-registered", "payload": payload, "metadata": {"desk": "north"}}]
    [appended] = answers(grpcurl("factstr.v1.EventStoreService/Append", request={"events": events}))
    assert appended["committedCount"] == "1"
    predicates = {"any_of": ['{"tool": "drill-1"}']}
    query = {"filters": [{"event_types": {"any_of": ["tool-registered"]}, "payload_predicates": predicates}]}
    [result] = answers(grpcurl("factstr.v1.EventStoreService/Query", request={"query": query}))
    [record] = result["eventRecords"]
    assert record["payload"] == payload
    assert record["metadata"] == {"desk": "north"}
    assert record["sequenceNumber"] == result["currentContextVersion"] == appended["lastSequenceNumber"]


def test_a_conflict_shows_its_details(grpcurl: Grpcurl) -> None:
    request = {
        "events": [{"event_type": "never", "payload": "{}"}],
        "context_query": {"filters": [{"event_types": {"any_of": ["nothing-yet"]}}]},
        "expected_context_version": 7,
    }
    result = grpcurl("factstr.v1.EventStoreService/AppendIf", request=request)
    assert result.returncode != 0
    assert "Code: Aborted" in result.stderr
    assert '"reason": "CONDITIONAL_APPEND_CONFLICT"' in result.stderr
    assert '"expectedContextVersion": "7"' in result.stderr


def test_a_stream_shows_what_there_is_until_its_time_is_over(grpcurl: Grpcurl) -> None:
    service = "factstr.v1.EventStoreService"
    events = [{"event_type": "streamed", "payload": str(number)} for number in range(2)]
    [appended] = answers(grpcurl(f"{service}/Append", request={"events": events}))
    request = {
        "query": {"filters": [{"event_types": {"any_of": ["streamed"]}}]},
        "after_sequence_number": "0",
    }
    result = grpcurl(f"{service}/StreamTo", request=request, max_seconds=2)
    assert "Code: DeadlineExceeded" in result.stderr
    started, batches, caught_up = printed(result)
    assert started["started"]["heartbeatInterval"] == "10s"
    [batch] = batches["batches"]["batches"]
    assert (batch["firstSequenceNumber"], batch["lastSequenceNumber"]) == (
        appended["firstSequenceNumber"],
        appended["lastSequenceNumber"],
    )
    assert [record["payload"] for record in batch["eventRecords"]] == ["0", "1"]
    assert caught_up["caughtUp"]["headSequenceNumber"] >= appended["lastSequenceNumber"]


def test_a_durable_stream_can_be_looked_at_and_acknowledged(grpcurl: Grpcurl) -> None:
    service, streams = "factstr.v1.EventStoreService", "factstr.v1.DurableStreamService"
    event = {"event_type": "looked-at", "payload": "{}"}
    [appended] = answers(grpcurl(f"{service}/Append", request={"events": [event]}))
    query = {"filters": [{"event_types": {"any_of": ["looked-at"]}}]}
    request = {"durable_stream": "desk", "query": query}
    consumed = printed(grpcurl(f"{service}/StreamToDurable", request=request, max_seconds=2))
    [batch] = consumed[1]["batches"]["batches"]
    token = {"durable_stream": "desk", "acknowledgement_token": batch["acknowledgementToken"]}
    [acknowledged] = answers(grpcurl(f"{service}/AcknowledgeDurable", request=token))
    assert acknowledged["cursor"] == appended["lastSequenceNumber"]
    [shown] = answers(grpcurl(f"{streams}/GetDurableStream", request={"durable_stream": "desk"}))
    assert shown["durableStream"]["cursor"] == acknowledged["cursor"]
    assert shown["durableStream"]["query"] == {"filters": [{"eventTypes": {"anyOf": ["looked-at"]}}]}
    missing = grpcurl(f"{streams}/GetDurableStream", request={"durable_stream": "nobody"})
    assert "Code: NotFound" in missing.stderr
    assert '"reason": "DURABLE_STREAM_NOT_FOUND"' in missing.stderr


def test_health_is_answered(grpcurl: Grpcurl) -> None:
    request = {"service": "factstr.v1.EventStoreService"}
    assert answers(grpcurl("grpc.health.v1.Health/Check", request=request)) == [{"status": "SERVING"}]
