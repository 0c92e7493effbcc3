"""The client and the real server, as two processes: what neither can show alone."""

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

import factstr
from tests.client.command import Ended
from tests.client.server_process import Server

IMPATIENT = factstr.Retries(limit=0)


def environment(server: Server) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("FACTSTR_")}
    return {**ours, "FACTSTR_TARGET": server.target}


@pytest.fixture
def run(server: Server) -> Callable[..., Ended]:
    def run(*arguments: str) -> Ended:
        command = [sys.executable, "-m", "factstr", *arguments]
        done = subprocess.run(command, env=environment(server), capture_output=True, text=True, check=False)
        return Ended(done.returncode, done.stdout, done.stderr)

    return run


def facts(count: int, start: int = 0) -> list[str]:
    """Facts of ten cases, with payloads that no two JSON writers agree on."""
    return [
        f'{{"event_type":"step {number % 3}","payload":{{ "case" : {{"id":"c-{number % 10}"}}, "n":{number}.0}}}}\n'
        for number in range(start, start + count)
    ]


def test_a_case_is_read_and_appended_to_on_its_own_version(
    server: Server, run: Callable[..., Ended], tmp_path: Path
) -> None:
    file = tmp_path / "facts.ndjson.gz"
    file.write_bytes(gzip.compress("".join(facts(100)).encode()))
    assert run("import", str(file), "--idempotency-prefix", "p").lines[0]["new"] == 100
    server.kill()
    server.start()
    case = '{"case":{"id":"c-7"}}'
    found = run("query", "--payload", case)
    assert [json.loads(line)["payload"]["n"] for line in found.out.splitlines()] == list(range(7, 100, 10))
    assert '"payload":{ "case" : {"id":"c-7"}, "n":7.0}}\n' in found.out
    version = run("query", "--payload", case, "--version-only").out.strip()
    closing = (
        "append-if",
        "--type",
        "closed",
        "--payload",
        case,
        "--where-payload",
        case,
        "--expected-version",
    )
    assert run(*closing, version).code == 0
    conflict = run(*closing, version)
    assert conflict.code == 3
    assert "101" in conflict.err
    again = run("import", str(file), "--idempotency-prefix", "p").lines[0]
    assert (again["new"], again["already_there"]) == (0, 100)


def test_an_import_survives_a_server_that_is_killed_under_it(server: Server, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "factstr", "import", "--batch", "100", "--idempotency-prefix", "p"]
    with ExitStack() as stack:
        importing = stack.enter_context(
            subprocess.Popen(
                command, env=environment(server), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        )
        assert importing.stdin is not None
        # The other half is held back, so the import is under way for certain when the server dies.
        importing.stdin.writelines(facts(2_000))
        importing.stdin.flush()
        with factstr.connect(server.target) as store:
            while store.server_info().head_sequence_number < 500:
                pass
        server.kill()
        server.start()
        importing.stdin.writelines(facts(2_000, start=2_000))
        importing.stdin.close()
        assert importing.stdout is not None
        summary = json.loads(importing.stdout.read())
    assert importing.returncode == 0
    assert summary["facts"] == 4_000
    with factstr.connect(server.target) as store:
        assert [record.payload["n"] for record in store.query()] == list(range(4_000))


def test_two_deciders_never_take_the_same_tool(server: Server) -> None:
    drill = factstr.where("checked-out", "returned", payload={"tool": {"id": "drill-1"}})

    def check_out(context: factstr.Context) -> factstr.Event | None:
        if context.records and context.records[-1].event_type == "checked-out":
            return None
        return factstr.Event("checked-out", {"tool": {"id": "drill-1"}})

    with factstr.connect(server.target) as store:
        assert store.decide(drill, check_out) is not None
        assert store.decide(drill, check_out) is None
        with pytest.raises(factstr.ConditionalAppendConflict) as raised:
            store.append_if(factstr.Event("returned", {"tool": {"id": "drill-1"}}), drill, None)
        assert (raised.value.expected, raised.value.actual) == (None, 1)


async def test_the_asyncio_store_agrees_with_the_server(server: Server) -> None:
    async with factstr.aio.connect(server.target) as store:
        await store.append([factstr.Event("a", {"n": 2**64}, {"k": "v"}), factstr.Event("b", None)])
        result = await store.query(factstr.where(payload={"n": 2**64}))
        assert [(r.payload, r.metadata) async for r in result] == [({"n": 2**64}, {"k": "v"})]
        with pytest.raises(factstr.InvalidRequest) as raised:
            await store.append(factstr.Event("", 1))
        assert raised.value.reason == "INVALID_EVENT_TYPE"
        assert [violation.field for violation in raised.value.field_violations] == ["events[0].event_type"]


def test_a_batch_that_is_too_large_says_by_how_much(server: Server) -> None:
    with (
        factstr.connect(server.target, retries=IMPATIENT) as store,
        pytest.raises(factstr.BatchTooLarge) as raised,
    ):
        store.append([factstr.Event("a", 1)] * 10_001)
    assert raised.value.metadata["limit"] == "10000"
    assert raised.value.metadata["actual"] == "10001"


def test_a_pipeline_with_keys_goes_over_a_server_that_is_killed_again_and_again(server: Server) -> None:
    patient = factstr.Retries(limit=1_000, longest_delay=0.1)
    with factstr.connect(server.target, retries=patient) as store:
        with store.appender(max_unanswered=200) as appender:
            pending = []
            for n in range(6_000):
                pending.append(appender.append(factstr.Event("a", n), idempotency_key=str(n)))
                if n % 1_500 == 1_000:
                    server.kill()
                    server.start()
        assert [append.result().first_sequence_number for append in pending] == list(range(1, 6_001))
        assert [record.payload for record in store.query()] == list(range(6_000))


def test_a_pipeline_without_keys_is_in_doubt_about_nothing_when_a_server_is_stopped(server: Server) -> None:
    patient = factstr.Retries(limit=1_000, longest_delay=0.1)
    with factstr.connect(server.target, retries=patient) as store:
        outcomes = []
        with store.appender(max_unanswered=200) as appender:
            for n in range(3_000):
                outcomes.append(appender.append(factstr.Event("a", n)))
                if n == 1_000:
                    server.stop()
                    server.start()
            committed = [n for n, append in enumerate(outcomes) if append.exception() is None]
            errors = {type(error) for append in outcomes if (error := append.exception())}
        stored = [record.payload for record in store.query()]
        # What was written to a connection that was no longer there is in doubt; whatever was answered is not.
        assert errors <= {factstr.OutcomeUnknown}
        assert stored == sorted(set(stored))
        assert set(committed) <= set(stored)
