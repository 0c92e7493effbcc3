"""`factstr durable` shows durable streams, moves and deletes them, and waits for one: for people and for scripts."""

from datetime import timedelta

import pytest

import factstr
from factstr.cli.durations import in_words
from factstr.v1 import durable_stream_service_pb2, event_pb2
from tests.client.command import Command
from tests.client.fake_streams import Cursor, StreamingServer
from tests.client.running_command import RunningCommand
from tests.client.server_process import Server

ALL = event_pb2.EventQuery()
TABLE = ("--format", "table")


@pytest.fixture
def streams(fake: StreamingServer) -> StreamingServer:
    """Three durable streams, of which one is consumed, on three facts."""
    fake.commit("1", "2", "3")
    returns = factstr.where("tool-returned", payload={"tool's": 1}).to_proto()
    fake.streams = {
        "billing-1": Cursor(ALL, 0, epoch=3, active=True, waiting=2),
        "billing-2": Cursor(returns, 2),
        "inventory": Cursor(ALL, 3),
    }
    return fake


def test_a_list_is_one_object_a_line_with_all_that_is_known(
    streams: StreamingServer, factstr_command: Command
) -> None:
    first, second, third = factstr_command("durable", "list").lines
    assert first == {
        "durable_stream": "billing-1",
        "query": {},
        "cursor": 0,
        "head_sequence_number": 3,
        "lag_events": 3,
        "lag_seconds": 1.5,
        "active": True,
        "holder": "somebody",
        "waiting_consumers": 2,
        "lease_epoch": 3,
        "created_at": "2023-11-14T22:13:20.000000Z",
        "acknowledged_at": None,
    }
    assert second["query"] == {
        "filters": [
            {
                "event_types": {"any_of": ["tool-returned"]},
                "payload_predicates": {"any_of": ['{"tool\'s":1}']},
            }
        ]
    }
    assert third["durable_stream"] == "inventory"


def test_every_field_of_the_wire_is_shown(streams: StreamingServer, factstr_command: Command) -> None:
    fields = {field.name for field in durable_stream_service_pb2.DurableStream.DESCRIPTOR.fields}
    [shown] = factstr_command("durable", "show", "inventory").lines
    assert {name.removesuffix("_seconds") for name in shown} == fields


def test_a_list_for_people_is_a_table(streams: StreamingServer, factstr_command: Command) -> None:
    ended = factstr_command("durable", "list", *TABLE)
    assert ended.out == (
        "name       cursor  head  lag         waiting  consumer\n"
        "billing-1       0     3    3  1.5 s        2  somebody\n"
        "billing-2       2     3    1  1.5 s        0  none\n"
        "inventory       3     3    0               0  none\n"
    )


def test_a_list_takes_a_prefix(streams: StreamingServer, factstr_command: Command) -> None:
    names = [line["durable_stream"] for line in factstr_command("durable", "list", "--prefix", "b").lines]
    assert names == ["billing-1", "billing-2"]
    nothing = factstr_command("durable", "list", "--prefix", "x", *TABLE)
    assert (nothing.code, nothing.out) == (0, "")
    assert nothing.err == "there is no durable stream whose name begins with 'x'\n"


def test_a_terminal_shows_a_list_that_fits(streams: StreamingServer) -> None:
    streams.streams["n" * 120] = Cursor(ALL, 0)
    with RunningCommand(streams.target, "durable", "list", terminal=True) as listing:
        assert listing.read_until("\n").startswith("\x1b[2mname ")
        assert listing.read_until("…\n").count("\n") == 1
        assert listing.wait() == 0


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("{}", "everything"),
        (
            '{"filters":[{"eventTypes":{"anyOf":["a b","c"]},"payloadPredicates":{"anyOf":["{}"]}}]}',
            "--type 'a b' --type c --payload '{}'",
        ),
        ('{"filters":[{}]}', "--query '{\"filters\":[{}]}'"),
        ('{"filters":[{"event_types":{}}]}', '--query \'{"filters":[{"event_types":{}}]}\''),
    ],
)
def test_a_query_is_shown_as_the_flags_that_say_it(
    fake: StreamingServer, factstr_command: Command, query: str, shown: str
) -> None:
    assert factstr_command("consume", "n", "--query", query, "--exec", "true", "--until-caught-up").code == 0
    out = factstr_command("durable", "show", "n", *TABLE).out
    assert f"query              {shown}\n" in out
    assert "last acknowledged  never\n" in out


def test_a_reset_says_from_where_to_where(streams: StreamingServer, factstr_command: Command) -> None:
    reset = ("durable", "reset", "billing-2", *TABLE, "--to")
    assert factstr_command(*reset, "0").out == (
        "billing-2: cursor moved from 2 to 0; behind the head by 3 facts, 1.5 s\n"
    )
    assert factstr_command(*reset, "head").out == "billing-2: cursor moved from 0 to 3; that is the head\n"
    [after] = factstr_command("durable", "reset", "billing-2", "--to", "1").lines
    assert (after["cursor"], streams.streams["billing-2"].cursor) == (1, 1)


@pytest.mark.parametrize("action", [("reset", "--to", "0"), ("delete",)], ids=" ".join)
def test_a_stream_that_is_consumed_is_touched_by_force_only(
    streams: StreamingServer, factstr_command: Command, action: tuple[str, ...]
) -> None:
    refused = factstr_command("durable", *action, "billing-1")
    assert (refused.code, refused.out) == (1, "")
    assert refused.err == (
        "factstr: billing-1 is being consumed by somebody; stop it first, or end its lease with --force\n"
    )
    assert streams.streams["billing-1"].active
    forced = factstr_command("durable", *action, "billing-1", "--force", *TABLE)
    assert forced.out.endswith("; the lease of somebody is ended\n")


def test_a_deletion_says_what_is_gone(streams: StreamingServer, factstr_command: Command) -> None:
    assert factstr_command("durable", "delete", "inventory").lines == [
        {"durable_stream": "inventory", "cursor": 3, "deleted": True}
    ]
    ended = factstr_command("durable", "delete", "billing-2", *TABLE)
    assert ended.out == "billing-2: deleted; its cursor was 2\n"
    assert list(streams.streams) == ["billing-1"]


@pytest.mark.parametrize("action", [("show",), ("reset", "--to", "0"), ("delete",)], ids=" ".join)
def test_a_name_that_is_not_there_is_told(
    fake: StreamingServer, factstr_command: Command, action: tuple[str, ...]
) -> None:
    ended = factstr_command("durable", *action, "nobody")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith(
        "factstr: there is no durable stream 'nobody'; `factstr durable list` shows all"
    )


def test_await_ends_with_0_when_the_cursor_has_come_so_far(
    streams: StreamingServer, factstr_command: Command
) -> None:
    ended = factstr_command("durable", "await", "billing-2", "2")
    assert (ended.code, ended.err) == (0, "")
    assert ended.lines == [{"durable_stream": "billing-2", "cursor": 2, "reached": True}]
    assert factstr_command("durable", "await", "billing-2", "1", *TABLE).out == (
        "billing-2: reached 1; its cursor is 2\n"
    )


def test_await_ends_with_1_when_it_has_not(streams: StreamingServer, factstr_command: Command) -> None:
    ended = factstr_command("durable", "await", "billing-2", "1000", "--timeout", "0.5")
    assert ended.code == 1
    assert ended.lines == [{"durable_stream": "billing-2", "cursor": 2, "reached": False}]
    assert ended.err == "factstr: billing-2 has not reached 1,000 within 0.5 s; its cursor is 2\n"
    assert factstr_command("durable", "await", "billing-2", "3", *TABLE).out == ""


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0234, "23 ms"),
        (0.9996, "1.0 s"),
        (1.5, "1.5 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 m 0 s"),
        (200, "3 m 20 s"),
        (7_500, "2 h 5 m"),
        (356_400, "4 d 3 h"),
    ],
)
def test_a_duration_is_told_in_two_units_at_most(seconds: float, words: str) -> None:
    assert in_words(timedelta(seconds=seconds)) == words


def test_a_real_server_is_listed_moved_awaited_and_rid_of_a_stream(
    server: Server, factstr_command: Command
) -> None:
    at = ("--target", server.target)
    with factstr.connect(server.target) as store:
        store.append([factstr.Event("a", 1), factstr.Event("b", 2)])
    consume = ("consume", "inventory", "--type", "a", "--exec", "true", "--until-caught-up", *at)
    assert factstr_command(*consume).code == 0
    assert factstr_command("durable", "await", "inventory", "2", *at).lines[0]["reached"]
    [stream] = factstr_command("durable", "list", *at).lines
    assert (stream["cursor"], stream["lag_events"], stream["active"]) == (2, 0, False)
    [moved] = factstr_command("durable", "reset", "inventory", "--to", "0", *at).lines
    assert (moved["cursor"], moved["lag_events"]) == (0, 2)
    beyond = factstr_command("durable", "reset", "inventory", "--to", "3", *at)
    assert (beyond.code, "whose head is 2" in beyond.err) == (1, True)
    assert factstr_command("durable", "delete", "inventory", *at).code == 0
    assert factstr_command("durable", "list", *at).out == ""
