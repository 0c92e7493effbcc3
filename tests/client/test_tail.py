"""`factstr tail` shows facts as they are committed: NDJSON in a pipe, for people on a terminal, and on and on."""

import json
import re
import signal
from typing import Any

import pytest

import factstr
from factstr.v1 import event_pb2, event_store_service_pb2
from tests.client.command import Command
from tests.client.fake_streams import LOST, StreamingServer, caught_up, live_batches, live_started
from tests.client.running_command import CTRL_C, RunningCommand
from tests.client.server_process import Server


def numbers(lines: list[Any]) -> list[int]:
    return [line["sequence_number"] for line in lines]


def test_a_tail_writes_facts_exactly_as_a_query_does(fake: StreamingServer, factstr_command: Command) -> None:
    fake.store(("a", 0), ("b", "ä\u2028"), ("c", None))
    fake.records[0].payload = '{"b" : 1.00}'
    ended = factstr_command("tail", "--from", "0", "--limit", "3")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == factstr_command("query").out


def test_a_tail_begins_strictly_after_its_position_and_ends_at_its_limit(
    fake: StreamingServer, factstr_command: Command
) -> None:
    fake.commit("1", "2", "3", "4")
    fake.commit("5", "6", "7")
    assert numbers(factstr_command("tail", "--from", "2", "--limit", "3").lines) == [3, 4, 5]


def test_a_tail_sends_what_its_flags_say(fake: StreamingServer, factstr_command: Command) -> None:
    fake.commit("1", event_type="a")
    flags = "--type a --type b --payload 1 --payload [2] --from 0 --limit 1"
    assert factstr_command("tail", *flags.split()).code == 0
    [request] = fake.seen(event_store_service_pb2.StreamToRequest)
    types = event_pb2.EventTypes(any_of=["a", "b"])
    payloads = event_pb2.PayloadPredicates(any_of=["1", "[2]"])
    alternative = event_pb2.EventFilter(event_types=types, payload_predicates=payloads)
    assert request == event_store_service_pb2.StreamToRequest(
        query=event_pb2.EventQuery(filters=[alternative]), after_sequence_number=0
    )


def test_a_batch_is_bracketed_for_people(fake: StreamingServer, factstr_command: Command) -> None:
    fake.commit("1")
    fake.commit("2", "3", "4")
    out = factstr_command("tail", "--from", "0", "--limit", "4", "--format", "table").out
    assert out == (
        "  1  2023-11-14T22:13:21.654321Z  a  1\n"
        "┌ 2  2023-11-14T22:13:22.654321Z  a  2\n"
        "│ 3  2023-11-14T22:13:22.654321Z  a  3\n"
        "└ 4  2023-11-14T22:13:22.654321Z  a  4\n"
    )


def test_a_position_beyond_the_head_is_an_error(factstr_command: Command) -> None:
    ended = factstr_command("tail", "--from", "7")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith("factstr: ")


def test_a_query_with_a_position_of_its_own_is_told_the_right_flag(factstr_command: Command) -> None:
    ended = factstr_command("tail", "--query", '{"minSequenceNumber":"5"}')
    assert ended.code == 2
    assert "say --from 5 instead" in ended.err


def test_facts_come_out_of_a_pipe_batch_by_batch(fake: StreamingServer) -> None:
    fake.store(("old", 0))
    with RunningCommand(fake.target, "tail", "--from", "1") as tail:
        for payload in ("1", "2"):
            fake.commit(payload)
            assert json.loads(tail.read_until("\n"))["payload"] == int(payload)
        tail.send(signal.SIGINT)
        assert (tail.wait(), tail.errors()) == (130, "")


def test_sigterm_ends_a_tail_quietly(fake: StreamingServer) -> None:
    fake.commit("1")
    with RunningCommand(fake.target, "tail", "--from", "0") as tail:
        tail.read_until("\n")
        tail.send(signal.SIGTERM)
        assert (tail.wait(), tail.errors()) == (128 + signal.SIGTERM, "")


def test_a_reader_that_goes_away_ends_a_tail_that_has_nothing_to_write(fake: StreamingServer) -> None:
    fake.commit("1")
    with RunningCommand(fake.target, "tail", "--from", "0") as tail:
        tail.read_until("\n")
        tail.close_output()
        assert (tail.wait(), tail.errors()) == (141, "")


def test_a_terminal_shows_facts_and_that_they_are_all(fake: StreamingServer) -> None:
    fake.commit("1", "2")
    with RunningCommand(fake.target, "tail", "--from", "0", terminal=True) as tail:
        assert tail.read_until("waiting --\x1b[0m\n") == (
            "\x1b[2m┌ 1  2023-11-14T22:13:21.654321Z\x1b[0m  a  1\n"
            "\x1b[2m└ 2  2023-11-14T22:13:21.654321Z\x1b[0m  a  2\n"
            "\x1b[2m-- at the head, 2; waiting --\x1b[0m\n"
        )
        fake.commit("3", event_type="longer")
        assert tail.read_until("\n") == "\x1b[2m  3  2023-11-14T22:13:23.654321Z\x1b[0m  longer  3\n"
        tail.press(CTRL_C)
        assert tail.wait() == 130


def test_a_tail_begins_now_and_may_do_without_colours(fake: StreamingServer) -> None:
    fake.commit("1")
    with RunningCommand(fake.target, "tail", terminal=True, NO_COLOR="1") as tail:
        assert tail.read_until("\n") == "-- at the head, 1; waiting --\n"
        fake.commit("2")
        assert tail.read_until("\n") == "  2  2023-11-14T22:13:22.654321Z  a  2\n"


def test_an_interruption_is_told_and_gone_over(fake: StreamingServer) -> None:
    fake.play = [[live_started(), live_batches((1, 1)), caught_up(1), LOST]]
    fake.commit("1")
    with RunningCommand(fake.target, "tail", "--from", "0") as tail:
        assert numbers([json.loads(tail.read_until("\n"))]) == [1]
        assert tail.read_error_line() == "factstr: the connection is lost; trying again until it is back\n"
        assert tail.read_error_line() == "factstr: connected again; going on after 1\n"
        fake.commit("2")
        assert numbers([json.loads(tail.read_until("\n"))]) == [2]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_tail_that_waits_for_its_server_can_be_ended(fake: StreamingServer, number: signal.Signals) -> None:
    fake.play = [[live_started(), LOST], *([LOST] for _ in range(1_000))]
    with RunningCommand(fake.target, "tail") as tail:
        assert "trying again" in tail.read_error_line()
        tail.send(number)
        assert (tail.wait(), tail.errors()) == (128 + number, "")


def test_a_tail_goes_on_through_the_death_of_a_real_server(server: Server) -> None:
    with (
        factstr.connect(server.target) as store,
        RunningCommand(server.target, "tail", "--payload", '{"n":1}', terminal=True) as tail,
    ):
        tail.read_until("at the head, 0; waiting")
        store.append([factstr.Event("a", {"n": n % 2}) for n in range(4)])
        shown = re.findall("[┌│└] ([0-9])", tail.read_until("└ 4"))
        assert shown == ["2", "4"]
        server.kill()
        tail.read_until("trying again until it is back")
        server.start()
        tail.read_until("going on after 4")
        store.append(factstr.Event("a", {"n": 1}), idempotency_key="5")
        assert "└" not in tail.read_until(" 5 ")
