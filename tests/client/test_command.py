"""The command appends, queries and describes, and ends with a code that a script can use."""

import shlex
import socket
from datetime import timedelta
from pathlib import Path

import grpc
import pytest

from factstr.cli.arguments import parse
from factstr.v1 import event_pb2, event_store_service_pb2
from tests.client.command import Command
from tests.client.fake_server import FakeServer, Refusal, busy

COMMANDS = ["append", "append-if", "query", "tail", "consume", "durable", "import", "export", "info"]
ACTIONS = ["list", "show", "reset", "delete", "await"]


def test_append_commits_one_event(fake: FakeServer, factstr_command: Command) -> None:
    ended = factstr_command(
        "append", "--type", "a", "--payload", '{ "b":1.0 }', "--metadata", "k=v=w", "--metadata", "l="
    )
    assert (ended.code, ended.err) == (0, "")
    assert ended.lines == [
        {
            "first_sequence_number": 1,
            "last_sequence_number": 1,
            "committed_count": 1,
            "occurred_at": "2023-11-14T22:13:21.654321Z",
            "repeated_request": False,
        }
    ]
    [record] = fake.records
    assert (record.event_type, record.payload, dict(record.metadata)) == (
        "a",
        '{ "b":1.0 }',
        {"k": "v=w", "l": ""},
    )


def test_append_takes_a_file_as_one_atomic_batch(
    fake: FakeServer, factstr_command: Command, tmp_path: Path
) -> None:
    file = tmp_path / "events.ndjson"
    file.write_text('{"event_type":"a","payload":1}\n\n{"event_type":"b","payload":[ 2 ]}\n')
    assert factstr_command("append", str(file), "--idempotency-key", "k").code == 0
    assert [record.payload for record in fake.records] == ["1", "[ 2 ]"]
    again = factstr_command("append", str(file), "--idempotency-key", "k")
    assert again.lines[0]["repeated_request"] is True
    [request, _] = fake.seen(event_store_service_pb2.AppendRequest)
    assert (len(request.events), request.idempotency_key) == (2, "k")


def test_append_reads_events_from_stdin(fake: FakeServer, factstr_command: Command) -> None:
    assert factstr_command("append", "-", stdin=b'{"event_type":"a","payload":"\xc3\xa4"}').code == 0
    assert fake.records[0].payload == '"ä"'


def test_a_bad_event_in_a_file_is_named_by_its_line(
    fake: FakeServer, factstr_command: Command, tmp_path: Path
) -> None:
    file = tmp_path / "events.ndjson"
    file.write_text('{"event_type":"a","payload":1}\n{"event_type":"b"}\n')
    ended = factstr_command("append", str(file))
    assert (ended.code, ended.err) == (1, f"factstr: {file}:2: payload is missing\n")
    assert not fake.records


def test_a_payload_that_is_not_json_is_refused_with_its_field(
    fake: FakeServer, factstr_command: Command
) -> None:
    ended = factstr_command("append", "--type", "a", "--payload", "{")
    assert ended.code == 1
    assert ended.err.startswith("factstr: events[0].payload: ")
    assert not fake.records


def test_append_if_commits_on_the_version_that_query_prints(
    fake: FakeServer, factstr_command: Command
) -> None:
    fake.store(("a", {"id": 1}), ("b", {"id": 2}))
    version = factstr_command("query", "--payload", '{"id":1}', "--version-only").out.strip()
    assert version == "1"
    condition = ("--type", "c", "--payload", "0", "--where-payload", '{"id":1}', "--where-type", "a")
    ended = factstr_command("append-if", *condition, "--expected-version", version)
    assert (ended.code, len(fake.records)) == (0, 3)


def test_append_if_ends_with_3_on_a_conflict(fake: FakeServer, factstr_command: Command) -> None:
    fake.store(("a", 1), ("a", 2))
    ended = factstr_command("append-if", "--type", "a", "--payload", "3", "--expected-version", "1")
    assert (ended.code, ended.out) == (3, "")
    assert ended.err == "factstr: the context's version is 2, not 1\n"
    assert len(fake.records) == 2


def test_an_empty_context_is_none(fake: FakeServer, factstr_command: Command) -> None:
    assert factstr_command("query", "--version-only").out == "none\n"
    ended = factstr_command("append-if", "--type", "a", "--payload", "3", "--expected-version", "none")
    assert (ended.code, len(fake.records)) == (0, 1)


def test_query_prints_payloads_byte_for_byte(fake: FakeServer, factstr_command: Command) -> None:
    fake.store(("a", 0))
    fake.records[0].payload = '{"b" : 1.00,"ä":"\u2028"}'
    assert factstr_command("query").out == (
        '{"sequence_number":1,"occurred_at":"2023-11-14T22:13:21.654321Z","event_type":"a","metadata":{},'
        '"payload":{"b" : 1.00,"ä":"\u2028"}}\n'
    )


def test_query_sends_what_its_flags_say(fake: FakeServer, factstr_command: Command) -> None:
    flags = "--type a --type b --payload 1 --payload [2] --after 3 --before 9 --limit 5 --descending"
    assert factstr_command("query", *flags.split()).code == 0
    [request] = fake.seen(event_store_service_pb2.QueryRequest)
    types, payloads = (
        event_pb2.EventTypes(any_of=["a", "b"]),
        event_pb2.PayloadPredicates(any_of=["1", "[2]"]),
    )
    alternative = event_pb2.EventFilter(event_types=types, payload_predicates=payloads)
    assert request == event_store_service_pb2.QueryRequest(
        query=event_pb2.EventQuery(filters=[alternative], min_sequence_number=3),
        limit=5,
        order=event_store_service_pb2.ORDER_DESCENDING,
        before_sequence_number=9,
    )


def test_query_takes_a_whole_query_as_json(fake: FakeServer, factstr_command: Command) -> None:
    text = '{"filters":[{"eventTypes":{"anyOf":["a"]}},{"payload_predicates":{}}],"minSequenceNumber":"3"}'
    assert factstr_command("query", "--query", text).code == 0
    [request] = fake.seen(event_store_service_pb2.QueryRequest)
    assert request.query == event_pb2.EventQuery(
        filters=[
            event_pb2.EventFilter(event_types=event_pb2.EventTypes(any_of=["a"])),
            event_pb2.EventFilter(payload_predicates=event_pb2.PayloadPredicates()),
        ],
        min_sequence_number=3,
    )


def test_a_table_is_aligned_and_shows_the_version(fake: FakeServer, factstr_command: Command) -> None:
    fake.store(("short", 1), ("rather long", {"b": 2}))
    fake.records[1].metadata["k"] = "v"
    ended = factstr_command("query", "--format", "table")
    assert ended.out == (
        "1  2023-11-14T22:13:21.654321Z  short        1\n"
        '2  2023-11-14T22:13:22.654321Z  rather long  {"b": 2}  k=v\n'
    )
    assert ended.err == "2 facts, context version 2\n"


def test_a_table_shows_nothing_that_a_terminal_would_obey(fake: FakeServer, factstr_command: Command) -> None:
    fake.store(("a", 1))
    fake.records[0].payload = '"\x9b2J\u202e"'
    fake.records[0].metadata["k"] = "\x1b[2J"
    out = factstr_command("query", "--format", "table").out
    assert out.endswith('a  "\\u009b2J\\u202e"  k=\\u001b[2J\n')


def test_info_describes_the_server(factstr_command: Command) -> None:
    [described] = factstr_command("info").lines
    assert (described["server_version"], described["head_sequence_number"]) == ("1.2.3", 0)
    assert described["started_at"] == "2023-11-14T22:13:20.123456Z"
    assert described["limits"]["max_append_bytes"] == 3 * 2**20
    table = factstr_command("--format", "table", "info").out
    assert "max_append_bytes                  3,145,728\n" in table


def test_info_says_durations_in_words(fake: FakeServer, factstr_command: Command) -> None:
    table = factstr_command("--format", "table", "info").out
    assert "server                            1.2.3, started 2023-11-14T22:13:20.123456Z\n" in table
    assert "idempotency keys kept             for ever\n" in table
    fake.limits.heartbeat_interval.FromTimedelta(timedelta(seconds=10))
    fake.limits.idempotency_retention.FromTimedelta(timedelta(days=30))
    table = factstr_command("--format", "table", "info").out
    assert "heartbeat                         10 s\n" in table
    assert "idempotency keys kept             30 d\n" in table


def test_a_flag_may_stand_before_the_command_after_it_or_in_the_environment(
    fake: FakeServer, factstr_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACTSTR_TARGET", "localhost:1")
    monkeypatch.setenv("FACTSTR_TOKEN", "from-environment")
    assert factstr_command("--target", fake.target, "info").code == 0
    assert factstr_command("info", "--target", fake.target, "--token", "from-flag").code == 0
    assert [call["authorization"] for call in fake.metadata] == [
        "Bearer from-environment",
        "Bearer from-flag",
    ]


@pytest.mark.parametrize(
    ("variable", "value", "right"),
    [
        ("FACTSTR_TLS", "maybe", "'maybe' is none of 1, true, yes, 0, false, no"),
        ("FACTSTR_ALLOW_PLAINTEXT_TOKEN", "2", "'2' is none of 1, true, yes, 0, false, no"),
        ("FACTSTR_FORMAT", "foo", "'foo' is none of auto, table, ndjson"),
        ("FACTSTR_TIMEOUT", "soon", "'soon' is not a number of seconds above 0"),
        ("FACTSTR_TARGET", "localhost", "the target is 'localhost'; it must be host:port"),
    ],
)
def test_a_variable_with_a_wrong_value_is_wrong_usage(
    factstr_command: Command, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, right: str
) -> None:
    monkeypatch.setenv(variable, value)
    ended = factstr_command("info")
    assert ended.code == 2
    assert f"error: {variable}: {right}" in ended.err


@pytest.mark.parametrize("value", ["0", "No", "FALSE", ""])
def test_a_variable_can_say_no(factstr_command: Command, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("FACTSTR_TLS", value)
    assert factstr_command("info").code == 0


@pytest.mark.parametrize("target", ["localhost", "http://localhost:50051", "https://example.com"])
def test_a_target_that_is_no_address_is_wrong_usage(factstr_command: Command, target: str) -> None:
    ended = factstr_command("info", "--target", target)
    assert ended.code == 2
    assert "it must be host:port, for example localhost:50051, or unix:/path" in ended.err


def test_a_token_comes_from_a_file(fake: FakeServer, factstr_command: Command, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n")
    assert factstr_command("info", "--token-file", str(tmp_path / "token")).code == 0
    assert fake.metadata[0]["authorization"] == "Bearer secret"


def test_a_token_does_not_cross_a_network_without_tls(factstr_command: Command) -> None:
    ended = factstr_command("info", "--target", "example.com:1", "--token", "secret")
    assert ended.code == 1
    assert "plaintext; use TLS, or allow it with --allow-plaintext-token" in ended.err


def test_a_server_that_is_not_there_is_named(factstr_command: Command, tmp_path: Path) -> None:
    target = f"unix:{tmp_path}/nobody.sock"
    ended = factstr_command("info", "--target", target, "--timeout", "0.2")
    assert ended.code == 1
    assert ended.err == (
        f"factstr: {target}: no such socket; is the server running? scripts/serve or factstr-server starts one\n"
    )


def test_an_append_that_reaches_nobody_keeps_its_doubt(factstr_command: Command, tmp_path: Path) -> None:
    ended = factstr_command("append", "--type", "a", "--payload", "1", "--target", f"unix:{tmp_path}/no.sock")
    assert "is the server running?" in ended.err
    assert ended.err.endswith(" (it may or may not have been committed)\n")


def test_a_server_that_says_nothing_is_named(factstr_command: Command) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        target = f"127.0.0.1:{silent.getsockname()[1]}"
        ended = factstr_command("info", "--target", target, "--timeout", "0.2")
    assert (ended.code, ended.err) == (1, f"factstr: {target}: no answer within --timeout\n")


def test_an_error_of_the_server_is_shown_as_it_is(fake: FakeServer, factstr_command: Command) -> None:
    fake.instead = [Refusal(grpc.StatusCode.PERMISSION_DENIED, "needs the role writer", "PERMISSION_DENIED")]
    ended = factstr_command("append", "--type", "a", "--payload", "1")
    assert (ended.code, ended.err) == (1, "factstr: needs the role writer\n")


def test_a_busy_server_is_asked_again(fake: FakeServer, factstr_command: Command) -> None:
    fake.instead = [busy(), None]
    assert factstr_command("append", "--type", "a", "--payload", "1").code == 0
    assert len(fake.records) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("forget",),
        ("append",),
        ("append", "--type", "a"),
        ("append", "-", "--type", "a", "--payload", "1"),
        ("append", "--type", "a", "--payload", "1", "--metadata", "k"),
        ("append", "--type", "a", "--payload", "1", "--idempotency-key", ""),
        ("append-if", "--type", "a", "--payload", "1"),
        ("append-if", "--type", "a", "--payload", "1", "--expected-version", "-1"),
        (
            "append-if",
            "--type",
            "a",
            "--payload",
            "1",
            "--expected-version",
            "1",
            "--query",
            "{}",
            "--where-type",
            "a",
        ),
        ("query", "--limit", "many"),
        ("query", "--after", "18446744073709551616"),
        ("query", "--query", '{"filter":[]}'),
        ("query", "--query", "{}", "--type", "a"),
        ("query", "--format", "xml"),
        ("query", "--timeout", "0"),
        ("import", "--batch", "0"),
        ("import", "--idempotency-prefix", ""),
        ("import", "--idempotency-prefix", "x" * 161),
        ("tail", "--from", "yesterday"),
        ("tail", "--limit", "0"),
        ("tail", "--query", "{}", "--type", "a"),
        ("consume", "inventory"),
        ("consume", "--exec", "true"),
        ("consume", "inventory", "--exec", " "),
        ("consume", "inventory", "--exec", "true", "--max-unacknowledged", "4294967296"),
        ("consume", "inventory", "--exec", "true", "--from", "-1"),
        ("durable",),
        ("durable", "forget"),
        ("durable", "show"),
        ("durable", "reset", "inventory"),
        ("durable", "reset", "inventory", "--to", "the beginning"),
        ("durable", "await", "inventory"),
        ("durable", "await", "inventory", "-1"),
    ],
    ids=" ".join,
)
def test_wrong_usage_ends_with_2_and_sends_nothing(
    fake: FakeServer, factstr_command: Command, arguments: tuple[str, ...]
) -> None:
    ended = factstr_command(*arguments)
    assert ended.code == 2
    assert "usage: factstr" in ended.err
    assert not fake.requests


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_shows_an_example(factstr_command: Command, command: str) -> None:
    ended = factstr_command(command, "--help")
    assert ended.code == 0
    assert f"factstr {command}" in ended.out.partition("\nexample")[2]
    assert command in factstr_command("--help").out


@pytest.mark.parametrize("action", ACTIONS)
def test_the_help_of_every_action_on_durable_streams_shows_an_example(
    factstr_command: Command, action: str
) -> None:
    ended = factstr_command("durable", action, "--help")
    assert ended.code == 0
    assert f"factstr durable {action}" in ended.out.partition("\nexample")[2]
    assert f"    {action} " in factstr_command("durable", "--help").out


@pytest.mark.parametrize("command", [*COMMANDS, *(f"durable {action}" for action in ACTIONS)])
def test_the_examples_of_the_help_are_right_usage(factstr_command: Command, command: str) -> None:
    help_ = factstr_command(*command.split(), "--help").out
    examples = help_.rpartition("\nexample")[2].partition(":")[2].replace("\\\n", "")
    shown = [line for line in examples.splitlines() if line.strip()]
    assert shown
    for line in shown:
        # Without what stands beside it in a pipe; parsing is all that is tried.
        [ours] = [part for part in line.split(" | ") if part.strip().startswith("factstr ")]
        assert parse(shlex.split(ours)[1:]).run
